//! The log as raft-rs reads it: in memory, durable or not. What is durable is the writer's to say
//! (architecture D12).

use std::collections::VecDeque;

use bytes::Bytes;
use raft::{
    GetEntriesContext, RaftState, Storage as Reader, StorageError,
    eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot, SnapshotMetadata},
};

use super::{logic::Change, membership::Membership, sending::Sending};
use crate::store::View;

/// Entries behind the last compaction, and what raft must remember beside them.
pub(super) struct Storage {
    hard_state: HardState,
    members: ConfState,
    membership: Membership,
    /// How often the nodes of the members have changed since the beginning; never 0.
    revision: u64,
    /// The entry that last changed the members.
    members_since: u64,
    /// The newest entry that removes a member, committed or not.
    removal: Option<RemovalEntry>,
    /// The last entry that is no longer here.
    cut: Place,
    entries: VecDeque<Entry>,
    /// What members get that need what is no longer here.
    pub(super) sending: Sending,
}

/// An entry that removes a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RemovalEntry {
    pub(super) index: u64,
    pub(super) member: u64,
}

impl RemovalEntry {
    /// Returns what an entry removes, if it does.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        if entry.get_entry_type() == EntryType::EntryNormal {
            return None;
        }
        match Change::decode(&entry.data)? {
            Change::Goes(member) => Some(Self { index: entry.get_index(), member }),
            Change::Learns(_) | Change::Votes(_) | Change::Moves(_) => None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) index: u64,
    pub(super) term: u64,
}

impl Storage {
    pub(super) fn new(
        hard_state: HardState,
        (members, membership): (ConfState, Membership),
        cut: Place,
        entries: Vec<Entry>,
    ) -> Self {
        Self {
            hard_state,
            members,
            membership,
            revision: 1,
            members_since: cut.index,
            removal: entries.iter().filter_map(RemovalEntry::of).last(),
            cut,
            entries: entries.into(),
            sending: Sending::default(),
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
        let removal = entries.iter().filter_map(RemovalEntry::of).last();
        self.removal = removal.or(self.removal);
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

    /// How often the nodes of the members have changed.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn members_since(&self) -> u64 {
        self.members_since
    }

    /// The newest entry that removes a member. It may have been replaced since it was seen.
    pub(super) fn removal(&self) -> Option<RemovalEntry> {
        self.removal
    }

    pub(super) fn set_membership(&mut self, membership: Membership) {
        self.membership = membership;
        self.revision += 1;
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
        self.set_membership(membership);
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

    /// The last entry that can be forgotten so that of those up to `covered` no more than so many,
    /// and no more than so many bytes, are left.
    pub(super) fn kept(&self, covered: u64, entries: u64, bytes: u64) -> u64 {
        let (mut to, mut left) = (covered, bytes);
        while to > covered.saturating_sub(entries)
            && let Some(entry) = self.entry(to)
            && let Some(rest) = left.checked_sub(entry.data.len() as u64)
        {
            (to, left) = (to - 1, rest);
        }
        to
    }

    /// The place of an entry that a snapshot with today's members can stand for.
    pub(super) fn coverable(&self, index: u64) -> Option<Place> {
        self.place(index).filter(|place| place.index > 0 && place.index >= self.members_since)
    }

    /// Begins the snapshot that a member waits for, of a view with all that this member knows of
    /// the others; returns whether it did.
    pub(super) fn begin_sending(&mut self, view: &View) -> bool {
        let Some(place) = self.coverable(view.index()).filter(|_| self.sending.is_wanted()) else {
            return false;
        };
        let mut about = SnapshotMetadata::default();
        about.set_index(place.index);
        about.set_term(place.term);
        about.set_conf_state(self.members.clone());
        self.sending.begin(about, self.membership.to_snapshot(), view);
        true
    }

    /// What the entries behind this one do to the members, once they are committed.
    pub(super) fn changes_after(&self, index: u64) -> impl Iterator<Item = Change> {
        let gone = usize::try_from(index.saturating_sub(self.cut.index)).unwrap_or(usize::MAX);
        let changes = self.entries.iter().skip(gone);
        let changes = changes.filter(|entry| entry.get_entry_type() != EntryType::EntryNormal);
        changes.filter_map(|entry| Change::decode(&entry.data))
    }

    pub(super) fn place(&self, index: u64) -> Option<Place> {
        if index == self.cut.index {
            return Some(self.cut);
        }
        self.entry(index).map(|entry| Place { index, term: entry.get_term() })
    }
}

/// What an entry takes beside its data, encoded; generous.
const FRAME_BYTES: u64 = 40;

/// As many entries as are not larger than `max_size` together, and always the first: a log that is
/// asked for a page of must not be copied as a whole.
pub(super) fn limited<'e>(
    entries: impl Iterator<Item = &'e Entry>,
    max_size: Option<u64>,
) -> impl Iterator<Item = &'e Entry> {
    let mut size = 0_u64;
    entries.enumerate().map_while(move |(position, entry)| {
        size = size.saturating_add((entry.data.len() + entry.context.len()) as u64 + FRAME_BYTES);
        (position == 0 || max_size.is_none_or(|max| size <= max)).then_some(entry)
    })
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
        let asked_for = self.entries.range(offset(low)..offset(high));
        Ok(limited(asked_for, max_size.into()).cloned().collect())
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

    /// For a follower that is too far behind for entries. It is not there at once: raft-rs asks
    /// again with every answer to a heartbeat.
    fn snapshot(&self, _: u64, to: u64) -> raft::Result<Snapshot> {
        let snapshot = self.sending.give(to, self.cut.index);
        snapshot.ok_or_else(|| StorageError::SnapshotTemporarilyUnavailable.into())
    }
}
