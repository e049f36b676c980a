//! Changes of the members on their way: one at a time, and callers who wait for their turn.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use super::{ChangeError, Join, Joined, Removal};

/// How many may wait for their turn.
const REQUESTS_MAX: usize = 64;

/// Where an answer goes.
pub(super) type Reply<T> = Box<dyn FnOnce(Result<T, ChangeError>)>;

/// What somebody wants of the members.
pub(super) enum Request {
    Join { join: Join, reply: Reply<Joined> },
    Remove { raft_id: u64, reply: Reply<Removal> },
    Transfer { to: Option<u64>, reply: Reply<u64> },
}

impl Request {
    /// Answers that nothing has changed.
    pub(super) fn refuse(self, error: ChangeError) {
        match self {
            Self::Join { reply, .. } => reply(Err(error)),
            Self::Remove { reply, .. } => reply(Err(error)),
            Self::Transfer { reply, .. } => reply(Err(error)),
        }
    }
}

/// Leadership on its way to another member.
struct Transfer {
    to: u64,
    reply: Reply<u64>,
    /// The tick at which nobody is waited for any more.
    until: u64,
}

/// After so many ticks it does not count any more that a member was heard of, or did not take over.
const FORGOTTEN_AFTER: u64 = 1_000;

/// What is on its way, and whom this member has heard of lately.
#[derive(Default)]
pub(super) struct Changing {
    requests: VecDeque<Request>,
    /// A change is with the store or in the log, and its caller not answered.
    pub(super) proposing: bool,
    /// The newest entry that changed the members.
    last_applied: u64,
    transfer: Option<Transfer>,
    /// When each of the others was last handed leadership in vain.
    declined: BTreeMap<u64, u64>,
    /// How often this life has ticked.
    ticks: u64,
    /// Learners were not looked at since the last tick.
    ticked: bool,
    /// When each of the others was last heard of.
    heard: BTreeMap<u64, u64>,
    /// When a leader was last heard of, or was asked for in vain.
    heard_of_leader: u64,
}

impl Changing {
    /// Waits for its turn.
    pub(super) fn add(&mut self, request: Request) {
        if self.requests.len() >= REQUESTS_MAX {
            return request.refuse(ChangeError::Busy);
        }
        self.requests.push_back(request);
    }

    /// The next request, unless another is not done yet.
    pub(super) fn next(&mut self) -> Option<Request> {
        let idle = !self.proposing && self.transfer.is_none();
        if idle { self.requests.pop_front() } else { None }
    }

    /// Whether it is time to look whether a learner has caught up: once in a tick, if nothing else
    /// is on its way.
    pub(super) fn looks_at_learners(&mut self) -> bool {
        let idle = !self.proposing && self.transfer.is_none() && self.requests.is_empty();
        idle && mem::take(&mut self.ticked)
    }

    /// Nobody who waits for a turn gets one from a member that does not lead.
    pub(super) fn lost(&mut self) {
        self.requests.drain(..).for_each(|request| request.refuse(ChangeError::NotLeading));
    }

    /// An entry has changed the members.
    pub(super) fn applied(&mut self, index: u64) {
        self.last_applied = index;
    }

    /// Whether the entry that is answered now has changed the members. raft-rs commits an empty
    /// entry in the place of a change that comes too early.
    pub(super) fn has_applied(&self, index: u64) -> bool {
        self.last_applied == index
    }

    /// Leadership goes to another member, within so many ticks.
    pub(super) fn transfer(&mut self, to: u64, within: u64, reply: Reply<u64>) {
        self.transfer = Some(Transfer { to, reply, until: self.ticks + within });
    }

    /// Answers who waits for a transfer, once it is known how it ended. `transferee` is who raft-rs
    /// still tries to hand over to.
    pub(super) fn settle_transfer(&mut self, leads: bool, leader: u64, transferee: Option<u64>) {
        let Some(Transfer { to, until, .. }) = &self.transfer else { return };
        let given_up = leads && transferee != Some(*to);
        let taken_over = !leads && leader != 0;
        if (given_up || taken_over || self.ticks > *until)
            && let Some(Transfer { to, reply, .. }) = self.transfer.take()
        {
            if !taken_over {
                self.declined.insert(to, self.ticks);
            }
            reply(if taken_over { Ok(leader) } else { Err(ChangeError::NotHandedOver) });
        }
    }

    /// Who was handed leadership in vain, and when.
    pub(super) fn declined(&self) -> &BTreeMap<u64, u64> {
        &self.declined
    }

    /// Time passes.
    pub(super) fn tick(&mut self) {
        self.ticks += 1;
        self.ticked = true;
        let since = self.ticks.saturating_sub(FORGOTTEN_AFTER);
        self.heard.retain(|_, tick| *tick >= since);
        self.declined.retain(|_, tick| *tick >= since);
    }

    /// A message of another member has come.
    pub(super) fn heard(&mut self, from: u64, leads: bool) {
        self.heard.insert(from, self.ticks);
        if leads {
            self.heard_of_leader = self.ticks;
        }
    }

    /// Whom this member has heard of within so many ticks.
    pub(super) fn reachable(&self, within: u64) -> impl Iterator<Item = u64> {
        let since = self.ticks.saturating_sub(within);
        self.heard.iter().filter(move |(_, tick)| **tick >= since).map(|(member, _)| *member)
    }

    /// Whether no leader was heard of for so many ticks. Starts to wait anew if so.
    pub(super) fn misses_leader(&mut self, for_ticks: u64) -> bool {
        let missed = self.ticks >= self.heard_of_leader + for_ticks;
        if missed {
            self.heard_of_leader = self.ticks;
        }
        missed
    }
}
