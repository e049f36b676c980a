//! The control socket: where `swarmctl` and the tools of SwarmKit find this node.
//!
//! Whoever may open it is the operator, so nobody is asked for an identity. TLS and plain
//! HTTP/2 are served side by side, told apart by the first byte.

#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{Stream, future::BoxFuture};
use nix::sys::stat::{Mode, fchmod};
use rustls::ServerConfig;
use tokio::{
    io::AsyncReadExt,
    net::{UnixListener, UnixSocket, UnixStream},
    sync::OwnedSemaphorePermit,
};
use tokio_rustls::TlsAcceptor;

use crate::accepting::{Accepting, Connection, Door, Replayed, TLS_HANDSHAKE};

/// Connections at one time, those that have not begun included. More wait in the backlog.
const CONNECTIONS_MAX: usize = 512;

/// Connections the system keeps for us while none is accepted.
const BACKLOG: u32 = 128;

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

    /// Accepts until it is dropped.
    pub fn incoming(
        self,
        tls: Arc<ServerConfig>,
    ) -> impl Stream<Item = Result<Connection<()>, Infallible>> + Send + 'static {
        Accepting::new(Local { socket: self, tls: tls.into() }, CONNECTIONS_MAX).stream()
    }
}

/// The control socket as a door: TLS and plain HTTP/2, told apart by the first byte.
struct Local {
    socket: ControlSocket,
    tls: TlsAcceptor,
}

impl Door for Local {
    type Stream = UnixStream;
    type Info = ();

    const NAME: &'static str = "control socket";

    async fn accept(&self) -> io::Result<UnixStream> {
        self.socket.listener.accept().await.map(|(stream, _)| stream)
    }

    fn begin(
        &self,
        mut stream: UnixStream,
        room: OwnedSemaphorePermit,
    ) -> BoxFuture<'static, io::Result<Connection<()>>> {
        let tls = self.tls.clone();
        Box::pin(async move {
            let first = vec![stream.read_u8().await?];
            if first[0] == TLS_HANDSHAKE {
                let stream = tls.accept(Replayed::new(first, stream)).await?;
                Connection::begin(Vec::new(), stream, (), room).await
            } else {
                Connection::begin(first, stream, (), room).await
            }
        })
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
