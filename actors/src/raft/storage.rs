//! The log as raft-rs reads it: in memory, durable or not. What is durable is the writer's to say
//! (architecture D12).

use std::collections::VecDeque;

use bytes::Bytes;
use prost::Message;
use protocol::wire;
use raft::{
    GetEntriesContext, RaftState, Storage as Reader, StorageError,
    eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata},
};

use super::membership::Membership;
use crate::store::{Published, View};

/// Entries behind the last compaction, and what raft must remember beside them.
pub(super) struct Storage {
    published: Published,
    hard_state: HardState,
    members: ConfState,
    membership: Membership,
    /// The entry that last changed the members.
    members_since: u64,
    /// The last entry that is no longer here.
    cut: Place,
    entries: VecDeque<Entry>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) index: u64,
    pub(super) term: u64,
}

impl Storage {
    pub(super) fn new(
        published: Published,
        hard_state: HardState,
        (members, membership): (ConfState, Membership),
        cut: Place,
        entries: Vec<Entry>,
    ) -> Self {
        Self {
            published,
            hard_state,
            members,
            membership,
            members_since: cut.index,
            cut,
            entries: entries.into(),
        }
    }

    /// The last entry that is no longer here.
    pub(super) fn cut_index(&self) -> u64 {
        self.cut.index
    }

    fn last(&self) -> u64 {
        self.cut.index + self.entries.len() as u64
    }

    fn entry(&self, index: u64) -> Option<&Entry> {
        let offset = index.checked_sub(self.cut.index + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// Takes entries over; the first replaces what has its index, and everything behind.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let keep = first.get_index().saturating_sub(self.cut.index + 1);
        self.entries.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        self.entries.extend(entries.iter().cloned());
    }

    /// Whether a hard state has another term or vote than the last one.
    pub(super) fn elects(&self, state: &HardState) -> bool {
        let known = &self.hard_state;
        (state.get_term(), state.get_vote()) != (known.get_term(), known.get_vote())
    }

    pub(super) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    pub(super) fn set_members(&mut self, members: ConfState, since: u64) {
        self.members = members;
        self.members_since = since;
    }

    pub(super) fn members(&self) -> &ConfState {
        &self.members
    }

    pub(super) fn membership(&self) -> &Membership {
        &self.membership
    }

    pub(super) fn membership_mut(&mut self) -> &mut Membership {
        &mut self.membership
    }

    /// What a snapshot on disk says of the members now.
    pub(super) fn encode_members(&self) -> Bytes {
        self.membership.encode(&self.members)
    }

    /// Starts over from a snapshot that came from the leader.
    pub(super) fn install(&mut self, metadata: &SnapshotMetadata, membership: Membership) {
        let place = Place { index: metadata.get_index(), term: metadata.get_term() };
        let kept = self.entry(place.index).is_some_and(|entry| entry.get_term() == place.term);
        if kept {
            self.compact(place.index);
        } else {
            self.entries.clear();
            self.cut = place;
        }
        self.membership = membership;
        self.set_members(metadata.get_conf_state().clone(), place.index);
        self.hard_state.commit = self.hard_state.commit.max(place.index);
    }

    /// Forgets entries up to an index.
    pub(super) fn compact(&mut self, to: u64) {
        while self.cut.index < to {
            let Some(entry) = self.entries.pop_front() else { return };
            self.cut = Place { index: entry.get_index(), term: entry.get_term() };
        }
    }

    /// The place of an entry that a snapshot with today's members can stand for.
    pub(super) fn coverable(&self, index: u64) -> Option<Place> {
        self.place(index).filter(|place| place.index > 0 && place.index >= self.members_since)
    }

    pub(super) fn place(&self, index: u64) -> Option<Place> {
        if index == self.cut.index {
            return Some(self.cut);
        }
        self.entry(index).map(|entry| Place { index, term: entry.get_term() })
    }
}

/// A snapshot in the form of peers.
fn encode(view: &View, membership: &Membership) -> Bytes {
    let store = Some(view.to_snapshot());
    let membership = wire::ClusterSnapshot { members: membership.list(), removed: Vec::new() };
    let membership = Some(membership);
    wire::Snapshot { store, membership, ..Default::default() }.encode_to_vec().into()
}

impl Reader for Storage {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.members.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.cut.index {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last() + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let offset = |index: u64| usize::try_from(index - self.cut.index - 1).unwrap_or(usize::MAX);
        let mut entries: Vec<_> = self.entries.range(offset(low)..offset(high)).cloned().collect();
        raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        match self.place(index) {
            Some(place) => Ok(place.term),
            None if index < self.cut.index => Err(StorageError::Compacted.into()),
            None => Err(StorageError::Unavailable.into()),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.cut.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// The store as it is now, for a follower that is too far behind for entries.
    fn snapshot(&self, request_index: u64, _: u64) -> raft::Result<Snapshot> {
        let view = self.published.view();
        let Some(place) = self.coverable(view.index()).filter(|at| at.index >= request_index)
        else {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        };
        let mut metadata = SnapshotMetadata::default();
        metadata.set_index(place.index);
        metadata.set_term(place.term);
        metadata.set_conf_state(self.members.clone());
        let mut snapshot = Snapshot::default();
        snapshot.set_metadata(metadata);
        snapshot.set_data(encode(&view, &self.membership));
        Ok(snapshot)
    }
}
