//! The socket with real clients, with clients that say nothing, and with clients that say
//! anything.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use hyper_util::rt::TokioIo;
use protocol::wire::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_client::HealthClient,
    health_server::{Health, HealthServer},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint, Server},
};
use tower::service_fn;

use super::*;
use crate::{accepting::BEGIN_WITHIN, identity::Credentials};

struct Serving;

#[tonic::async_trait]
impl Health for Serving {
    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = ServingStatus::Serving.into();
        Ok(Response::new(HealthCheckResponse { status }))
    }
}

/// A server on a socket in a folder of its own.
struct World {
    _folder: tempfile::TempDir,
    path: PathBuf,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

async fn world() -> World {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("s");
    let socket = ControlSocket::bind(&path).await.expect("the path is free");
    let (stop, stopped) = oneshot::channel();
    let server = Server::builder().add_service(HealthServer::new(Serving));
    let incoming = socket.incoming(tls());
    let serve = async {
        let stopped = async { stopped.await.unwrap() };
        server.serve_with_incoming_shutdown(incoming, stopped).await.expect("it serves");
    };
    #[expect(clippy::disallowed_methods, reason = "a test has no supervision tree")]
    let server = tokio::spawn(serve);
    World { _folder: folder, path, stop, server }
}

fn tls() -> Arc<ServerConfig> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["swarm-manager".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let chain = [certificate.der().clone()];
    Credentials::new(&chain, &key.into(), &chain)
        .and_then(|credentials| credentials.control_config())
        .expect("a configuration")
}

/// Accepts every certificate, as `swarmctl` does on the control socket.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

async fn dial_tls(
    path: &Path,
    protocols: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> io::Result<TlsStream<UnixStream>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .expect("ring has these versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from("swarm.sock").expect("a name");
    let stream = UnixStream::connect(path).await?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn check(channel: Channel) -> Result<ServingStatus, Status> {
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await?;
    Ok(answer.into_inner().status())
}

async fn plain(path: &Path) -> Channel {
    let path = path.to_owned();
    let connector = service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://socket").connect_with_connector(connector).await.expect("open")
}

async fn secure(
    path: &Path,
    protocols: &'static [&'static [u8]],
    versions: &'static [&'static rustls::SupportedProtocolVersion],
) -> Channel {
    let path = path.to_owned();
    let connector = service_fn(move |_| {
        let path = path.clone();
        async move { dial_tls(&path, protocols, versions).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://socket").connect_with_connector(connector).await.expect("open")
}

/// Waits until the other side has closed.
async fn closed(stream: &mut UnixStream) {
    let mut answer = Vec::new();
    // A reset is as good as an end.
    let _ = stream.read_to_end(&mut answer).await;
}

const BOTH: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];
const OLDER: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];

#[tokio::test]
async fn plain_and_tls_clients_are_served_side_by_side() {
    let world = world().await;
    let channels = [
        plain(&world.path).await,
        secure(&world.path, &[b"h2"], BOTH).await,
        secure(&world.path, &[], BOTH).await,
        secure(&world.path, &[b"h2"], OLDER).await,
    ];
    for channel in channels {
        assert_eq!(check(channel).await.expect("served"), ServingStatus::Serving);
    }
}

#[tokio::test]
async fn sessions_are_not_resumed() {
    let world = world().await;
    let mut stream = dial_tls(&world.path, &[b"h2"], BOTH).await.expect("a handshake");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("written");
    stream.read_u8().await.expect("the server's settings arrive, and a ticket would have before");
    assert_eq!(stream.get_ref().1.tls13_tickets_received(), 0);
}

#[tokio::test]
async fn garbage_is_dropped_and_others_are_still_served() {
    let world = world().await;
    let mut handshake = vec![TLS_HANDSHAKE; 4096];
    handshake[1..5].copy_from_slice(&[3, 1, 0xff, 0xff]);
    let half = b"PRI * HTTP/1.1\r\n\r\nnonsense".to_vec();
    for garbage in [vec![0; 100], vec![0xff; 70_000], handshake, half, b"GET / HTTP/1.1".to_vec()] {
        let mut stream = UnixStream::connect(&world.path).await.expect("accepted");
        // The other side may have gone before everything is written.
        let _ = stream.write_all(&garbage).await;
        closed(&mut stream).await;
    }
    assert_eq!(check(plain(&world.path).await).await.expect("served"), ServingStatus::Serving);
}

#[tokio::test]
async fn a_hundred_megabytes_of_garbage_are_not_swallowed() {
    let world = world().await;
    let block = vec![b'x'; 1 << 20];
    let mut stream = UnixStream::connect(&world.path).await.expect("accepted");
    let mut written = 0;
    while written < 100 {
        if stream.write_all(&block).await.is_err() {
            break;
        }
        written += 1;
    }
    assert!(written < 100, "the connection must end at the first byte");
    assert_eq!(check(plain(&world.path).await).await.expect("served"), ServingStatus::Serving);
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_is_dropped_in_time() {
    let world = world().await;
    let begun = tokio::time::Instant::now();
    for said in [&b""[..], &[TLS_HANDSHAKE, 3, 1], b"PRI * HTTP"] {
        let mut stream = UnixStream::connect(&world.path).await.expect("accepted");
        stream.write_all(said).await.expect("written");
        closed(&mut stream).await;
    }
    let spent = begun.elapsed();
    assert!(spent >= BEGIN_WITHIN * 3 && spent < BEGIN_WITHIN * 4, "{spent:?}");
}

#[tokio::test]
async fn connections_are_bounded_and_the_rest_waits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("s");
    let socket = ControlSocket::bind(&path).await.expect("the path is free");
    let mut accepting = Accepting::new(Local { socket, tls: tls().into() }, 2);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = UnixStream::connect(&path).await.expect("the backlog has room");
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("written");
        clients.push(client);
    }
    let first = accepting.next().await;
    let _second = accepting.next().await;
    let third = timeout(Duration::from_millis(50), accepting.next()).await;
    assert!(third.is_err(), "there is room for two");
    drop(first);
    accepting.next().await;
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_goes_with_the_server() {
    let world = world().await;
    let mode = fs::metadata(&world.path).expect("it exists").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    world.stop.send(()).expect("the server runs");
    world.server.await.expect("it stops");
    assert!(!world.path.exists());
}

#[tokio::test]
async fn a_socket_on_which_somebody_answers_is_left_alone() {
    let world = world().await;
    let error = ControlSocket::bind(&world.path).await.err().expect("in use");
    assert!(matches!(error, Error::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains(&world.path.display().to_string()));
    assert_eq!(check(plain(&world.path).await).await.expect("served"), ServingStatus::Serving);
}

#[tokio::test]
async fn a_socket_of_the_dead_is_replaced() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("deep/s");
    fs::create_dir(folder.path().join("deep")).expect("made");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    assert!(path.exists(), "a plain listener leaves its file");
    ControlSocket::bind(&path).await.expect("replaced");
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("s");
    fs::write(&path, b"precious").expect("written");
    let error = ControlSocket::bind(&path).await.err().expect("refused");
    assert!(matches!(error, Error::NoSocket { .. }), "{error:?}");
    assert_eq!(fs::read(&path).expect("still there"), b"precious");
    let error = ControlSocket::bind(&path.join("below")).await.err().expect("refused");
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn the_socket_of_a_successor_is_not_removed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("s");
    let first = ControlSocket::bind(&path).await.expect("free");
    fs::remove_file(&path).expect("removed by hand");
    let _second = ControlSocket::bind(&path).await.expect("free again");
    drop(first);
    assert!(path.exists());
}
