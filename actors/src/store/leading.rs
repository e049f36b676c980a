//! What the store of the leader has beyond what is committed: the head, and the writes between.
//!
//! Decides which transactions wait for which entry, and what becomes of them when entries commit
//! or are cut off. It sends nothing.

use std::{collections::VecDeque, mem};

use bytes::Bytes;
use prost_types::Timestamp;

use super::{
    Changes, Payload, TRANSACTION_BYTES_MAX, Transaction, View,
    waiting::{Fate, NotWritten, Waiting},
};

/// A group that is this large is closed.
const GROUP_BYTES: usize = 1 << 19;

/// A group of so many entries is closed, too: deciding about that many takes a few milliseconds, and
/// raft gets its turn after it.
pub(super) const GROUP_ENTRIES: usize = 128;

/// The store of a leader during one term.
pub(super) struct Leading {
    pub(super) term: u64,
    next_index: u64,
    /// The newest state, writes in flight included. Nobody else has it while a group is open, so
    /// that the transactions of a group change it in place (architecture D4).
    head: View,
    /// How large the open group is.
    open_bytes: usize,
    open_entries: usize,
    /// Sealed and not committed, by index. The last `unproposed` are not with raft yet.
    tail: VecDeque<Written>,
    unproposed: usize,
}

/// One transaction with its place in the log.
struct Written {
    index: u64,
    /// The store after it; kept of the last one of a group.
    view: Option<View>,
    changes: Changes,
    data: Payload,
    writer: Waiting,
    /// Those who wrote nothing, but read this write.
    readers: Vec<Waiting>,
}

/// Consecutive entries for raft.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) first_index: u64,
    pub(super) entries: Vec<Payload>,
}

/// A write of this leader that is committed now.
pub(super) struct Settled {
    /// The store after it, if it is the last of its group.
    pub(super) view: Option<View>,
    pub(super) changes: Changes,
    waiting: Vec<Waiting>,
}

impl Settled {
    /// Answers everybody who waited for it. The view must be published before.
    pub(super) fn answer(self) {
        self.waiting.into_iter().for_each(|waiting| waiting.settle(Fate::Committed));
    }
}

impl Leading {
    /// Begins to lead with everything that is committed, which is all there is.
    pub(super) fn new(term: u64, next_index: u64, committed: &View) -> Self {
        Self {
            term,
            next_index,
            head: committed.clone(),
            open_bytes: 0,
            open_entries: 0,
            tail: VecDeque::new(),
            unproposed: 0,
        }
    }

    /// Begins a transaction on the head; it must come back by [`Leading::take`].
    pub(super) fn begin(&mut self, now: Timestamp) -> Transaction {
        Transaction::on(mem::take(&mut self.head), self.next_index, now)
    }

    /// Takes a transaction that ran on the head. Unless `wanted`, what it wrote is undone.
    pub(super) fn take(
        &mut self,
        transaction: Transaction,
        wanted: bool,
        now: Timestamp,
        waiting: Waiting,
    ) {
        if !wanted || transaction.is_empty() {
            self.head = transaction.undo();
            return match self.tail.back_mut() {
                Some(last) => last.readers.push(waiting),
                None => waiting.settle(Fate::Committed),
            };
        }
        let (index, before) = (self.next_index, transaction.index());
        let sealed = transaction.seal(index, now);
        let request = sealed.encode(index);
        self.head = sealed.view;
        if request.len() > TRANSACTION_BYTES_MAX {
            self.head.undo(before, &sealed.changes);
            return waiting.settle(Fate::TooLarge { bytes: request.len() });
        }
        self.push(index, sealed.changes, Payload::Request(request.into()), waiting);
    }

    /// Ends the open group: its last transaction shows what is committed with it.
    fn close_group(&mut self) {
        (self.open_bytes, self.open_entries) = (0, 0);
        if let Some(last) = self.tail.back_mut() {
            last.view = Some(self.head.clone());
        }
    }

