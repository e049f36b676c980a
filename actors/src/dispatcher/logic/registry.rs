//! Which nodes are there: sessions, deadlines, and what follows from silence
//! (cluster-security-dispatch §10).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use protocol::id::{NodeId, SessionId};

use crate::dispatcher::Error;

/// How long a registered node may be silent, in heartbeat periods.
const GRACE: u32 = 3;
/// The same for a node that has not come back after a change of leader.
const GRACE_UNKNOWN: u32 = 6;
/// Registrations that follow each other more closely than this are counted.
const RATE_WINDOW: Duration = Duration::from_secs(8);
/// How many of them a node may make after its first.
const RATE_MAX: u32 = 3;
/// How long a lost node's tasks keep their state, in case it comes back.
const ORPHAN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Half the width of what a heartbeat period varies by.
const JITTER: Duration = Duration::from_millis(500);

/// Returns the period varied by up to half a second either way, so that nodes that came together
/// do not keep coming together. `draw` is uniform in [0, 1).
pub(crate) fn vary(period: Duration, draw: f64) -> Duration {
    // A very short period never becomes none.
    let width = JITTER.min(period / 2);
    period - width + (2 * width).mul_f64(draw)
}

#[derive(Debug)]
struct Entry {
    /// None after a change of leader, until the node comes back: no id matches.
    session: Option<SessionId>,
    /// When its silence has lasted too long.
    deadline: Instant,
    /// Registrations since the window began.
    attempts: u32,
    /// The last accepted registration.
    registered: Instant,
}

/// How a registration was accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Registration {
    /// The node goes on with the session it had.
    Resumed,
    /// It has a new session; an earlier one is invalid from now on.
    New,
}

/// What silence has led to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Expiry {
    /// A registered node is lost.
    Silent(NodeId),
    /// A node has not come back after a change of leader.
    NeverReturned(NodeId),
    /// A lost node's tasks are given up.
    Orphaned(NodeId),
}

/// The nodes, as this leader knows them.
#[derive(Debug)]
pub(crate) struct Registry {
    /// How often nodes must be heard.
    period: Duration,
    nodes: BTreeMap<NodeId, Entry>,
    /// Lost nodes, with the time at which their tasks are given up.
    lost: BTreeMap<NodeId, Instant>,
    /// The last look at the deadlines.
    looked: Instant,
}

impl Registry {
    /// A new leader's registry: what it was told by nobody it does not know.
    pub(crate) fn new(period: Duration, now: Instant) -> Self {
        Self { period, nodes: BTreeMap::new(), lost: BTreeMap::new(), looked: now }
    }

    /// Waits for a node that an earlier leader knew.
    pub(crate) fn await_return(&mut self, node: NodeId, now: Instant) {
        let deadline = now + GRACE_UNKNOWN * self.period;
        let entry = Entry { session: None, deadline, attempts: 0, registered: now };
        self.nodes.insert(node, entry);
    }

    /// Takes over a node that an earlier leader had lost.
    pub(crate) fn remember_lost(&mut self, node: NodeId, now: Instant) {
        self.lost.insert(node, now + ORPHAN_AFTER);
    }

    /// Forgets a node that was removed from the cluster.
    pub(crate) fn forget(&mut self, node: &NodeId) {
        self.nodes.remove(node);
        self.lost.remove(node);
    }

    /// Uses another heartbeat period from now on.
    pub(crate) fn set_period(&mut self, period: Duration) {
        self.period = period;
    }

    /// How often nodes must be heard.
    pub(crate) fn period(&self) -> Duration {
        self.period
    }

    /// Registers a node that presents the session it believes to have (or an empty one); a new
    /// session gets the id `fresh`.
    pub(crate) fn register(
        &mut self,
        node: &NodeId,
        presented: &SessionId,
        fresh: &SessionId,
        now: Instant,
    ) -> Result<Registration, Error> {
        let deadline = now + GRACE * self.period;
        if self.check(node, presented).is_ok() {
            let entry = self.nodes.get_mut(node).expect("the session was just checked");
            entry.deadline = deadline;
            return Ok(Registration::Resumed);
        }
        let attempts = match self.nodes.get(node) {
            Some(entry) if now.duration_since(entry.registered) > RATE_WINDOW => 1,
            Some(entry) => entry.attempts + 1,
            None => 0,
        };
        if attempts > RATE_MAX {
            return Err(Error::TooManyRegistrations(node.clone()));
        }
        let entry = Entry { session: Some(fresh.clone()), deadline, attempts, registered: now };
        self.nodes.insert(node.clone(), entry);
        self.lost.remove(node);
        Ok(Registration::New)
    }

    /// Whether the node speaks under its valid session.
    pub(crate) fn check(&self, node: &NodeId, session: &SessionId) -> Result<(), Error> {
        let entry = self.nodes.get(node).ok_or(Error::NotRegistered)?;
        if session.is_empty() || entry.session.as_ref() != Some(session) {
            return Err(Error::SessionInvalid);
        }
        Ok(())
    }

    /// Notes that the node lives, and that it was told to be heard again after `period`.
    pub(crate) fn hear(
        &mut self,
        node: &NodeId,
        session: &SessionId,
        period: Duration,
        now: Instant,
    ) -> Result<(), Error> {
        self.check(node, session)?;
        let entry = self.nodes.get_mut(node).expect("the session was just checked");
        entry.deadline = now + GRACE * period;
        Ok(())
    }

    /// Looks at every deadline. `expected` is how long ago the last look should be at most: what
    /// is beyond it was a pause of this process, which must not count as silence of the nodes.
    pub(crate) fn expire(&mut self, expected: Duration, now: Instant) -> Vec<Expiry> {
        let pause = now.duration_since(self.looked).saturating_sub(expected);
        self.looked = now;
        if pause > expected {
            for entry in self.nodes.values_mut() {
                entry.deadline += pause;
            }
        }
        let mut expired = Vec::new();
        let silent = self.nodes.extract_if(.., |_, entry| entry.deadline <= now);
        for (node, entry) in silent {
            self.lost.insert(node.clone(), now + ORPHAN_AFTER);
            expired.push(match entry.session {
                Some(_) => Expiry::Silent(node),
                None => Expiry::NeverReturned(node),
            });
        }
        let given_up = self.lost.extract_if(.., |_, at| *at <= now);
        expired.extend(given_up.map(|(node, _)| Expiry::Orphaned(node)));
        expired
    }
}
