//! The connection to a manager: HTTP/2 inside TLS on a Unix socket.
//!
//! Who may open the socket may do everything, so nothing is verified; the manager's certificate
//! is accepted as it is (cli.md §1, transport).

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper_util::rt::TokioIo;
use protocol::{
    swarm::{
        advisor_client::AdvisorClient, diagnostics_client::DiagnosticsClient,
        doubt_client::DoubtClient,
    },
    wire::{ca_client::CaClient, control_client::ControlClient, logs_client::LogsClient},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{net::UnixStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

use crate::{arguments::Connection, error::Error};

/// Where a manager listens unless it is told otherwise.
const DEFAULT_SOCKET: &str = "/var/run/swarmd.sock";

/// How long a manager may take to answer a first greeting. It is on the same machine.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// Answers can be large: a listing of everything is one message.
const ANSWER_BYTES_MAX: usize = i32::MAX as usize;

/// The services of one manager.
pub(crate) struct Client {
    pub(crate) control: ControlClient<Channel>,
    pub(crate) advisor: AdvisorClient<Channel>,
    pub(crate) authority: CaClient<Channel>,
    pub(crate) diagnostics: DiagnosticsClient<Channel>,
    pub(crate) doubt: DoubtClient<Channel>,
    pub(crate) logs: LogsClient<Channel>,
    /// Whether ids are shown as names.
    pub(crate) resolve: bool,
    connection: Connection,
}

impl Client {
    /// Connects, so that a wrong socket is told before anything else.
    pub(crate) async fn open(connection: &Connection) -> Result<Self, Error> {
        let variable = std::env::var_os("SWARM_SOCKET").filter(|path| !path.is_empty());
        let named = connection.socket.clone().or(variable.map(PathBuf::from));
        let path = &*named.unwrap_or_else(|| DEFAULT_SOCKET.into());
        let stream = UnixStream::connect(path).await.map_err(|error| unreachable(path, &error))?;
        let stream = timeout(HANDSHAKE_MAX, secure(stream))
            .await
            .map_err(|_| silent(path))?
            .map_err(|error| not_a_manager(path, &error))?;
        let channel = channel(stream).await.map_err(|error| not_a_manager(path, &error))?;
        Ok(Self {
            control: ControlClient::new(channel.clone())
                .max_decoding_message_size(ANSWER_BYTES_MAX),
            advisor: AdvisorClient::new(channel.clone())
                .max_decoding_message_size(ANSWER_BYTES_MAX),
            authority: CaClient::new(channel.clone()),
            diagnostics: DiagnosticsClient::new(channel.clone()),
            doubt: DoubtClient::new(channel.clone()),
            logs: LogsClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX),
            resolve: !connection.no_resolve,
            connection: connection.clone(),
        })
    }

    /// Connects anew, for instance to a daemon that was started again.
    pub(crate) async fn reopen(&mut self) -> Result<(), Error> {
        *self = Self::open(&self.connection).await?;
        Ok(())
    }
}

async fn secure(stream: UnixStream) -> io::Result<TlsStream<UnixStream>> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("swarm-manager").map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Wraps a connection that is already open; the channel never opens another.
async fn channel(stream: TlsStream<UnixStream>) -> Result<Channel, tonic::transport::Error> {
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let stream = stream.take();
        async move { stream.ok_or_else(|| io::Error::other("the manager closed the connection")) }
    });
    Endpoint::from_static("http://swarm-manager").connect_with_connector(connector).await
}

fn unreachable(path: &Path, error: &io::Error) -> Error {
    let known = [
        (io::ErrorKind::NotFound, "no such file or directory"),
        (io::ErrorKind::ConnectionRefused, "connection refused"),
        (io::ErrorKind::PermissionDenied, "permission denied"),
    ];
    let known = known.iter().find(|(kind, _)| *kind == error.kind());
    let reason = known.map_or_else(|| error.to_string(), |(_, reason)| (*reason).to_owned());
    let path = path.display();
    Error::Connection(format!(
        "connection error: desc = \"transport: Error while dialing: dial unix {path}: connect: \
         {reason}\""
    ))
}

fn silent(path: &Path) -> Error {
    let seconds = HANDSHAKE_MAX.as_secs();
    Error::Connection(format!("no answer from {} within {seconds} s", path.display()))
}

fn not_a_manager(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::Connection(format!("{} does not speak like a manager: {error}", path.display()))
}

/// Accepts every certificate; signatures are still checked, so that both ends hold the same keys.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
