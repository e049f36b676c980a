//! Threads that actors live on: one runtime and one supervision tree each (architecture D15).

use std::{io, thread};

use actors::supervision::Tree;
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::LocalSet,
};

/// A thread with a tree of actors. Dropping it leaves the actors to themselves; [`stop`] ends them.
///
/// [`stop`]: ActorThread::stop
pub struct ActorThread {
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl ActorThread {
    /// Starts a thread and plants a tree on it. Returns what `plant` gives away of it.
    pub async fn start<T: Send + 'static>(
        name: &str,
        plant: impl AsyncFnOnce() -> (Tree, T) + Send + 'static,
    ) -> io::Result<(Self, T)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (give, given) = oneshot::channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            live(&runtime, plant, give, stopped);
        })?;
        let planted = given.await.map_err(|_| io::Error::other("an actor thread ended at once"))?;
        Ok((Self { stop, thread }, planted))
    }

    /// Stops the actors, last started first, and waits until the thread is gone.
    pub async fn stop(self) {
        let Self { stop, thread } = self;
        // The tree may have given up before.
        stop.send(()).ok();
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("an actor thread ended by a panic");
        }
    }
}

fn live<T>(
    runtime: &Runtime,
    plant: impl AsyncFnOnce() -> (Tree, T),
    give: oneshot::Sender<T>,
    stopped: oneshot::Receiver<()>,
) {
    LocalSet::new().block_on(runtime, async {
        let (tree, gift) = plant().await;
        give.send(gift).ok();
        stopped.await.ok();
        tree.stop().await;
    });
}
