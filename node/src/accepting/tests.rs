//! Many connections that begin at once.

use std::{
    future::pending,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use tokio::io::{AsyncWriteExt, duplex};

use super::*;

/// A door at which so many come.
struct Crowd {
    coming: AtomicUsize,
    begun: Arc<AtomicUsize>,
    /// How many have to begin at one time before one of them goes on.
    meet: usize,
}

impl Crowd {
    fn of(coming: usize, meet: usize) -> (Self, Arc<AtomicUsize>) {
        let begun = Arc::new(AtomicUsize::new(0));
        (Self { coming: coming.into(), begun: begun.clone(), meet }, begun)
    }
}

impl Door for Crowd {
    type Stream = ();
    type Info = ();

    const NAME: &'static str = "test";

    async fn accept(&self) -> io::Result<()> {
        let less = |coming: usize| coming.checked_sub(1);
        let came = self.coming.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if came.is_err() {
            pending::<()>().await;
        }
        Ok(())
    }

    fn begin(
        &self,
        (): (),
        room: OwnedSemaphorePermit,
    ) -> BoxFuture<'static, io::Result<Connection<()>>> {
        let (begun, meet) = (self.begun.clone(), self.meet);
        Box::pin(async move {
            begun.fetch_add(1, Ordering::Relaxed);
            if meet == usize::MAX {
                pending::<()>().await;
            }
            // As a handshake, this takes the processor.
            for _ in 0..300 {
                if begun.load(Ordering::Relaxed) >= meet {
                    let (mut client, stream) = duplex(64);
                    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
                    return Connection::begin(Vec::new(), stream, (), room).await;
                }
                thread::sleep(Duration::from_millis(10));
            }
            Err(io::ErrorKind::TimedOut.into())
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_handshake_does_not_wait_for_the_processor_of_another() {
    let (crowd, _) = Crowd::of(2, 2);
    let mut accepting = Accepting::new(crowd, 8);
    let both = async { (accepting.next().await, accepting.next().await) };
    assert!(timeout(BEGIN_WITHIN, both).await.is_ok(), "they begin beside each other");
}

#[tokio::test(start_paused = true)]
async fn only_so_many_connections_begin_at_one_time() {
    let (crowd, begun) = Crowd::of(2 * BEGINNING_MAX, usize::MAX);
    let mut accepting = Accepting::new(crowd, 3 * BEGINNING_MAX);
    assert!(timeout(BEGIN_WITHIN / 2, accepting.next()).await.is_err(), "none comes through");
    assert_eq!(begun.load(Ordering::Relaxed), BEGINNING_MAX);
}