    /// Gives a change of the members its place: it writes nothing, and takes an index all the same.
    pub(super) fn take_change(
        &mut self,
        change: Bytes,
        now: Timestamp,
        waiting: impl FnOnce(u64) -> Waiting,
    ) {
        let index = self.next_index;
        let sealed = self.begin(now).seal(index, now);
        self.head = sealed.view;
        self.push(index, sealed.changes, Payload::Members(change), waiting(index));
    }

    fn push(&mut self, index: u64, changes: Changes, data: Payload, writer: Waiting) {
        self.next_index += 1;
        self.unproposed += 1;
        self.open_bytes += data.size();
        self.open_entries += 1;
        self.tail.push_back(Written {
            index,
            view: None,
            changes,
            data,
            writer,
            readers: Vec::new(),
        });
        if self.open_bytes >= GROUP_BYTES || self.open_entries >= GROUP_ENTRIES {
            self.close_group();
        }
    }

    /// Whether a group is closed that raft does not have.
    pub(super) fn has_full_group(&self) -> bool {
        self.unproposed > self.open_entries
    }

    /// Takes the next group that raft is to propose.
    pub(super) fn group(&mut self) -> Option<Group> {
        let begin = self.tail.len() - self.unproposed;
        let first_index = self.tail.get(begin)?.index;
        if self.tail.range(begin..).all(|written| written.view.is_none()) {
            self.close_group();
        }
        let mut entries = Vec::new();
        for written in self.tail.range_mut(begin..) {
            entries.push(written.data.take());
            written.writer.proposed();
            if written.view.is_some() {
                break;
            }
        }
        self.unproposed -= entries.len();
        Some(Group { first_index, entries })
    }

    /// Raft did not take the group that begins here: it and everything behind is cut off.
    pub(super) fn refused(&mut self, first_index: u64, reason: NotWritten, committed: &View) {
        let keep = self.tail.partition_point(|written| written.index < first_index);
        for (position, written) in self.tail.drain(keep..).enumerate() {
            let reason = if position == 0 { reason } else { NotWritten::CutOff };
            written.writer.settle(Fate::NotWritten(reason));
            for reader in written.readers {
                reader.settle(Fate::NotWritten(NotWritten::CutOff));
            }
        }
        self.unproposed = 0;
        (self.open_bytes, self.open_entries) = (0, 0);
        self.next_index = first_index;
        let last = self.tail.back().map(|written| written.view.clone());
        // Groups are cut off whole, so what is left ends with one.
        self.head = last.map_or(committed.clone(), |view| view.expect("the last of its group"));
    }

    /// Something else than a write of this leader was applied; without writes in flight that is the
    /// head now.
    pub(super) fn applied(&mut self, committed: &View) {
        if self.tail.is_empty() {
            self.head = committed.clone();
        }
    }

    /// The entry with this index is committed; returns it if it is a write of this leader.
    pub(super) fn committed(&mut self, index: u64, term: u64) -> Option<Settled> {
        if term != self.term || self.tail.front()?.index != index {
            return None;
        }
        let Written { view, changes, writer, mut readers, .. } = self.tail.pop_front()?;
        readers.insert(0, writer);
        Some(Settled { view, changes, waiting: readers })
    }

    /// Leadership is lost. What raft has may still be written, the rest will not.
    pub(super) fn lost(mut self) {
        if planted!(TailDroppedSilently) {
            return mem::forget(self);
        }
        let proposed = self.tail.len() - self.unproposed;
        for (position, written) in self.tail.drain(..).enumerate() {
            written.writer.settle(match position < proposed {
                true => Fate::OutcomeUnknown,
                false => Fate::NotWritten(NotWritten::NotLeading),
            });
            for reader in written.readers {
                reader.settle(Fate::NotWritten(NotWritten::NotLeading));
            }
        }
    }
}
