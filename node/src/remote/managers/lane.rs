//! A thread for what must not wait for anything else that this process does.

use std::{io, panic::AssertUnwindSafe, thread};

use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, LocalBoxFuture, pending},
    stream::FuturesUnordered,
};
use tokio::{
    runtime::Builder,
    sync::{mpsc, oneshot},
    task::LocalSet,
};

/// Jobs that wait until the thread takes them up. There is one per session, and sessions come one
/// after the other.
const JOBS_MAX: usize = 16;

type Job = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

/// A thread of its own, with sockets and timers of its own. Clones are the same one; it ends with the
/// last of them.
#[derive(Clone, Debug)]
pub struct Lane {
    jobs: mpsc::Sender<Job>,
}

impl Lane {
    /// Starts the thread.
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (jobs, taken) = mpsc::channel(JOBS_MAX);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            LocalSet::new().block_on(&runtime, work(taken));
        })?;
        Ok(Self { jobs })
    }

    /// Runs something there. None when it panicked, or when the thread is gone. Dropping the future
    /// gives it up.
    pub fn run<T: Send + 'static>(
        &self,
        begin: impl FnOnce() -> LocalBoxFuture<'static, T> + Send + 'static,
    ) -> BoxFuture<'static, Option<T>> {
        let (mut answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || {
            let done = async move {
                tokio::select! {
                    biased;
                    () = answer.closed() => {}
                    done = begin() => drop(answer.send(done)),
                }
            };
            done.boxed_local()
        });
        let jobs = self.jobs.clone();
        Box::pin(async move {
            jobs.send(job).await.ok()?;
            answered.await.ok()
        })
    }
}

async fn work(mut jobs: mpsc::Receiver<Job>) {
    let mut running = FuturesUnordered::new();
    loop {
        let ended = async {
            match running.next().await {
                Some(ended) => ended,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            job = jobs.recv() => match job {
                // The others go on when one panics; whoever waits for it hears that it is gone.
                Some(job) => running.push(AssertUnwindSafe(async move { job().await }).catch_unwind()),
                None => break,
            },
            ended = ended => if ended.is_err() {
                tracing::error!("something that must not wait has panicked");
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_runs_beside_whatever_holds_this_thread() {
        let lane = Lane::start("test").expect("a thread");
        let (said, heard) = std::sync::mpsc::channel();
        let first = lane.run(move || {
            async move {
                for turn in 0..3 {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                    said.send(turn).ok();
                }
                thread::current().name().map(str::to_owned)
            }
            .boxed_local()
        });
        let second = lane.run(|| async { panic!("it fails") }.boxed_local());
        let mut both = Box::pin(futures_util::future::join(first, second));
        assert!(both.as_mut().now_or_never().is_none(), "both are on their way");
        // This thread does nothing but wait here.
        assert_eq!(heard.iter().take(3).collect::<Vec<_>>(), [0, 1, 2]);
        let (first, second): (_, Option<()>) = both.await;
        assert_eq!((first, second), (Some(Some("test".to_owned())), None));
    }

    #[tokio::test]
    async fn what_is_given_up_ends() {
        let lane = Lane::start("test").expect("a thread");
        let (alive, ended) = oneshot::channel::<()>();
        let endless = lane.run(move || {
            async move {
                let _alive = alive;
                pending::<()>().await;
            }
            .boxed_local()
        });
        let mut endless = Box::pin(endless);
        assert!(endless.as_mut().now_or_never().is_none());
        drop(endless);
        ended.await.expect_err("it was dropped");
    }
}
