//! From records in the order they were written to the state they leave behind.

use super::record::{Covered, Record};
use crate::log::{Entry, HardState, Member};

/// A record that cannot have been written after those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) struct Contradiction;

/// What the records so far add up to.
#[derive(Debug, Default)]
pub(in crate::log) struct Replay {
    /// Whose log it is.
    pub(in crate::log) member: Option<Member>,
    /// The last hard state.
    pub(in crate::log) hard_state: HardState,
    /// The newest snapshot that the records speak of.
    pub(in crate::log) covered: Option<Covered>,
    /// The entries after it, and, until the log is compacted, some that it covers.
    entries: Vec<Entry>,
}

impl Replay {
    /// Adds one record.
    pub(in crate::log) fn apply(&mut self, record: Record) -> Result<(), Contradiction> {
        match record {
            Record::Member(member) => {
                if self.member.as_ref().is_some_and(|known| known.raft_id != member.raft_id) {
                    return Err(Contradiction);
                }
                self.member = Some(member);
            }
            Record::HardState(state) => self.hard_state = state,
            Record::Snapshot(covered) => self.cover(covered),
            Record::Entry(entry) => return self.add(entry),
        }
        Ok(())
    }

    fn add(&mut self, entry: Entry) -> Result<(), Contradiction> {
        if let Some(first) = self.entries.first().map(|first| first.index) {
            let keep = entry.index.saturating_sub(first);
            if keep > self.entries.len() as u64 {
                return Err(Contradiction);
            }
            self.entries.truncate(usize::try_from(keep).expect("at most the length of a vector"));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Drops the entries that a durable snapshot covers, and those it does not continue.
    pub(in crate::log) fn cover(&mut self, covered: Covered) {
        if self.covered.is_none_or(|known| known.index <= covered.index) {
            self.covered = Some(covered);
        }
        let Some(first) = self.entries.first().map(|first| first.index) else { return };
        // A log that begins right after the snapshot had its last entry in a removed segment.
        let Some(at) = covered.index.checked_sub(first) else { return };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        if self.entries.get(at).is_some_and(|entry| entry.term == covered.term) {
            self.entries.drain(..=at);
        } else {
            self.entries.clear();
        }
    }

    /// Returns the hard state and the entries, fitted to the newest snapshot.
    ///
    /// A snapshot that came from the leader may be newer than the hard state beside it.
    pub(in crate::log) fn finish(self) -> Result<(HardState, Vec<Entry>), Contradiction> {
        let base = self.covered.unwrap_or(Covered { index: 0, term: 0 });
        let last = self
            .entries
            .last()
            .map_or(base, |entry| Covered { index: entry.index, term: entry.term });
        let next = base.index.checked_add(1);
        let HardState { term, vote, commit } = self.hard_state;
        if self.entries.first().is_some_and(|first| Some(first.index) != next)
            || commit > last.index
        {
            return Err(Contradiction);
        }
        let newest = term.max(last.term);
        let state = HardState {
            term: newest,
            // A vote belongs to its term: had this member voted in the newer one, it would know.
            vote: if newest == term { vote } else { 0 },
            commit: commit.max(base.index),
        };
        Ok((state, self.entries))
    }
}
