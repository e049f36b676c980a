//! Connections to other managers.

use std::{io, str::FromStr, sync::Arc, time::Duration};

use http::Uri;
use hyper_util::rt::TokioIo;
use nix::sys::socket::{setsockopt, sockopt};
use protocol::{
    address::{Address, InvalidAddress},
    id::NodeId,
};
use rustls::{
    CertificateError, ClientConfig,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::oneshot,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::Shown;
use crate::{
    identity::Chain,
    through::{reads_through, writes_through},
};

/// How long a connection may take to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(5);

/// How long a connection may be silent before the kernel asks whether the other machine is there, how
/// often it asks then, both in seconds, and when it takes it for gone, in milliseconds. HTTP/2's own
/// pings are no way to ask: a manager of SwarmKit's closes a connection after the third.
const PROBE_AFTER: u32 = 5;
const PROBE_EVERY: u32 = 1;
const GONE_AFTER: u32 = 10_000;

/// What may be on the way unread, over all calls of a connection: a call that nobody reads must
/// not hold up the others.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// The same for one call.
const STREAM_WINDOW: u32 = 128 << 10;

/// Whom a connection is to, by what the other end's certificate has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// A manager, as such.
    Manager,
    /// A manager, as the cluster's authority.
    Authority,
}

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// Nothing listens there.
    #[error("nothing listens on {address}")]
    Refused {
        /// The address.
        address: String,
    },
    /// It cannot be reached.
    #[error("{address} cannot be reached")]
    Unreachable {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// It does not answer.
    #[error("{address} did not answer within {} seconds", BEGIN_WITHIN.as_secs())]
    Silent {
        /// The address.
        address: String,
    },
    /// Who answers is not who it should be, or does not want to talk to this node.
    #[error("no TLS connection to {address}")]
    Handshake {
        /// The address.
        address: String,
        /// What went wrong.
        source: io::Error,
    },
    /// Its certificate is not valid by the clock of this machine: one of both clocks is wrong, unless it has
    /// slept for too long.
    #[error(
        "no TLS connection to {address}: by this machine's clock its certificate {moment}: are both \
         clocks right?"
    )]
    Clock {
        /// The address.
        address: String,
        /// When it is valid.
        moment: String,
    },
    /// Another node than the one that is meant answers there.
    #[error("another node answers on {address}")]
    Foreign {
        /// The address.
        address: String,
    },
    /// It does not speak HTTP/2.
    #[error("{address} does not speak HTTP/2")]
    Protocol {
        /// The address.
        address: String,
        /// What went wrong.
        source: tonic::transport::Error,
    },
}

/// One connection to a manager. It is not made again when it ends.
#[derive(Debug)]
pub struct Connection {
    /// Where calls go.
    pub channel: Channel,
    /// Resolves when the connection has ended.
    pub ended: oneshot::Receiver<()>,
    /// What this node has shown on it.
    pub shown: Shown,
    /// Whom the other end's certificate names.
    pub node_id: Option<NodeId>,
}

/// Connects to a manager.
pub async fn dial(address: &str, name: Name, tls: Arc<ClientConfig>) -> Result<Connection, Error> {
    let connected = timeout(BEGIN_WITHIN, begin(address, name, tls)).await;
    connected.unwrap_or_else(|_| Err(Error::Silent { address: address.to_owned() }))
}

async fn begin(address: &str, name: Name, tls: Arc<ClientConfig>) -> Result<Connection, Error> {
    let owned = || address.to_owned();
    let parsed = Address::from_str(address)?;
    let uri =
        Uri::builder().scheme("http").authority(parsed.to_string()).path_and_query("/").build();
    let uri = uri.map_err(|_| InvalidAddress(owned()))?;
    let stream = connect(address).await?;
    let name = match name {
        Name::Manager => ServerName::try_from("swarm-manager"),
        Name::Authority => ServerName::try_from("swarm-ca"),
    };
    let name = name.expect("a host name");
    let shown = Shown::now(&tls);
    let stream = TlsConnector::from(tls).connect(name, stream).await;
    let stream = stream.map_err(|source| match out_of_time(&source) {
        Some(moment) => Error::Clock { address: owned(), moment },
        None => Error::Handshake { address: owned(), source },
    })?;
    let node_id = stream.get_ref().1.peer_certificates().and_then(named);
    let connection = speak(address, uri, stream).await?;
    Ok(Connection { shown, node_id, ..connection })
}

/// When the other end's certificate is valid, if that is what a handshake has failed for.
fn out_of_time(error: &io::Error) -> Option<String> {
    let minutes = |from: UnixTime, to: UnixTime| to.as_secs().saturating_sub(from.as_secs()) / 60;
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(wrong) = error else { return None };
    if let CertificateError::NotValidYetContext { time, not_before } = wrong {
        return Some(format!("begins in {} minutes", minutes(*time, *not_before)));
    }
    if let CertificateError::ExpiredContext { time, not_after } = wrong {
        return Some(format!("ended {} minutes ago", minutes(*not_after, *time)));
    }
    None
}

