//! How many tasks go into one transaction: one transaction is one entry of the log.

use prost::Message;
use protocol::objects::Task;

use crate::store::{CHANGES_PER_TRANSACTION, TRANSACTION_BYTES_MAX};

/// What a task takes beside its spec and its endpoint: ids, status, annotations. Generous.
const REST_BYTES: usize = 1024;

/// The room that is left in a transaction of tasks.
#[derive(Debug)]
pub(crate) struct Room {
    tasks: usize,
    bytes: usize,
}

impl Room {
    /// An empty transaction. A quarter of what an entry may hold stays free, since what a task
    /// takes is estimated.
    pub(crate) fn new() -> Self {
        Self { tasks: CHANGES_PER_TRANSACTION, bytes: TRANSACTION_BYTES_MAX / 4 * 3 }
    }

    /// Takes room for tasks that are written together or not at all; says whether there was any.
    /// There always is for the first, so that whoever goes on with the next transaction gets on.
    pub(crate) fn take<'t>(&mut self, together: impl IntoIterator<Item = &'t Task>) -> bool {
        let sizes: Vec<_> = together.into_iter().map(encoded_bytes).collect();
        let bytes = sizes.iter().sum();
        let is_first = self.tasks == CHANGES_PER_TRANSACTION;
        if !is_first && (self.tasks < sizes.len() || self.bytes < bytes) {
            return false;
        }
        self.tasks = self.tasks.saturating_sub(sizes.len());
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

fn encoded_bytes(task: &Task) -> usize {
    let endpoint = task.endpoint.as_ref().map_or(0, |endpoint| endpoint.encoded_len());
    let networks: usize = task.networks.iter().map(Message::encoded_len).sum();
    task.spec.encoded_len() + endpoint + networks + REST_BYTES
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use protocol::wire::{ContainerSpec, TaskSpec, task_spec::Runtime};

    use super::*;

    fn task(bytes: usize) -> Task {
        let container = ContainerSpec { dir: "x".repeat(bytes), ..Default::default() };
        let runtime = Some(Runtime::Container(container));
        Task { spec: Arc::new(TaskSpec { runtime, ..Default::default() }), ..Task::default() }
    }

    fn how_many(task: &Task) -> usize {
        let mut room = Room::new();
        std::iter::repeat_with(|| room.take([task])).take_while(|fits| *fits).count()
    }

    #[test]
    fn small_tasks_are_counted_and_large_ones_weighed() {
        assert_eq!(how_many(&task(0)), CHANGES_PER_TRANSACTION);
        assert_eq!(how_many(&task(100_000)), 11);
        assert_eq!(how_many(&task(10 * TRANSACTION_BYTES_MAX)), 1, "the first is always let in");
    }

    #[test]
    fn what_belongs_together_is_not_torn() {
        let (small, mut room) = (task(0), Room::new());
        assert!(room.take(vec![&small; CHANGES_PER_TRANSACTION - 1]));
        assert!(!room.take([&small, &small]));
        assert!(room.take([&small]));
        assert!(!room.take([&small]));
    }
}
