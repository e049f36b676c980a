//! Which nodes are there: sessions, deadlines, and what follows from silence
//! (cluster-security-dispatch §10).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use protocol::id::{NodeId, SessionId};

use super::doubt::Doubt;
use crate::dispatcher::Error;

/// How long a registered node may be silent, in heartbeat periods.
const GRACE: u32 = 3;
/// The same for a node that has not come back after a change of leader.
const GRACE_UNKNOWN: u32 = 6;
/// The least that such a node has to come back, however short the period is, and one that was held in a
/// doubt: an agent whose manager was away may wait for eight seconds before it calls again, and then for
/// five for one that is gone (§13).
const RETURNS_WITHIN: Duration = Duration::from_secs(15);
/// The least that a registration has to be answered: an agent waits for half as long, and begins anew.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
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

/// What is known of the session of a node that speaks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Known {
    /// The node has to register.
    Nothing,
    /// It is awaited, or held: it has to register as well, but it is known.
    Awaited,
    /// This session is valid, and no other.
    Session(SessionId),
}

impl Known {
    /// Whether the node speaks under its valid session.
    pub(crate) fn check(&self, session: &SessionId) -> Result<(), Error> {
        match self {
            Self::Nothing => Err(Error::NotRegistered),
            Self::Session(valid) if valid == session && !session.is_empty() => Ok(()),
            Self::Awaited | Self::Session(_) => Err(Error::SessionInvalid),
        }
    }
}

/// A heartbeat that was answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Heard {
    /// When.
    pub(crate) at: Instant,
    /// After how long the node was told to be heard again.
    pub(crate) told: Duration,
}

#[derive(Debug)]
struct Entry {
    /// None after a change of leader, until the node comes back: no id matches.
    session: Option<SessionId>,
    /// When it was heard last.
    heard: Instant,
    /// When its silence has lasted too long.
    deadline: Instant,
    /// How often it was last told to be heard.
    told: Duration,
    /// Registrations since the window began.
    attempts: u32,
    /// The last accepted registration.
    registered: Instant,
    /// It has sent a heartbeat in its session.
    is_well: bool,
    /// It is not given up only because the leader doubts.
    is_held: bool,
}

impl Entry {
    /// A node of which nothing has been heard in this session.
    fn new(session: Option<SessionId>, period: Duration, attempts: u32, now: Instant) -> Self {
        let grace = match session {
            Some(_) => GRACE * period,
            None => RETURNS_WITHIN.max(GRACE_UNKNOWN * period),
        };
        let deadline = now + grace;
        let (heard, told, registered, is_well, is_held) = (now, period, now, false, false);
        Self { session, heard, deadline, told, attempts, registered, is_well, is_held }
    }

    /// What was heard earlier than is known already takes nothing back: a pause that was forgiven
    /// meanwhile stays forgiven.
    fn hear(&mut self, Heard { at, told }: Heard) {
        self.heard = self.heard.max(at);
        self.told = told;
        let grace = if planted!(GraceTooShort) { 1 } else { GRACE };
        self.deadline = self.heard + grace * told;
    }

    /// It waits for an answer, and knows no session to speak in.
    fn wait_for_answer(&mut self, now: Instant) {
        self.deadline = self.deadline.max(now + ANSWERED_WITHIN);
    }

    /// Forgives a pause of the leader that has just ended, as far as nothing was heard since it
    /// began: whoever is heard during it has not been silent for longer than since then.
    fn forgive(&mut self, pause: Duration, now: Instant) {
        let forgiven = pause.min(now.saturating_duration_since(self.heard));
        self.heard += forgiven;
        self.deadline += forgiven;
    }

    /// Whether half of the usual grace is over: whoever is there has been heard by then. That goes
    /// for a node that is awaited as well, though it is given more time.
    fn is_late(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) > GRACE * self.told / 2
    }
}

/// A doubt as others see it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Doubted {
    /// How many nodes were there before.
    pub(crate) ready: usize,
    /// How many of them are heard now.
    pub(crate) present: usize,
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
    /// It would be, if the leader did not doubt that it hears at all.
    Held(NodeId),
    /// A node has not come back after a change of leader, or after a doubt.
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
    /// Nodes of whose session something else is known than was said last.
    changed: BTreeSet<NodeId>,
    /// Lost nodes, with the time at which their tasks are given up.
    lost: BTreeMap<NodeId, Instant>,
    /// The last look at the deadlines.
    looked: Instant,
    /// The nodes that were lost within the last grace, and when.
    fell: BTreeMap<NodeId, Instant>,
    doubt: Option<Doubt>,
    /// Until when silence is believed, because somebody said that it is true.
    believed: Option<Instant>,
}

impl Registry {
    /// A new leader's registry: what it was told by nobody it does not know.
    pub(crate) fn new(period: Duration, now: Instant) -> Self {
        Self {
            period,
            nodes: BTreeMap::new(),
            changed: BTreeSet::new(),
            lost: BTreeMap::new(),
            looked: now,
            fell: BTreeMap::new(),
            doubt: None,
            believed: None,
        }
    }

