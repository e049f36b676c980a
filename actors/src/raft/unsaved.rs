//! What is not durable yet, and the messages that may go out only once it is.
//!
//! One write is on the way to the log; what comes meanwhile is the next one.

use std::collections::VecDeque;

use raft::eraftpb::Message;

use crate::log::{Entry, HardState, Snapshot};

#[derive(Default)]
pub(super) struct Unsaved {
    next: Batch,
    /// The newest hard state. Where only the commit has changed it waits for company: a commit
    /// that is forgotten is found again.
    hard_state: Option<HardState>,
    held: VecDeque<Held>,
    /// The write on the way.
    writing: Option<Writing>,
    /// Up to where this member remembers that entries are committed, whatever happens to it.
    durable_commit: u64,
}

struct Writing {
    /// The last of `held` that it covers.
    number: u64,
    /// What it says is committed.
    commit: u64,
}

/// One write to the log.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) snapshot: Option<Snapshot>,
    pub(super) entries: Vec<Entry>,
    pub(super) hard_state: Option<HardState>,
}

/// What raft-rs wants to be told about, with what it wants to say then.
pub(super) struct Held {
    pub(super) number: u64,
    /// Whether a term or a vote changes: until it is durable, nobody may hear of it.
    pub(super) elects: bool,
    pub(super) messages: Vec<Message>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.snapshot.is_none() && self.entries.is_empty() && self.hard_state.is_none()
    }
}

impl Unsaved {
    pub(super) fn hold(&mut self, held: Held) {
        if held.elects {
            self.next.hard_state = self.hard_state;
        }
        self.held.push_back(held);
    }

    /// The log says so when a life begins.
    pub(super) fn set_durable_commit(&mut self, commit: u64) {
        self.durable_commit = commit;
    }

    pub(super) fn durable_commit(&self) -> u64 {
        self.durable_commit
    }

    /// Writes the newest hard state soon, even where only the commit has changed.
    pub(super) fn hurry(&mut self) {
        self.next.hard_state = self.hard_state;
    }

    pub(super) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = Some(hard_state);
    }

    /// A snapshot replaces every entry before it.
    pub(super) fn add_snapshot(&mut self, snapshot: Snapshot) {
        self.next.entries.clear();
        self.next.snapshot = Some(snapshot);
    }

    /// The first entry replaces what has its index, and everything behind.
    pub(super) fn add_entries(&mut self, entries: impl IntoIterator<Item = Entry>) {
        let mut entries = entries.into_iter().peekable();
        if let Some(first) = entries.peek() {
            let keep = self.next.entries.partition_point(|entry| entry.index < first.index);
            self.next.entries.truncate(keep);
        }
        self.next.entries.extend(entries);
    }

    /// Whether a term or a vote is not durable yet.
    pub(super) fn elects(&self) -> bool {
        self.held.iter().any(|held| held.elects)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The next write, unless one is on the way. [`Unsaved::saved`] is due once it is durable; at
    /// once if it is empty.
    pub(super) fn begin(&mut self) -> Option<Batch> {
        if self.writing.is_some() {
            return None;
        }
        let number = self.held.back()?.number;
        let mut batch = std::mem::take(&mut self.next);
        if !batch.is_empty() {
            batch.hard_state = self.hard_state.take();
        }
        let commit = batch.hard_state.map_or(0, |state| state.commit);
        self.writing = Some(Writing { number, commit });
        Some(batch)
    }

    /// The write on the way is durable: up to which number, and what may be said now.
    pub(super) fn saved(&mut self) -> Option<(u64, Vec<Message>)> {
        let Writing { number, commit } = self.writing.take()?;
        self.durable_commit = self.durable_commit.max(commit);
        let covered = self.held.partition_point(|held| held.number <= number);
        let messages = self.held.drain(..covered).flat_map(|held| held.messages).collect();
        Some((number, messages))
    }
}
