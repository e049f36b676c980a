//! How a member goes on alone when the others are lost for good (`store-and-raft` §9.5).

use std::collections::BTreeSet;

use protocol::wire::RaftMember;
use raft::eraftpb::ConfState;

use super::Change;
use crate::{
    log::{Append, Entry, EntryKind, HardState, Recovered},
    raft::membership::Membership,
};

/// Who is in the group, entry by entry, as raft-rs will count them.
struct Group {
    voters: BTreeSet<u64>,
    learners: BTreeSet<u64>,
    membership: Membership,
}

/// What has to be written so that `own` is the only member: it votes, and all others are removed.
/// Nothing where that is so already, or where it was removed itself.
///
/// What its log holds counts as committed, whether this member knew that or not: any of it may have
/// been acknowledged. Only its own removal does not, unless it was surely committed.
pub(in crate::raft) fn go_alone(
    own: &RaftMember,
    (state, membership): (ConfState, Membership),
    log: &Recovered,
) -> Option<Append> {
    let (voters, learners) = (state.get_voters().iter(), state.get_learners().iter());
    let (voters, learners) = (voters.copied().collect(), learners.copied().collect());
    let mut group = Group { voters, learners, membership };
    let HardState { term, vote, commit } = log.hard_state;
    let covered = log.snapshot.as_ref().map_or((0, 0), |covered| (covered.index, covered.term));
    let (mut last, mut last_term) = covered;
    for entry in &log.entries {
        if let Some(change) = changes(entry) {
            let removes_own = change == Change::Goes(own.raft_id) && !group.is_only(own.raft_id);
            if removes_own && entry.index > commit {
                break;
            }
            group.follow(&change);
        }
        (last, last_term) = (entry.index, entry.term);
    }
    if group.membership.is_removed(own.raft_id) {
        return None;
    }
    let changes = group.leave_only(own);
    // Only the term of a snapshot may be newer than the hard state that came after it.
    let (term, vote) = if last_term > term { (last_term, 0) } else { (term, vote) };
    let entry = |(index, change): (u64, Change)| Entry {
        index,
        term,
        kind: EntryKind::ConfChange,
        data: change.encode(),
    };
    let entries: Vec<_> = (last + 1..).zip(changes).map(entry).collect();
    let commit = entries.last()?.index;
    Some(Append { entries, hard_state: Some(HardState { term, vote, commit }) })
}

fn changes(entry: &Entry) -> Option<Change> {
    match entry.kind {
        EntryKind::Normal => None,
        EntryKind::ConfChange => Change::decode(&entry.data),
    }
}

impl Group {
    fn is_only(&self, own: u64) -> bool {
        self.voters.iter().eq([&own])
    }

    /// A change that would leave nobody who votes is ignored.
    fn follow(&mut self, change: &Change) {
        let id = change.member();
        let mut voters = self.voters.clone();
        match change {
            Change::Votes(_) => drop(voters.insert(id)),
            Change::Learns(_) | Change::Goes(_) => drop(voters.remove(&id)),
            Change::Moves(_) => {}
        }
        let leaves_nobody = voters.is_empty() && !matches!(change, Change::Moves(_));
        if leaves_nobody || !self.membership.follow(change) {
            return;
        }
        self.voters = voters;
        match change {
            Change::Learns(_) => drop(self.learners.insert(id)),
            Change::Votes(_) | Change::Goes(_) => drop(self.learners.remove(&id)),
            Change::Moves(_) => {}
        }
    }

    /// The changes that leave only one, who votes. It comes first: the last voter cannot go.
    fn leave_only(&self, own: &RaftMember) -> Vec<Change> {
        let known = self.membership.get(own.raft_id).unwrap_or(own);
        let votes = self.voters.contains(&own.raft_id);
        let joins = (!votes).then(|| Change::Votes(known.clone()));
        let counted = self.voters.iter().chain(&self.learners).copied();
        let everybody: BTreeSet<_> = counted.chain(self.membership.ids()).collect();
        let others = everybody.into_iter().filter(|member| *member != own.raft_id);
        joins.into_iter().chain(others.map(Change::Goes)).collect()
    }
}
