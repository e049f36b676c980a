//! Which status is sent to a manager next.

use std::collections::BTreeMap;

use protocol::{id::TaskId, wire::TaskStatus};

/// The newest status of every task that a manager has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: BTreeMap<TaskId, TaskStatus>,
    sending: Option<(TaskId, TaskStatus)>,
    /// The next one is searched after it, so that one task's statuses never hold up the others'.
    last: TaskId,
}

impl Outbox {
    /// Keeps a status to send, unless something later is already waiting.
    pub(super) fn submit(&mut self, task: TaskId, status: TaskStatus) {
        let outdated = self.waiting.get(&task).is_some_and(|waiting| waiting.state > status.state);
        if !outdated {
            self.waiting.insert(task, status);
        }
    }

    /// The next status to send; none while one is on the way or nothing waits.
    pub(super) fn next(&mut self) -> Option<(TaskId, TaskStatus)> {
        if self.sending.is_some() {
            return None;
        }
        let after = self.waiting.keys().find(|task| **task > self.last);
        let task = after.or_else(|| self.waiting.keys().next())?.clone();
        self.sending = self.waiting.remove_entry(&task);
        self.last = task;
        self.sending.clone()
    }

    /// The one on the way has been taken, or nobody wants it.
    pub(super) fn settled(&mut self) {
        self.sending = None;
    }

    /// The one on the way may not have arrived: it waits again, unless a newer one does.
    pub(super) fn returned(&mut self) {
        if let Some((task, status)) = self.sending.take() {
            self.waiting.entry(task).or_insert(status);
        }
    }
}