    /// Waits for a node that an earlier leader knew.
    pub(crate) fn await_return(&mut self, node: NodeId, now: Instant) {
        self.changed.insert(node.clone());
        self.nodes.insert(node, Entry::new(None, self.period, 0, now));
    }

    /// Takes over a node that an earlier leader had lost.
    pub(crate) fn remember_lost(&mut self, node: NodeId, now: Instant) {
        self.lost.insert(node, now + ORPHAN_AFTER);
    }

    /// Forgets a node that was removed from the cluster.
    pub(crate) fn forget(&mut self, node: &NodeId) {
        self.changed.extend(self.nodes.remove(node).map(|_| node.clone()));
        self.lost.remove(node);
        self.fell.remove(node);
        if let Some(doubt) = &mut self.doubt {
            doubt.ready.remove(node);
        }
    }

    /// Forgets all nodes that were removed from the cluster.
    pub(crate) fn forget_others(&mut self, is_there: impl Fn(&NodeId) -> bool) {
        let known = self.nodes.keys().chain(self.lost.keys());
        let gone: Vec<_> = known.filter(|node| !is_there(node)).cloned().collect();
        gone.iter().for_each(|node| self.forget(node));
    }

    /// Uses another heartbeat period from now on. Whoever was told a far longer one has to be
    /// woken.
    pub(crate) fn set_period(&mut self, period: Duration) {
        self.period = period;
    }

    /// Returns who would not hear of the heartbeat period for too long, since they were told a far
    /// longer one: their sessions are to be resumed.
    pub(crate) fn wake(&mut self, now: Instant) -> Vec<NodeId> {
        let (period, patience) = (self.period, GRACE * self.period);
        let is_sleeping = |entry: &Entry| !entry.is_held && entry.told > patience;
        let mut woken = Vec::new();
        for (node, entry) in self.nodes.iter_mut().filter(|(_, entry)| is_sleeping(entry)) {
            let session = entry.session.clone();
            woken.extend(session.is_some().then(|| node.clone()));
            let waits = Entry::new(session, period, entry.attempts, now);
            *entry = Entry { registered: entry.registered, is_well: entry.is_well, ..waits };
        }
        woken
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
        let period = self.period;
        if self.check(node, presented).is_ok() {
            let entry = self.nodes.get_mut(node).expect("the session was just checked");
            entry.hear(Heard { at: now, told: period });
            entry.wait_for_answer(now);
            return Ok(Registration::Resumed);
        }
        let attempts = match self.nodes.get(node) {
            // Another life of an agent that was well is not the same one in trouble.
            Some(entry) if presented.is_empty() && entry.is_well => 0,
            Some(entry) if now.duration_since(entry.registered) > RATE_WINDOW => 1,
            Some(entry) => entry.attempts + 1,
            None => 0,
        };
        if attempts > RATE_MAX {
            return Err(Error::TooManyRegistrations(node.clone()));
        }
        let mut entry = Entry::new(Some(fresh.clone()), period, attempts, now);
        entry.wait_for_answer(now);
        self.nodes.insert(node.clone(), entry);
        self.changed.insert(node.clone());
        self.lost.remove(node);
        self.fell.remove(node);
        Ok(Registration::New)
    }

    /// Notes that a registration was answered: until then nothing could be heard of the node, since
    /// it did not know its session.
    pub(crate) fn answer(&mut self, node: &NodeId, now: Instant) {
        let told = self.period;
        if let Some(entry) = self.nodes.get_mut(node) {
            entry.hear(Heard { at: now, told });
        }
    }

    /// How many nodes have a valid session.
    pub(crate) fn sessions(&self) -> usize {
        self.nodes.values().filter(|entry| entry.session.is_some()).count()
    }

    /// Whether the node speaks under its valid session.
    pub(crate) fn check(&self, node: &NodeId, session: &SessionId) -> Result<(), Error> {
        self.known(node).check(session)
    }

    fn known(&self, node: &NodeId) -> Known {
        match self.nodes.get(node).map(|entry| entry.session.clone()) {
            None => Known::Nothing,
            Some(None) => Known::Awaited,
            Some(Some(session)) => Known::Session(session),
        }
    }

