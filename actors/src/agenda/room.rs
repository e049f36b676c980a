//! How many objects go into one transaction: one transaction is one entry of the log.

use prost::Message;
use protocol::objects::Task;

use crate::store::{CHANGES_PER_TRANSACTION, TRANSACTION_BYTES_MAX};

/// What a task takes beside its bodies and lists: ids, status, times. Generous.
const REST_BYTES: usize = 1024;

/// The room that is left in a transaction, mostly of tasks.
#[derive(Debug)]
pub(crate) struct Room {
    objects: usize,
    bytes: usize,
    full: bool,
}

impl Room {
    /// An empty transaction. A quarter of what an entry may hold stays free, since what a task
    /// takes is estimated.
    pub(crate) fn new() -> Self {
        Self { objects: CHANGES_PER_TRANSACTION, bytes: TRANSACTION_BYTES_MAX / 4 * 3, full: false }
    }

    /// Takes room for tasks that are written together or not at all; says whether there was any.
    /// There always is for the first, so that whoever goes on with the next transaction gets on.
    pub(crate) fn take<'t>(&mut self, together: impl IntoIterator<Item = &'t Task>) -> bool {
        let sizes: Vec<_> = together.into_iter().map(encoded_bytes).collect();
        self.take_sized(&sizes)
    }

    /// Takes room for one object of another kind that is encoded in so many bytes.
    pub(crate) fn take_other(&mut self, bytes: usize) -> bool {
        self.take_sized(&[bytes])
    }

    /// Whether there was no room for something. Who finds that need not look at what else is due.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    fn take_sized(&mut self, sizes: &[usize]) -> bool {
        let bytes = sizes.iter().sum();
        let is_first = self.objects == CHANGES_PER_TRANSACTION;
        if !is_first && (self.objects < sizes.len() || self.bytes < bytes) {
            self.full = true;
            return false;
        }
        self.objects = self.objects.saturating_sub(sizes.len());
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

fn encoded_bytes(task: &Task) -> usize {
    let endpoint = task.endpoint.as_ref().map_or(0, |endpoint| endpoint.encoded_len());
    let own = task.annotations.as_ref().map_or(0, |annotations| annotations.encoded_len());
    let driver = task.log_driver.as_ref().map_or(0, |driver| driver.encoded_len());
    let lists = encoded_list(&task.networks)
        + encoded_list(&task.assigned_generic_resources)
        + encoded_list(&task.volumes);
    let bodies = task.spec.encoded_len() + task.service_annotations.encoded_len();
    bodies + own + endpoint + driver + lists + REST_BYTES
}

fn encoded_list(list: &[impl Message]) -> usize {
    list.iter().map(Message::encoded_len).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use protocol::wire::{Annotations, ContainerSpec, TaskSpec, task_spec::Runtime};

    use super::*;

    fn task(bytes: usize) -> Task {
        let container = ContainerSpec { dir: "x".repeat(bytes), ..Default::default() };
        let runtime = Some(Runtime::Container(container));
        Task { spec: Arc::new(TaskSpec { runtime, ..Default::default() }), ..Task::default() }
    }

    #[test]
    fn labels_of_the_service_are_weighed_too() {
        let labels = [("x".to_owned(), "y".repeat(100_000))].into();
        let annotations = Annotations { labels, ..Annotations::default() };
        let task = Task { service_annotations: Arc::new(annotations), ..task(0) };
        assert_eq!(how_many(&task), 11);
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
        assert!(!room.is_full());
        assert!(room.take(vec![&small; CHANGES_PER_TRANSACTION - 1]));
        assert!(!room.take([&small, &small]));
        assert!(room.take([&small]));
        assert!(!room.take([&small]));
        assert!(room.is_full());
    }
}
