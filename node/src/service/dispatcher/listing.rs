//! The tasks of a node as a whole list every time, for agents that know no changes.

use std::collections::BTreeMap;

use protocol::wire::{
    AssignmentsMessage, Task, TasksMessage, assignment::Item, assignment_change::AssignmentAction,
    assignments_message::Type,
};

/// What a node has been told so far.
#[derive(Debug, Default)]
pub(super) struct Listing(BTreeMap<String, Task>);

impl Listing {
    /// Takes over what has changed, and returns everything.
    pub(super) fn take(&mut self, message: AssignmentsMessage) -> TasksMessage {
        if message.r#type() == Type::Complete {
            self.0.clear();
        }
        for change in message.changes {
            let action = change.action();
            let Some(Item::Task(task)) = change.assignment.and_then(|assignment| assignment.item)
            else {
                // Such an agent knows nothing else.
                continue;
            };
            match action {
                AssignmentAction::Update => self.0.insert(task.id.clone(), task),
                AssignmentAction::Remove => self.0.remove(&task.id),
            };
        }
        TasksMessage { tasks: self.0.values().cloned().collect() }
    }
}

#[cfg(test)]
mod tests {
    use protocol::wire::{Assignment, AssignmentChange, Secret};

    use super::*;

    #[test]
    fn every_list_is_whole() {
        let item = |action: AssignmentAction, item| AssignmentChange {
            assignment: Some(Assignment { item: Some(item) }),
            action: action.into(),
        };
        let task = |action, id: &str| {
            item(action, Item::Task(Task { id: id.to_owned(), ..Task::default() }))
        };
        let (update, remove) = (AssignmentAction::Update, AssignmentAction::Remove);
        let mut listing = Listing::default();
        for (kind, changes, expected) in [
            (Type::Complete, vec![task(update, "a"), task(update, "b")], vec!["a", "b"]),
            (Type::Incremental, vec![task(update, "c"), task(remove, "a")], vec!["b", "c"]),
            (
                Type::Incremental,
                vec![item(update, Item::Secret(Secret::default()))],
                vec!["b", "c"],
            ),
            (Type::Complete, vec![task(update, "d")], vec!["d"]),
        ] {
            let message = AssignmentsMessage { r#type: kind.into(), changes, ..Default::default() };
            let listed = listing.take(message).tasks;
            assert_eq!(listed.iter().map(|task| &*task.id).collect::<Vec<_>>(), expected);
        }
    }
}