/// Reaches a machine, whose end the kernel watches from then on.
async fn connect(address: &str) -> Result<TcpStream, Error> {
    let owned = || address.to_owned();
    let stream = TcpStream::connect(address).await.map_err(|source| {
        let (address, kind) = (owned(), source.kind());
        if kind == io::ErrorKind::ConnectionRefused {
            Error::Refused { address }
        } else if kind == io::ErrorKind::ConnectionReset {
            // It was there, and has gone.
            Error::Handshake { address, source }
        } else {
            Error::Unreachable { address, source }
        }
    })?;
    let unusable = |source| Error::Handshake { address: owned(), source };
    stream.set_nodelay(true).map_err(unusable)?;
    probe(&stream).map_err(|error| unusable(error.into()))?;
    Ok(stream)
}

/// Lets the kernel find out when the other machine has gone.
fn probe(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &PROBE_AFTER)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &PROBE_EVERY)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &GONE_AFTER)
}

fn named(certificates: &[CertificateDer<'_>]) -> Option<NodeId> {
    let certificates = certificates.iter().map(|one| one.clone().into_owned()).collect();
    Chain::of(certificates).ok().map(|chain| chain.subject.node_id)
}

/// Begins HTTP/2 on a stream.
pub(crate) async fn speak<S>(address: &str, uri: Uri, stream: S) -> Result<Connection, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (end, ended) = oneshot::channel();
    let mut stream = Some(Noticed { stream, _end: end });
    // The one connection there is; whoever wants another dials again.
    let connector = service_fn(move |_: Uri| {
        let stream = stream.take().map(TokioIo::new);
        async { stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    let endpoint = Endpoint::from(uri)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW);
    let channel = endpoint.connect_with_connector(connector).await;
    let protocol = |source| Error::Protocol { address: address.to_owned(), source };
    let channel = channel.map_err(protocol)?;
    Ok(Connection { channel, ended, shown: Shown::default(), node_id: None })
}

/// An error with what is behind it, in one line.
pub fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// A stream whose end somebody hears of.
struct Noticed<S> {
    stream: S,
    _end: oneshot::Sender<()>,
}

reads_through!([S: AsyncRead + Unpin] Noticed<S>, stream);
writes_through!([S: AsyncWrite + Unpin] Noticed<S>, stream);

#[cfg(test)]
mod tests {
    use actors::environment::Clock;
    use nix::sys::socket::getsockopt;
    use prost_types::Timestamp;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::{clock::SystemClock, identity::Identity};

    /// What is said to a node that calls a manager whose clock, when it got its certificate, was ahead by so
    /// many hours.
    async fn refused(hours: i64) -> String {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let now = SystemClock.now();
        let made = Timestamp { seconds: now.seconds + hours * 60 * 60, ..now };
        let identity = Identity::open(folder.path(), &made).expect("an identity");
        let credentials = identity.credentials().expect("credentials");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let accepted = async {
            let tls = TlsAcceptor::from(credentials.remote_config().expect("a configuration"));
            let (stream, _) = listener.accept().await.expect("somebody calls");
            tls.accept(stream).await.err()
        };
        let tls = credentials.client_config().expect("a configuration");
        let (_, dialed) = tokio::join!(accepted, dial(&address, Name::Manager, tls));
        described(&dialed.expect_err("nobody trusts that")).replace(&address, "m1:4242")
    }

    #[tokio::test]
    async fn a_clock_that_is_off_is_named() {
        // A certificate is dated back by an hour.
        let ahead = refused(2).await;
        let expected =
            "no TLS connection to m1:4242: by this machine's clock its certificate begins in";
        assert!(ahead.starts_with(expected) && ahead.contains(" minutes: are both"), "{ahead}");
        let long_ago = refused(-24 * 91).await;
        let expected =
            "no TLS connection to m1:4242: by this machine's clock its certificate ended ";
        assert!(long_ago.starts_with(expected) && long_ago.contains(" minutes ago"), "{long_ago}");
    }

    #[tokio::test]
    async fn the_kernel_is_asked_to_notice_a_machine_that_has_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stream = connect(&address.to_string()).await.expect("it listens");
        assert_eq!(getsockopt(&stream, sockopt::KeepAlive), Ok(true));
        assert_eq!(getsockopt(&stream, sockopt::TcpKeepIdle), Ok(PROBE_AFTER));
        assert_eq!(getsockopt(&stream, sockopt::TcpKeepInterval), Ok(PROBE_EVERY));
        assert_eq!(getsockopt(&stream, sockopt::TcpUserTimeout), Ok(GONE_AFTER));
    }
}
