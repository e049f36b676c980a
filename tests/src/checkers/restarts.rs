//! A replacement starts once the task before it has stopped, or has had a minute for it, or is on
//! a node that is lost. How long it has waited, a new leader knows by the wall clock alone: when
//! that is set, it may believe that a minute is over.

use std::{collections::BTreeMap, time::Duration};

use actors::store::View;
use protocol::{
    id::TaskId,
    objects::{Task, TaskState},
    wire::node_status,
};
use tokio::time::Instant;

use crate::counts::Counts;

/// How long a replacement waits at most, less what lies between two looks.
const WAIT_MAX: Duration = Duration::from_secs(58);

/// When each replacement was first seen waiting.
#[derive(Default)]
pub struct Restarts {
    waiting: BTreeMap<TaskId, Instant>,
    /// When a node was last seen lost.
    lost: Option<Instant>,
}

impl Restarts {
    /// Looks at one view. `clock_set` is how long ago a wall clock was set.
    pub fn check(&mut self, view: &View, clock_set: Option<Duration>, counts: &Counts) {
        let is_lost = |node: &node_status::State| *node == node_status::State::Down;
        if view.nodes().any(|node| is_lost(&node.status.state())) {
            self.lost = Some(Instant::now());
        }
        for task in view.tasks() {
            if task.desired_state < TaskState::RUNNING {
                self.waiting.entry(task.id.clone()).or_insert_with(Instant::now);
            } else if task.desired_state == TaskState::RUNNING {
                let since = self.waiting.get(&task.id);
                let before = before(view, task).filter(|before| is_stopping(before));
                let may_start = since.is_some_and(|since| since.elapsed() > WAIT_MAX)
                    || self.lost.is_some_and(|lost| lost.elapsed() < WAIT_MAX)
                    || clock_set.is_some_and(|ago| ago < WAIT_MAX);
                for before in before {
                    assert!(
                        may_start,
                        "restarts: {} starts while {} stops, which it replaces",
                        task.id, before.id
                    );
                }
                if since.is_some() {
                    counts.count("check: replacements wait");
                }
                if since.is_some() && task.status.state == TaskState::RUNNING {
                    counts.count("seen: replacement started");
                }
            }
        }
    }
}

/// The other tasks of its slot that were told to stop for it.
fn before<'a>(view: &'a View, task: &'a Task) -> impl Iterator<Item = &'a Task> {
    let slot = view.tasks_in_slot(&task.service_id, task.slot).map(AsRef::as_ref);
    slot.filter(|other| other.id != task.id)
}

/// Whether its node still has to stop it. A slot that was given up may be taken again at once.
fn is_stopping(task: &Task) -> bool {
    task.desired_state == TaskState::SHUTDOWN
        && task.status.state <= TaskState::RUNNING
        && !task.node_id.is_empty()
}

/// Views of tasks, for the tests of checkers.
#[cfg(test)]
pub(super) mod testing {
    use actors::store::{Restore, View};
    use prost::Message;
    use protocol::{
        objects::TaskState,
        wire::{StoreSnapshot, Task, TaskStatus},
    };

    /// A task of the service `s`: what it should be, and what it is.
    pub(crate) fn task(id: &str, slot: u64, desired: TaskState, state: TaskState) -> Task {
        Task {
            id: id.to_owned(),
            service_id: "s".to_owned(),
            node_id: "worker".to_owned(),
            slot,
            desired_state: desired.number(),
            status: Some(TaskStatus { state: state.number(), ..Default::default() }),
            ..Default::default()
        }
    }

    /// A view of these tasks.
    pub(crate) fn view(tasks: impl IntoIterator<Item = Task>) -> View {
        let tasks = tasks.into_iter().collect();
        let snapshot = StoreSnapshot { tasks, ..Default::default() }.encode_to_vec();
        let (mut restore, mut rest) = (Restore::default(), &*snapshot);
        while !rest.is_empty() {
            restore.add_field(&mut rest).expect("we encoded it");
        }
        restore.finish(1)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{task, view};
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "restarts: b starts while a stops, which it replaces")]
    async fn a_replacement_that_does_not_wait_is_found() {
        let (mut restarts, counts) = (Restarts::default(), Counts::default());
        let stopping = task("a", 1, TaskState::SHUTDOWN, TaskState::RUNNING);
        let stopped = task("a", 1, TaskState::SHUTDOWN, TaskState::SHUTDOWN);
        let waits = task("b", 1, TaskState::READY, TaskState::READY);
        let starts = task("b", 1, TaskState::RUNNING, TaskState::READY);
        restarts.check(&view([stopping.clone(), waits]), None, &counts);
        restarts.check(&view([stopped, starts.clone()]), None, &counts);
        restarts.check(&view([stopping, starts]), None, &counts);
    }
}
