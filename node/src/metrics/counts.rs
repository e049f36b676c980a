//! How much of what the store holds.
//!
//! Tasks are counted one by one, by state: a million take about a fifth of a second of one
//! processor. So that is done on a thread for such work, by one asker at a time, and not again while
//! nothing has changed. No actor is asked, and none waits.

use std::{collections::BTreeMap, sync::Arc};

use actors::store::{Store, View};
use arc_swap::ArcSwapOption;
use protocol::{
    objects::{Kind, TaskState},
    wire::node_status::State,
};
use tokio::{sync::Semaphore, task::spawn_blocking};

/// What was counted in one view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The last entry of the log that the view shows.
    pub index: u64,
    /// Objects, by kind.
    pub objects: BTreeMap<Kind, u64>,
    /// Tasks, by what was last observed of them.
    pub tasks: BTreeMap<TaskState, u64>,
    /// Nodes, by what the dispatcher last knew of them.
    pub nodes: BTreeMap<State, u64>,
}

impl Counts {
    /// Counts what a view shows.
    pub fn of(view: &View) -> Self {
        let mut counts = Self { index: view.index(), ..Self::default() };
        for kind in Kind::ALL {
            counts.objects.insert(kind, view.count(kind) as u64);
        }
        for task in view.tasks() {
            *counts.tasks.entry(task.status.state).or_default() += 1;
        }
        for node in view.nodes() {
            *counts.nodes.entry(node.status.state()).or_default() += 1;
        }
        counts
    }
}

/// Counts for everybody who asks.
pub(super) struct Counter {
    turn: Arc<Semaphore>,
    last: Arc<ArcSwapOption<Counts>>,
}

impl Default for Counter {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), last: Arc::default() }
    }
}

impl Counter {
    /// Counts what is committed now; none when the process is about to end.
    pub(super) async fn count(&self, store: &Store) -> Option<Arc<Counts>> {
        let turn = self.turn.clone().acquire_owned().await.expect("the semaphore is never closed");
        let view = store.view();
        let last = self.last.load_full().filter(|last| last.index == view.index());
        if last.is_some() {
            return last;
        }
        let last = self.last.clone();
        let counted = spawn_blocking(move || {
            let counts = Arc::new(Counts::of(&view));
            last.store(Some(counts.clone()));
            // Whoever asked may be gone by now, and must not have let the next one count beside it.
            drop(turn);
            counts
        });
        counted.await.ok()
    }
}
