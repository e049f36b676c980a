//! The tasks that wait for a node, in groups that ask for the same.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    id::{ServiceId, TaskId},
    objects::{Task, TaskState},
};

use crate::store::View;

/// Tasks of one version of one service; a task without either stands alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    Version(ServiceId, u64),
    Alone(TaskId),
}

impl Group {
    fn of(task: &Task) -> Self {
        match task.spec_version {
            Some(version) if !task.service_id.is_empty() => {
                Self::Version(task.service_id.clone(), version)
            }
            Some(_) | None => Self::Alone(task.id.clone()),
        }
    }
}

/// Who waits, and who is to be looked at. Services come before tasks that stand alone.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: BTreeMap<Group, BTreeSet<TaskId>>,
    due: BTreeSet<Group>,
}

/// Whether a task waits for a node.
pub(crate) fn waits(task: &Task) -> bool {
    task.node_id.is_empty()
        && task.status.state == TaskState::PENDING
        && task.desired_state <= TaskState::COMPLETE
}

impl Queue {
    /// Everything that waits in a store.
    pub(crate) fn of(view: &View) -> Self {
        let mut queue = Self::default();
        view.tasks().for_each(|task| queue.replace(None, Some(task)));
        queue
    }

    /// Takes a task as it is now.
    pub(crate) fn replace(&mut self, before: Option<&Task>, after: Option<&Task>) {
        if let Some(task) = before {
            self.remove(task);
        }
        if let Some(task) = after.filter(|task| waits(task)) {
            let group = Group::of(task);
            self.waiting.entry(group.clone()).or_default().insert(task.id.clone());
            self.due.insert(group);
        }
    }

    fn remove(&mut self, task: &Task) {
        let group = Group::of(task);
        if let Some(tasks) = self.waiting.get_mut(&group) {
            tasks.remove(&task.id);
            if tasks.is_empty() {
                self.waiting.remove(&group);
                self.due.remove(&group);
            }
        }
    }

    /// Everybody is to be looked at: some node has become another.
    pub(crate) fn all_due(&mut self) {
        self.due = self.waiting.keys().cloned().collect();
    }

    /// A group is to be looked at again.
    pub(crate) fn due_again(&mut self, task: &Task) {
        let group = Group::of(task);
        if self.waiting.contains_key(&group) {
            self.due.insert(group);
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.due.is_empty()
    }

    /// The next group that is to be looked at, with its tasks.
    pub(crate) fn next(&mut self) -> Option<Vec<TaskId>> {
        let group = self.due.pop_first()?;
        self.waiting.get(&group).map(|tasks| tasks.iter().cloned().collect())
    }
}