    /// Returns every node of whose session something else is known than when this was last asked.
    pub(crate) fn take_changed(&mut self) -> Vec<(NodeId, Known)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed.map(|node| (node.clone(), self.known(&node))).collect()
    }

    /// Notes a heartbeat that was answered under the session that was known to be valid. Of a node
    /// that was removed since then nothing is known any more.
    pub(crate) fn hear(&mut self, node: &NodeId, heard: Heard) {
        if let Some(entry) = self.nodes.get_mut(node) {
            entry.hear(heard);
            entry.is_well = true;
        }
    }

    /// Looks at every deadline, once all that was heard is noted. `expected` is how long ago the last
    /// look should be at most: what is beyond it was a pause of this process, which must not count as
    /// silence of the nodes.
    pub(crate) fn expire(&mut self, expected: Duration, now: Instant) -> Vec<Expiry> {
        self.forgive_pause(expected, now);
        self.judge(now);
        let mut expired = match self.doubt.as_ref().map(Doubt::ends) {
            Some(ends) => self.hold(ends, now),
            None => Vec::new(),
        };
        let silent = self.nodes.extract_if(.., |_, entry| entry.deadline <= now);
        for (node, entry) in silent {
            self.changed.insert(node.clone());
            self.lost.insert(node.clone(), now + ORPHAN_AFTER);
            expired.push(match entry.session {
                Some(_) => {
                    self.fell.insert(node.clone(), now);
                    Expiry::Silent(node)
                }
                None => Expiry::NeverReturned(node),
            });
        }
        let given_up = self.lost.extract_if(.., |_, at| *at <= now);
        expired.extend(given_up.map(|(node, _)| Expiry::Orphaned(node)));
        expired
    }

    fn forgive_pause(&mut self, expected: Duration, now: Instant) {
        let pause = now.duration_since(self.looked).saturating_sub(expected);
        self.looked = now;
        // However short: where nodes are to be heard often, little silence is too much.
        self.nodes.values_mut().for_each(|entry| entry.forgive(pause, now));
    }

    /// Begins to doubt, or ceases to.
    fn judge(&mut self, now: Instant) {
        let grace = GRACE * self.period;
        self.fell.retain(|_, at| now.duration_since(*at) < grace);
        self.believed = self.believed.filter(|until| *until > now);
        if self.believed.is_some() {
            return self.fell.clear();
        }
        let Some(doubt) = &self.doubt else {
            self.doubt = self.begun_doubt(now);
            return;
        };
        if doubt.is_dispelled(&self.present(now)) {
            self.settle(now + grace.max(RETURNS_WITHIN));
        } else if doubt.ends() <= now {
            self.settle(now);
        }
    }

    /// A doubt, if somebody would be given up and too many are silent with it: those that have a
    /// session, those that are awaited since the last change of leader, and those that were just
    /// lost. Whoever is still held after an earlier doubt had its time.
    fn begun_doubt(&self, now: Instant) -> Option<Doubt> {
        let mut counted = self.nodes.values().filter(|entry| !entry.is_held);
        if !counted.any(|entry| entry.deadline <= now) {
            return None;
        }
        let counted = self.nodes.iter().filter(|(_, entry)| !entry.is_held);
        let late = counted.clone().filter(|(_, entry)| entry.is_late(now)).count();
        let known = counted.map(|(node, _)| node).chain(self.fell.keys());
        Doubt::begun(late + self.fell.len(), known.cloned().collect(), now)
    }

    /// The registered nodes that are not late.
    fn present(&self, now: Instant) -> BTreeSet<NodeId> {
        let heard = |entry: &Entry| entry.session.is_some() && !entry.is_late(now);
        let present = self.nodes.iter().filter(|(_, entry)| heard(entry));
        present.map(|(node, _)| node.clone()).collect()
    }

    /// Keeps those that would be given up until the doubt is over. They have to register again.
    fn hold(&mut self, ends: Instant, now: Instant) -> Vec<Expiry> {
        let silent = self.nodes.iter_mut();
        let silent = silent.filter(|(_, entry)| !entry.is_held && entry.deadline <= now);
        let held = silent.map(|(node, entry)| {
            entry.session = None;
            entry.deadline = ends;
            entry.is_held = true;
            self.changed.insert(node.clone());
            Expiry::Held(node.clone())
        });
        held.collect()
    }

    /// Ends a doubt. Whoever is held has until `deadline` to come back.
    fn settle(&mut self, deadline: Instant) {
        self.doubt = None;
        for entry in self.nodes.values_mut().filter(|entry| entry.is_held) {
            entry.deadline = entry.deadline.min(deadline);
        }
    }

    /// Gives up at once what is silent: somebody knows that it is lost. What falls silent within
    /// one more grace belongs to it, and is no reason to doubt again.
    pub(crate) fn believe(&mut self, now: Instant) {
        if self.doubt.is_none() {
            return;
        }
        self.settle(now);
        self.believed = Some(now + GRACE * self.period);
        for entry in self.nodes.values_mut().filter(|entry| entry.is_late(now)) {
            entry.deadline = entry.deadline.min(now);
        }
    }

    /// What the leader doubts now, if it does.
    pub(crate) fn doubt(&self, now: Instant) -> Option<Doubted> {
        let doubt = self.doubt.as_ref()?;
        Some(Doubted { ready: doubt.ready.len(), present: doubt.present(&self.present(now)) })
    }
}
