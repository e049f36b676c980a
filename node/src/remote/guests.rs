//! The connections of other nodes that are open, so that those of a node can be cut that has no
//! business here any more (architecture D14).

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use actors::{
    ca::logic::access::{Certificate, may_stay},
    environment::Clock,
    raft::Leader,
    store::{Store, View},
};
use arc_swap::ArcSwap;
use imbl::OrdMap;
use prost_types::Timestamp;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
    time::sleep,
};

use super::{Directory, peer::Presented};
use crate::through::writes_through;

/// How often guests are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The open connections whose caller has shown a certificate. Clones are the same ones.
#[derive(Clone, Default)]
pub struct Guests(Arc<Table>);

#[derive(Default)]
struct Table {
    next: AtomicU64,
    guests: ArcSwap<OrdMap<u64, Guest>>,
}

#[derive(Clone)]
struct Guest {
    shown: Arc<Presented>,
    /// Dropping the last one cuts the connection.
    _hold: Arc<oneshot::Sender<()>>,
}

impl Guests {
    /// Wraps the connection of a node, which is cut when the node is shown out.
    pub(super) fn receive<S>(&self, shown: Arc<Presented>, stream: S) -> Cuttable<S> {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (hold, cut) = oneshot::channel();
        let guest = Guest { shown, _hold: Arc::new(hold) };
        self.0.guests.rcu(|guests| guests.update(id, guest.clone()));
        Cuttable { stream, cut, _seat: Seat { id, guests: self.clone() } }
    }

    /// Cuts the connections of whoever is not welcome. Returns how many there were.
    fn show_out(&self, is_welcome: impl Fn(Certificate<'_>) -> bool) -> usize {
        let guests = self.0.guests.load_full();
        let is_welcome = |Guest { shown, .. }: &Guest| {
            is_welcome(Certificate { subject: &shown.subject, window: shown.window })
        };
        let unwelcome: Vec<_> = guests.iter().filter(|(_, guest)| !is_welcome(guest)).collect();
        for (id, Guest { shown, .. }) in &unwelcome {
            tracing::info!(node_id = %shown.subject.node_id, "cut a connection: its certificate is void");
            self.leave(**id);
        }
        unwelcome.len()
    }

    fn leave(&self, id: u64) {
        self.0.guests.rcu(|guests| guests.without(&id));
    }

    /// Cuts the connections of nodes that were removed or are no managers any more, and those whose
    /// certificate ends, for ever.
    pub async fn watch(self, store: Store, directory: Directory, clock: Arc<dyn Clock>) {
        let mut looked = clock.now();
        loop {
            let leads = matches!(directory.standing().group().leader(), Leader::Here);
            let now = clock.now();
            self.look(&store.view(), leads, [&looked, &now]);
            looked = now;
            sleep(LOOK_EVERY).await;
        }
    }

    fn look(&self, view: &View, leads: bool, moments: [&Timestamp; 2]) -> usize {
        self.show_out(|certificate| may_stay(certificate, view, leads, moments))
    }
}

/// A stream that can be cut.
pub(super) struct Cuttable<S> {
    stream: S,
    cut: oneshot::Receiver<()>,
    _seat: Seat,
}

/// A guest goes when its connection ends.
struct Seat {
    id: u64,
    guests: Guests,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.guests.leave(self.id);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cuttable<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.cut.is_terminated() && Pin::new(&mut self.cut).poll(context).is_pending() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

writes_through!([S: AsyncWrite + Unpin] Cuttable<S>, stream);

#[cfg(test)]
mod tests {
    use actors::ca::logic::{Subject, Window};
    use protocol::wire::NodeRole;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const ENDS: i64 = 1000;

    fn shown(node_id: &str, role: NodeRole) -> Arc<Presented> {
        let subject = Subject { node_id: node_id.into(), role, cluster_id: "cluster".into() };
        let window = Window { not_before_seconds: 0, not_after_seconds: ENDS };
        Arc::new(Presented { subject, window })
    }

    #[tokio::test]
    async fn the_connections_of_one_node_are_cut_and_no_others() {
        let guests = Guests::default();
        let (mut ends, mut held) = (Vec::new(), Vec::new());
        for node_id in ["one", "two", "one"] {
            let (end, other) = duplex(64);
            ends.push(end);
            held.push(guests.receive(shown(node_id, NodeRole::Manager), other));
        }
        assert_eq!(guests.show_out(|shown| shown.subject.node_id.as_str() != "one"), 2);
        let mut byte = [0];
        for (position, is_cut) in [(0, true), (1, false), (2, true)] {
            ends[position].write_all(b"x").await.expect("it is open on this side");
            let read = held[position].read(&mut byte).await;
            assert_eq!(read.is_err(), is_cut, "{position}");
            assert_eq!(held[position].read(&mut byte[..0]).await.is_err(), is_cut);
        }
        drop(held);
        assert!(guests.0.guests.load().is_empty(), "who has gone is forgotten");
    }

    #[tokio::test]
    async fn whoever_waits_hears_of_the_cut() {
        let guests = Guests::default();
        let (_end, other) = duplex(64);
        let mut guest = guests.receive(shown("one", NodeRole::Worker), other);
        let mut byte = [0];
        let (read, count) = tokio::join!(guest.read(&mut byte), async {
            tokio::task::yield_now().await;
            guests.show_out(|_| false)
        });
        assert_eq!((read.is_err(), count), (true, 1));
    }

    #[tokio::test]
    async fn a_connection_ends_with_its_certificate_and_one_for_the_renewal_stays() {
        let (guests, view) = (Guests::default(), View::default());
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        let (_end, other) = duplex(64);
        let mut guest = guests.receive(shown("one", NodeRole::Worker), other);
        assert_eq!(guests.look(&view, true, [&at(ENDS - 1), &at(ENDS)]), 0);
        assert_eq!(guests.look(&view, true, [&at(ENDS), &at(ENDS + 1)]), 1);
        assert!(guest.read(&mut [0]).await.is_err(), "it is cut");
        let (_end, other) = duplex(64);
        let _renews = guests.receive(shown("one", NodeRole::Worker), other);
        assert_eq!(guests.look(&view, true, [&at(ENDS + 1), &at(ENDS + 2)]), 0);
    }
}
