//! The sessions that are valid, for whoever takes heartbeats: on any thread, without a mailbox, and
//! without a lock that somebody could hold. The dispatcher says what is valid, and takes what was
//! heard before it judges anybody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use imbl::OrdMap;
use protocol::id::{NodeId, SessionId};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    Error,
    logic::registry::{Heard, Known, vary},
};

/// What is valid now; nothing while there is no dispatcher. Clones are the same one. One thread
/// writes, and every thread reads.
#[derive(Clone, Default)]
pub(super) struct Sessions(Arc<ArcSwapOption<Table>>);

/// What is valid at one moment. It shares with the next all that stays, so that thousands of nodes
/// may register one by one.
#[derive(Clone)]
struct Table {
    /// How often nodes must be heard.
    period: Duration,
    nodes: OrdMap<NodeId, Arc<Session>>,
}

/// What is known of one node, as long as nothing else is known of it.
struct Session {
    known: Known,
    /// The last heartbeat that the dispatcher has not taken yet.
    heard: ArcSwapOption<Heard>,
    /// What the next period is drawn from.
    seed: AtomicU64,
}

impl Sessions {
    /// A dispatcher begins, and knows nobody.
    pub(super) fn open(&self, period: Duration) {
        self.0.store(Some(Arc::new(Table { period, nodes: OrdMap::new() })));
    }

    /// It ends: nobody is heard any more.
    pub(super) fn close(&self) {
        self.0.store(None);
    }

    /// Follows the dispatcher in what it knows. Once closed, there is nothing left to change.
    pub(super) fn follow(
        &self,
        period: Duration,
        changed: Vec<(NodeId, Known)>,
        random: &mut impl Rng,
    ) {
        let Some(table) = self.0.load_full() else { return };
        if changed.is_empty() && table.period == period {
            return;
        }
        let mut table = Table { period, ..Table::clone(&table) };
        for (node, known) in changed {
            match known {
                Known::Nothing => drop(table.nodes.remove(&node)),
                Known::Awaited | Known::Session(_) => {
                    table.nodes.insert(node, Arc::new(Session::new(known, random.r#gen())));
                }
            }
        }
        self.0.store(Some(Arc::new(table)));
    }

    /// Notes that a node lives, if it speaks under its valid session. Returns the time until it
    /// must be heard again.
    pub(super) fn hear(
        &self,
        node: &NodeId,
        session: &SessionId,
        now: Instant,
    ) -> Result<Duration, Error> {
        let table = self.0.load();
        let table = table.as_ref().ok_or(Error::Stopped)?;
        let found = table.nodes.get(node).ok_or(Error::NotRegistered)?;
        found.known.check(session)?;
        Ok(found.hear(table.period, now))
    }

    /// Takes what was heard of a node, if it was.
    pub(super) fn take(&self, node: &NodeId) -> Option<Heard> {
        self.0.load().as_ref()?.nodes.get(node)?.take()
    }

    /// Takes what was heard of all nodes.
    pub(super) fn take_all(&self) -> Vec<(NodeId, Heard)> {
        let table = self.0.load();
        let nodes = table.iter().flat_map(|table| &table.nodes);
        nodes.filter_map(|(node, session)| Some((node.clone(), session.take()?))).collect()
    }
}

impl Session {
    fn new(known: Known, seed: u64) -> Self {
        Self { known, heard: ArcSwapOption::empty(), seed: seed.into() }
    }

    fn hear(&self, period: Duration, now: Instant) -> Duration {
        // Each heartbeat has a seed of its own: whoever answers it needs no generator that is shared.
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        let told = vary(period, StdRng::seed_from_u64(seed).r#gen());
        let heard = Arc::new(Heard { at: now, told });
        // A thread that was held up after it had read the clock takes nothing back.
        self.heard.rcu(|last| {
            let later = last.as_ref().filter(|last| last.at > now);
            Some(later.unwrap_or(&heard).clone())
        });
        told
    }

    fn take(&self) -> Option<Heard> {
        self.heard.load().as_ref()?;
        self.heard.swap(None).map(|heard| *heard)
    }
}
