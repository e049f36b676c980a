//! Accepts connections so that none of them delays another, and none is held for ever that does
//! not begin.

mod connection;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use futures_util::{Stream, future::BoxFuture, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};

pub use self::connection::Connection;
pub(crate) use self::connection::{Replayed, TLS_HANDSHAKE};

/// How long a connection may take until it speaks HTTP/2; enough for a TLS handshake on a machine
/// under load.
pub(crate) const BEGIN_WITHIN: Duration = Duration::from_secs(10);

/// How long to wait after a failed accept, which mostly means that the process has no more
/// descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How many connections may begin at one time; more wait where the system keeps them. If everybody
/// comes at once, those that are let in come through before their time is over.
const BEGINNING_MAX: usize = 1024;

/// Where connections come from.
pub(crate) trait Door: Send + 'static {
    /// A connection of which nothing has been read.
    type Stream: Send;
    /// What each request of a connection carries.
    type Info: Clone + Send + Sync + 'static;

    /// What it is called in the log.
    const NAME: &'static str;

    /// Waits for the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Reads until the client has shown that it speaks HTTP/2.
    fn begin(
        &self,
        stream: Self::Stream,
        room: OwnedSemaphorePermit,
    ) -> BoxFuture<'static, io::Result<Connection<Self::Info>>>;
}

/// Connections that begin, and those that have begun.
pub(crate) struct Accepting<D: Door> {
    door: D,
    room: Arc<Semaphore>,
    /// Tasks, since a handshake takes a processor for a while.
    beginning: JoinSet<Option<Connection<D::Info>>>,
}

impl<D: Door + Sync> Accepting<D> {
    /// At most so many connections are open at one time, those that have not begun included. More
    /// wait where the system keeps them.
    pub(crate) fn new(door: D, connections_max: usize) -> Self {
        let room = Arc::new(Semaphore::new(connections_max));
        Self { door, room, beginning: JoinSet::new() }
    }

    /// Accepts until it is dropped. No fault of a connection, and no fault while accepting, ends
    /// the stream or delays another connection.
    pub(crate) fn stream(
        self,
    ) -> impl Stream<Item = Result<Connection<D::Info>, Infallible>> + Send + 'static {
        stream::unfold(self, async |mut accepting| {
            let connection = accepting.next().await;
            Some((Ok(connection), accepting))
        })
    }

    /// Waits for the next connection that has begun.
    pub(crate) async fn next(&mut self) -> Connection<D::Info> {
        loop {
            tokio::select! {
                biased;
                Some(begun) = self.beginning.join_next() => {
                    if let Ok(Some(connection)) = begun {
                        return connection;
                    }
                }
                (stream, room) = accept(&self.door, &self.room),
                    if self.beginning.len() < BEGINNING_MAX =>
                {
                    let begun = self.door.begin(stream, room);
                    self.beginning.spawn(begin::<D>(begun));
                }
            }
        }
    }
}

async fn accept<D: Door>(door: &D, room: &Arc<Semaphore>) -> (D::Stream, OwnedSemaphorePermit) {
    let room = Arc::clone(room).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match door.accept().await {
            Ok(stream) => return (stream, room),
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted on the {}", D::NAME);
                sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

async fn begin<D: Door>(
    begun: BoxFuture<'static, io::Result<Connection<D::Info>>>,
) -> Option<Connection<D::Info>> {
    match timeout(BEGIN_WITHIN, begun).await {
        Ok(Ok(connection)) => Some(connection),
        Ok(Err(error)) => {
            tracing::debug!(%error, "dropped a connection of the {}", D::NAME);
            None
        }
        Err(_) => {
            tracing::debug!("dropped a connection of the {} that did not begin", D::NAME);
            None
        }
    }
}
