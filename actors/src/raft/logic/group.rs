//! Who may be promoted, be removed or lead next.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::election::mix;
use crate::raft::ChangeError;

/// How far a learner may be behind, in entries, when it becomes a voter. A voter that is further
/// behind would hold up every commit that needs it.
pub(in crate::raft) const PROMOTED_WITHIN: u64 = 100;

/// What the leader knows of the group when it decides.
#[derive(Clone, Debug, Default)]
pub(in crate::raft) struct Group {
    /// The leader itself.
    pub(in crate::raft) own: u64,
    pub(in crate::raft) voters: BTreeSet<u64>,
    pub(in crate::raft) learners: BTreeSet<u64>,
    /// The others that were heard of lately.
    pub(in crate::raft) reachable: BTreeSet<u64>,
    /// Up to which entry each of the others has the leader's log.
    pub(in crate::raft) matched: BTreeMap<u64, u64>,
    /// When each of the others was last handed leadership in vain.
    pub(in crate::raft) declined: BTreeMap<u64, u64>,
    /// The leader's last entry.
    pub(in crate::raft) last: u64,
}

/// How a removal is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::raft) enum RemovalStep {
    /// It can be proposed.
    Propose,
    /// It is the leader's own: this member leads first.
    HandOver(u64),
}

impl Group {
    fn reaches(&self, member: u64) -> bool {
        member == self.own || self.reachable.contains(&member)
    }

    fn matched(&self, member: u64) -> u64 {
        self.matched.get(&member).copied().unwrap_or_default()
    }

    /// Whether those who can be reached could still agree without a member.
    fn agrees_without(&self, member: u64) -> bool {
        let remaining = self.voters.iter().filter(|voter| **voter != member);
        let reachable = remaining.clone().filter(|voter| self.reaches(**voter)).count();
        reachable > remaining.count() / 2
    }

    /// How to remove a member, if that is possible.
    pub(in crate::raft) fn remove(&self, member: u64) -> Result<RemovalStep, ChangeError> {
        if self.learners.contains(&member) {
            return Ok(RemovalStep::Propose);
        }
        if !self.voters.contains(&member) {
            return Err(ChangeError::UnknownMember);
        }
        if !self.agrees_without(member) {
            return Err(ChangeError::LosesQuorum);
        }
        match self.successor() {
            _ if member != self.own => Ok(RemovalStep::Propose),
            Some(successor) => Ok(RemovalStep::HandOver(successor)),
            None => Err(ChangeError::NotHandedOver),
        }
    }

    /// Who leads best after this leader: whoever has most of its log, but first of all whoever did
    /// not try in vain, or whose attempt is longest ago. What keeps a member from winning may last.
    pub(in crate::raft) fn successor(&self) -> Option<u64> {
        let others = self.voters.intersection(&self.reachable).filter(|voter| **voter != self.own);
        others
            .copied()
            .max_by_key(|voter| (Reverse(self.declined.get(voter).copied()), self.matched(*voter)))
    }

    /// A learner that has caught up and can be reached.
    pub(in crate::raft) fn promotable(&self) -> Option<u64> {
        self.learners.iter().copied().find(|learner| {
            let matched = self.matched(*learner);
            self.reaches(*learner) && matched > 0 && matched + PROMOTED_WITHIN >= self.last
        })
    }
}

/// Draws an id for a new member that is not taken.
pub(in crate::raft) fn new_member_id(seed: u64, last: u64, taken: impl Fn(u64) -> bool) -> u64 {
    let mut id = mix(seed, last);
    while id == 0 || taken(id) {
        id = mix(id, last + 1);
    }
    id
}
