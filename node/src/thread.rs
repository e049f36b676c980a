//! Threads that actors live on: one runtime and one supervision tree each (architecture D15).

use std::{io, thread, time::Duration};

use actors::supervision::Tree;
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::LocalSet,
    time::timeout,
};

/// A thread with a tree of actors. Dropping it tells the actors to stop; [`stop`] waits for that.
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

/// Stops threads, last started first. Says whether all were gone within this time: one that waits
/// for a disk which never answers must not keep the process.
pub async fn stop_all(threads: Vec<ActorThread>, within: Duration) -> bool {
    let stopped = async {
        for thread in threads.into_iter().rev() {
            thread.stop().await;
        }
    };
    timeout(within, stopped).await.is_ok()
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use actors::supervision::{Budget, Census};

    use super::*;

    async fn thread(blocked: Option<mpsc::Receiver<()>>) -> ActorThread {
        let budget = Budget { restarts: 0, within: Duration::from_secs(1) };
        let planted = ActorThread::start("test", async move || {
            if let Some(blocked) = blocked {
                #[expect(clippy::disallowed_methods, reason = "it stands for a disk that hangs")]
                tokio::task::spawn_local(async move { blocked.recv().ok() });
            }
            (Tree::root("test", budget, Census::default(), |_| {}), ())
        });
        planted.await.expect("it starts").0
    }

    #[tokio::test]
    async fn a_thread_that_hangs_holds_up_nobody_for_ever() {
        let long = Duration::from_secs(60);
        assert!(stop_all(vec![thread(None).await, thread(None).await], long).await);
        let (release, blocked) = mpsc::channel();
        let hangs = thread(Some(blocked)).await;
        assert!(!stop_all(vec![hangs, thread(None).await], Duration::from_millis(50)).await);
        release.send(()).expect("it still waits");
    }
}
