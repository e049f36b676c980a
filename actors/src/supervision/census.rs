//! Who lives, how often it died, and how busy it is: readable from any thread at any time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

/// A last failure is cut to this many characters.
const FAILURE_CHARS_MAX: usize = 500;

/// What an actor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorState {
    /// Handles messages.
    Running,
    /// Died, and waits before its next start.
    BackingOff,
    /// Ended on request.
    Stopped,
}

impl ActorState {
    fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Running,
            1 => Self::BackingOff,
            _ => Self::Stopped,
        }
    }
}

/// One actor at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorReport {
    /// Where it hangs in the trees, from the root, separated by slashes.
    pub path: String,
    /// What it is doing.
    pub state: ActorState,
    /// How often it was started again.
    pub restarts: u64,
    /// What it said when it last died.
    pub last_failure: Option<String>,
    /// Messages that wait or are being handled.
    pub mailbox_depth: usize,
    /// How many messages may wait before senders do.
    pub mailbox_capacity: usize,
    /// Messages handled in all its lives.
    pub messages_handled: u64,
    /// The longest time that it held its thread at once.
    pub longest_poll: Duration,
}

/// Every actor of a process, over all its trees and threads.
#[derive(Clone, Default)]
pub struct Census {
    records: Arc<ArcSwap<Vec<Arc<Record>>>>,
}

impl Census {
    /// All actors, sorted by path. Those that ended on request are left out.
    pub fn report(&self) -> Vec<ActorReport> {
        let records = self.records.load();
        let mut reports: Vec<_> = records.iter().map(|record| record.report()).collect();
        reports.sort_by(|left, right| left.path.cmp(&right.path));
        reports
    }

    pub(super) fn add(&self, record: Arc<Record>) {
        self.records.rcu(|records| {
            let mut records = records.as_ref().clone();
            records.push(record.clone());
            records
        });
    }

    pub(super) fn remove(&self, record: &Arc<Record>) {
        self.records.rcu(|records| {
            let mut records = records.as_ref().clone();
            records.retain(|other| !Arc::ptr_eq(other, record));
            records
        });
    }
}

/// What is counted of one actor while it lives.
pub(super) struct Record {
    path: String,
    capacity: usize,
    permits: Arc<Semaphore>,
    state: AtomicU8,
    restarts: AtomicU64,
    handled: AtomicU64,
    longest_poll_nanos: AtomicU64,
    last_failure: ArcSwap<Option<String>>,
}

impl Record {
    pub(super) fn new(path: String, capacity: usize, permits: Arc<Semaphore>) -> Self {
        Self {
            path,
            capacity,
            permits,
            state: AtomicU8::new(ActorState::Running as u8),
            restarts: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            longest_poll_nanos: AtomicU64::new(0),
            last_failure: ArcSwap::default(),
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn enter(&self, state: ActorState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, reason: &str) {
        let reason = reason.chars().take(FAILURE_CHARS_MAX).collect();
        self.last_failure.store(Arc::new(Some(reason)));
    }

    pub(super) fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
        self.enter(ActorState::Running);
    }

    pub(super) fn handled(&self) {
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn polled(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.longest_poll_nanos.fetch_max(nanos, Ordering::Relaxed);
    }

    fn report(&self) -> ActorReport {
        ActorReport {
            path: self.path.clone(),
            state: ActorState::from_number(self.state.load(Ordering::Relaxed)),
            restarts: self.restarts.load(Ordering::Relaxed),
            last_failure: self.last_failure.load().as_ref().clone(),
            mailbox_depth: self.capacity.saturating_sub(self.permits.available_permits()),
            mailbox_capacity: self.capacity,
            messages_handled: self.handled.load(Ordering::Relaxed),
            longest_poll: Duration::from_nanos(self.longest_poll_nanos.load(Ordering::Relaxed)),
        }
    }
}
