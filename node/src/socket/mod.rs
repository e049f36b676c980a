//! The control socket: where `swarmctl` and the tools of SwarmKit find this node.
//!
//! Whoever may open it is the operator, so nobody is asked for an identity. TLS and plain
//! HTTP/2 are served side by side, told apart by the first byte.

mod connection;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::{
    Stream, StreamExt,
    future::BoxFuture,
    stream::{self, FuturesUnordered},
};
use nix::sys::stat::{Mode, fchmod};
use rustls::ServerConfig;
use tokio::{
    net::{UnixListener, UnixSocket, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

pub use self::connection::Connection;

/// Connections at one time, those that have not begun included. More wait in the backlog.
const CONNECTIONS_MAX: usize = 512;

/// Connections the system keeps for us while none is accepted.
const BACKLOG: u32 = 128;

/// How long a connection may take until it speaks HTTP/2; enough for a TLS handshake on a machine
/// under load.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);

/// How long to wait after a failed accept, which mostly means that the process has no more
/// descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A bound control socket; its file goes when it is dropped.
pub struct ControlSocket {
    // Before the listener, so that the file is gone while nobody else can have bound the path.
    _file: SocketFile,
    listener: UnixListener,
}

/// Why the control socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody answers on it.
    #[error(
        "control socket {} is in use: another swarmd answers on it; stop that one, or choose \
         another place with --listen-control-api",
        .path.display()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else is in its place.
    #[error("control socket {} cannot be made: something else has that name", .path.display())]
    NoSocket {
        /// The socket.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("control socket {} cannot be made", .path.display())]
    Refused {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ControlSocket {
    /// Makes the socket, for its owner alone, and its folder if that is missing. One that a
    /// dead process has left is replaced.
    pub async fn bind(path: &Path) -> Result<Self, Error> {
        clear(path).await?;
        let refused = |source| Error::Refused { path: path.to_owned(), source };
        let listener = listen(path).map_err(refused)?;
        let file = SocketFile::find(path).map_err(refused)?;
        Ok(Self { _file: file, listener })
    }

    /// Accepts until it is dropped. No fault of a connection, and no fault while accepting, ends
    /// the stream or delays another connection.
    pub fn incoming(
        self,
        tls: Arc<ServerConfig>,
    ) -> impl Stream<Item = Result<Connection, Infallible>> + Send + 'static {
        let accepting = Accepting::new(self, tls, CONNECTIONS_MAX);
        stream::unfold(accepting, async |mut accepting| {
            let connection = accepting.next().await;
            Some((Ok(connection), accepting))
        })
    }
}

struct Accepting {
    socket: ControlSocket,
    tls: TlsAcceptor,
    room: Arc<Semaphore>,
    beginning: FuturesUnordered<BoxFuture<'static, Option<Connection>>>,
}

impl Accepting {
    fn new(socket: ControlSocket, tls: Arc<ServerConfig>, connections_max: usize) -> Self {
        let room = Arc::new(Semaphore::new(connections_max));
        Self { socket, tls: tls.into(), room, beginning: FuturesUnordered::new() }
    }

    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                biased;
                Some(begun) = self.beginning.next() => {
                    if let Some(connection) = begun {
                        return connection;
                    }
                }
                (stream, room) = accept(&self.socket.listener, &self.room) => {
                    self.beginning.push(Box::pin(begin(stream, self.tls.clone(), room)));
                }
            }
        }
    }
}

async fn accept(
    listener: &UnixListener,
    room: &Arc<Semaphore>,
) -> (UnixStream, OwnedSemaphorePermit) {
    let room = Arc::clone(room).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, room),
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted on the control socket");
                sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

async fn begin(
    stream: UnixStream,
    tls: TlsAcceptor,
    room: OwnedSemaphorePermit,
) -> Option<Connection> {
    match timeout(BEGIN_WITHIN, Connection::begin(stream, tls, room)).await {
        Ok(Ok(connection)) => Some(connection),
        Ok(Err(error)) => {
            tracing::debug!(%error, "dropped a connection of the control socket");
            None
        }
        Err(_) => {
            tracing::debug!("dropped a connection of the control socket that did not begin");
            None
        }
    }
}

/// Removes a socket on which nobody answers.
async fn clear(path: &Path) -> Result<(), Error> {
    let refused = |source| Error::Refused { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(Error::NoSocket { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(refused)
        }
        // A full backlog: somebody listens, only slowly.
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(refused(error)),
        Ok(_) | Err(_) => Err(Error::InUse { path: path.to_owned() }),
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let socket = UnixSocket::new_stream()?;
    // Before the bind: the file takes this mode when it is made, so nobody slips in between.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(path)?;
    socket.listen(BACKLOG)
}

/// The file of a bound socket. Dropping it removes the file, unless another has taken its place.
struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    fn find(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = identity(&self.path).is_ok_and(|found| found == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the control socket stays behind");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
