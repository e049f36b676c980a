//! The transactions that were applied last, whole and in order, for watches on any thread.
//!
//! Unlike what subscribers are told, nothing is coalesced: whoever falls behind what is kept here
//! is told so (architecture D6).

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use imbl::Vector;
use prost::Message;
use protocol::wire::{InternalRaftRequest, StoreAction};
use tokio::sync::Notify;

use super::{Changes, Committed};

/// How many transactions are kept.
const TRANSACTIONS_MAX: usize = 4096;

/// How large they may be together, encoded.
const BYTES_MAX: usize = 16 << 20;

/// How many transactions a reader is given at once.
const PAGE: usize = 256;

/// One transaction that was applied.
#[derive(Debug)]
pub struct Applied {
    index: u64,
    data: Bytes,
    changes: Option<Arc<Changes>>,
    actions: OnceLock<Vec<StoreAction>>,
}

impl Applied {
    pub(super) fn new(index: u64, data: Bytes, changes: Arc<Changes>) -> Self {
        Self { index, data, changes: Some(changes), actions: OnceLock::new() }
    }

    /// One that only the log knows any more.
    pub fn logged(Committed { index, data, .. }: Committed) -> Self {
        Self { index, data, changes: None, actions: OnceLock::new() }
    }

    /// The index of its entry, which is the version of what it wrote.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// What it did, in its order. Decoded by the first reader, for all.
    pub fn actions(&self) -> &[StoreAction] {
        self.actions.get_or_init(|| {
            InternalRaftRequest::decode(self.data.clone())
                .map(|request| request.action)
                .unwrap_or_default()
        })
    }

    /// What it changed, with every object as it was before; unknown of what the log alone has.
    pub fn changes(&self) -> Option<&Changes> {
        self.changes.as_deref()
    }
}

/// Transactions without a gap, oldest first.
#[derive(Debug, Default)]
pub struct Page {
    /// The transactions.
    pub transactions: Vec<Arc<Applied>>,
    /// Up to where nothing else is.
    pub up_to: u64,
}

/// Some of what a reader asks for was too long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind;

/// The transactions that were applied last. It outlives the lives of the store; clones are the
/// same one.
#[derive(Clone, Default)]
pub struct Feed(Arc<Shared>);

#[derive(Default)]
struct Shared {
    recent: ArcSwap<Recent>,
    news: Notify,
}

/// Every transaction after `begins`, up to `last`.
#[derive(Clone, Default)]
struct Recent {
    begins: u64,
    last: u64,
    bytes: usize,
    transactions: Vector<Arc<Applied>>,
}

impl Feed {
    /// The next transactions after an index; none when there are none yet.
    pub fn after(&self, index: u64) -> Result<Page, Behind> {
        let recent = self.0.recent.load();
        if index < recent.begins {
            return Err(Behind);
        }
        let all = &recent.transactions;
        let known = match all.binary_search_by(|one| one.index.cmp(&index)) {
            Ok(found) => found + 1,
            Err(place) => place,
        };
        let transactions: Vec<_> = all.iter().skip(known).take(PAGE).cloned().collect();
        let is_whole = known + transactions.len() == all.len();
        let last = transactions.last().filter(|_| !is_whole);
        let up_to = last.map_or(recent.last, |one| one.index).max(index);
        Ok(Page { transactions, up_to })
    }

    /// From where on it has everything.
    pub fn begins(&self) -> u64 {
        self.0.recent.load().begins
    }

    /// Waits until it knows of more than `index`.
    pub async fn news(&self, index: u64) {
        loop {
            let news = self.0.news.notified();
            if self.0.recent.load().last > index {
                return;
            }
            news.await;
        }
    }

    /// Adds what was applied, up to `last`. What comes again after a restart is no news.
    pub(super) fn push(&self, applied: impl IntoIterator<Item = Applied>, last: u64) {
        let mut recent = Recent::clone(&self.0.recent.load());
        for one in applied {
            if one.index > recent.last {
                recent.bytes += one.data.len();
                recent.transactions.push_back(Arc::new(one));
            }
        }
        recent.last = recent.last.max(last);
        recent.forget_old();
        self.publish(recent);
    }

    /// Begins anew behind a snapshot, unless everything in it is known.
    pub(super) fn restart(&self, index: u64) {
        if index > self.0.recent.load().last {
            self.publish(Recent { begins: index, last: index, ..Recent::default() });
        }
    }

    fn publish(&self, recent: Recent) {
        self.0.recent.store(Arc::new(recent));
        self.0.news.notify_waiters();
    }
}

impl Recent {
    fn forget_old(&mut self) {
        while self.transactions.len() > TRANSACTIONS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.transactions.pop_front() else { return };
            self.bytes -= oldest.data.len();
            self.begins = oldest.index;
        }
    }
}
