//! The port on which other nodes find this one: TLS always, a certificate if the caller has one.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use futures_util::{Stream, future::BoxFuture};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{Guests, Peer};
use crate::accepting::{Accepting, BEGIN_WITHIN, Connection, Door};

/// Connections at one time, those that have not begun included. An agent has two.
const CONNECTIONS_MAX: usize = 32_768;

/// Of these, so many may be of callers without a certificate. They come to join, and go; they must
/// not take the places of those who belong here.
const STRANGERS_MAX: usize = 1024;

/// How long a connection may take until it speaks HTTP/2. Shorter than any door waits, which does
/// not know who it was.
const BEGUN_WITHIN: Duration = BEGIN_WITHIN.saturating_sub(Duration::from_secs(1));

/// A bound port. Clones share it.
pub struct RemoteListener {
    listener: TcpListener,
    address: SocketAddr,
}

impl RemoteListener {
    /// Binds the port; 0 takes one that is free.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns another handle on the port: whoever accepts first has the connection.
    pub fn share(self) -> io::Result<(Self, Self)> {
        let listener = self.listener.into_std()?;
        let again = |listener: StdListener| {
            let listener = TcpListener::from_std(listener)?;
            Ok::<_, io::Error>(Self { listener, address: self.address })
        };
        Ok((again(listener.try_clone()?)?, again(listener)?))
    }

    /// Accepts until it is dropped.
    pub fn incoming(
        self,
        tls: Arc<ServerConfig>,
        guests: Guests,
    ) -> impl Stream<Item = Result<Connection<Peer>, Infallible>> + Send + 'static {
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        let remote = Remote { listener: self.listener, tls: tls.into(), guests, strangers };
        Accepting::new(remote, CONNECTIONS_MAX).stream()
    }
}

/// The port as a door.
struct Remote {
    listener: TcpListener,
    tls: TlsAcceptor,
    guests: Guests,
    /// Places for callers without a certificate.
    strangers: Arc<Semaphore>,
}

impl Door for Remote {
    type Stream = (TcpStream, SocketAddr);
    type Info = Peer;

    const NAME: &'static str = "remote port";

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.listener.accept().await
    }

    fn begin(
        &self,
        (stream, address): (TcpStream, SocketAddr),
        room: OwnedSemaphorePermit,
    ) -> BoxFuture<'static, io::Result<Connection<Peer>>> {
        let (guests, strangers) = (self.guests.clone(), self.strangers.clone());
        let begun = begun((stream, address), self.tls.clone(), guests, strangers, room);
        Box::pin(async move {
            let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "it did not begin in time"));
            let begun = timeout(BEGUN_WITHIN, begun).await.unwrap_or_else(late);
            begun.inspect_err(|error| {
                tracing::warn!(%address, %error, "refused a connection of another node");
            })
        })
    }
}

async fn begun(
    (stream, address): (TcpStream, SocketAddr),
    tls: TlsAcceptor,
    guests: Guests,
    strangers: Arc<Semaphore>,
    room: OwnedSemaphorePermit,
) -> io::Result<Connection<Peer>> {
    stream.set_nodelay(true)?;
    let here = stream.local_addr()?.ip().to_canonical();
    let stream = tls.accept(stream).await?;
    let peer = Peer::new(address, here, stream.get_ref().1.peer_certificates());
    let peer =
        peer.map_err(|error| io::Error::new(io::ErrorKind::PermissionDenied, error.to_string()))?;
    match peer.certificate.clone() {
        Some(shown) => {
            let stream = guests.receive(shown, stream);
            Connection::begin(Vec::new(), stream, peer, room).await
        }
        None => {
            let crowded = |_| io::Error::other("too many callers without a certificate");
            let place = strangers.try_acquire_owned().map_err(crowded)?;
            Ok(Connection::begin(Vec::new(), stream, peer, room).await?.holding(place))
        }
    }
}

#[cfg(test)]
mod tests {
    use actors::environment::Clock;

    use super::*;
    use crate::{
        clock::SystemClock,
        identity::{Identity, stranger_config},
        remote::{Name, dial},
    };

    #[tokio::test]
    async fn strangers_take_the_places_of_strangers_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let identity = Identity::open(folder.path(), &SystemClock.now()).expect("an identity");
        let credentials = identity.credentials().expect("credentials");
        let port = RemoteListener::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let address = port.address().to_string();
        let tls = credentials.remote_config().expect("a configuration").into();
        let strangers = Arc::new(Semaphore::new(1));
        let remote = Remote { listener: port.listener, tls, guests: Guests::default(), strangers };
        let mut accepting = Accepting::new(remote, 8);
        let stranger = stranger_config(None).expect("a configuration");
        let (first, open) =
            tokio::join!(accepting.next(), dial(&address, Name::Authority, stranger.clone()),);
        let _open = open.expect("there is a place");
        // One that is refused may see that at once, or when it has begun.
        let refused = async {
            if let Ok(second) = dial(&address, Name::Authority, stranger.clone()).await {
                second.ended.await.ok();
            }
        };
        tokio::select! {
            biased;
            () = refused => {}
            _ = accepting.next() => panic!("there is no place"),
        }
        let own = credentials.client_config().expect("a configuration");
        let (_guest, known) = tokio::join!(accepting.next(), dial(&address, Name::Manager, own));
        known.expect("it has a certificate");
        drop(first);
        let (_third, again) =
            tokio::join!(accepting.next(), dial(&address, Name::Authority, stranger));
        again.expect("the first one's place");
    }
}
