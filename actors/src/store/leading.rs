//! What the store of the leader has beyond what is committed: the head, and the writes between.
//!
//! Decides which transactions wait for which entry, and what becomes of them when entries commit
//! or are cut off. It sends nothing.

use std::{collections::VecDeque, mem};

use bytes::Bytes;
use prost::Message;
use prost_types::Timestamp;
use protocol::wire::InternalRaftRequest;

use super::{
    Changes, TRANSACTION_BYTES_MAX, Transaction, View,
    waiting::{Fate, NotWritten, Waiting},
};

/// A group is proposed when it is this large; a single transaction may be larger.
const GROUP_BYTES: usize = 1 << 20;

/// The store of a leader during one term.
pub(super) struct Leading {
    pub(super) term: u64,
    next_index: u64,
    /// Sealed and not committed, by index. The last `unproposed` are not with raft yet.
    tail: VecDeque<Written>,
    unproposed: usize,
}

/// One transaction with its place in the log.
struct Written {
    index: u64,
    view: View,
    changes: Changes,
    data: Bytes,
    writer: Waiting,
    /// Those who wrote nothing, but read this write.
    readers: Vec<Waiting>,
}

/// Consecutive entries for raft.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) first_index: u64,
    pub(super) entries: Vec<Bytes>,
}

/// A write of this leader that is committed now.
pub(super) struct Settled {
    pub(super) view: View,
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
    pub(super) fn new(term: u64, next_index: u64) -> Self {
        Self { term, next_index, tail: VecDeque::new(), unproposed: 0 }
    }

    /// The newest state, writes in flight included.
    pub(super) fn head<'a>(&'a self, committed: &'a View) -> &'a View {
        self.tail.back().map_or(committed, |written| &written.view)
    }

    /// Takes a transaction that ran on the head. Unless `wanted`, what it wrote is dropped.
    pub(super) fn take(
        &mut self,
        transaction: Transaction,
        wanted: bool,
        now: Timestamp,
        waiting: Waiting,
    ) {
        if !wanted || transaction.is_empty() {
            return match self.tail.back_mut() {
                Some(last) => last.readers.push(waiting),
                None => waiting.settle(Fate::Committed),
            };
        }
        let index = self.next_index;
        let sealed = transaction.seal(index, now);
        let request = InternalRaftRequest { id: index, action: sealed.actions };
        let bytes = request.encoded_len();
        if bytes > TRANSACTION_BYTES_MAX {
            return waiting.settle(Fate::TooLarge { bytes });
        }
        self.next_index += 1;
        self.unproposed += 1;
        self.tail.push_back(Written {
            index,
            view: sealed.view,
            changes: sealed.changes,
            data: request.encode_to_vec().into(),
            writer: waiting,
            readers: Vec::new(),
        });
    }

    /// Takes the next group that raft is to propose.
    pub(super) fn group(&mut self) -> Option<Group> {
        let begin = self.tail.len() - self.unproposed;
        let first_index = self.tail.get(begin)?.index;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for written in self.tail.range_mut(begin..) {
            if bytes > 0 && bytes + written.data.len() > GROUP_BYTES {
                break;
            }
            bytes += written.data.len();
            entries.push(mem::take(&mut written.data));
            written.writer.proposed();
        }
        self.unproposed -= entries.len();
        Some(Group { first_index, entries })
    }

    /// Raft did not take the group that begins here: it and everything behind is cut off.
    pub(super) fn refused(&mut self, first_index: u64, reason: NotWritten) {
        let keep = self.tail.partition_point(|written| written.index < first_index);
        for (position, written) in self.tail.drain(keep..).enumerate() {
            let reason = if position == 0 { reason } else { NotWritten::CutOff };
            written.writer.settle(Fate::NotWritten(reason));
            for reader in written.readers {
                reader.settle(Fate::NotWritten(NotWritten::CutOff));
            }
        }
        self.unproposed = 0;
        self.next_index = first_index;
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
