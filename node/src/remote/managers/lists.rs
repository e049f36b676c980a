//! Managers of old know no assignments: each list of tasks that they send is all there is to run.

use protocol::wire::{
    Assignment, AssignmentChange, AssignmentsMessage, Task, TasksMessage, assignment::Item,
    assignment_change::AssignmentAction, assignments_message::Type,
};

/// The same as a complete list of assignments.
pub(super) fn complete(list: TasksMessage) -> AssignmentsMessage {
    let changes = list.tasks.into_iter().map(wanted).collect();
    AssignmentsMessage { r#type: Type::Complete.into(), changes, ..AssignmentsMessage::default() }
}

fn wanted(task: Task) -> AssignmentChange {
    let assignment = Assignment { item: Some(Item::Task(task)) };
    let action = AssignmentAction::Update.into();
    AssignmentChange { assignment: Some(assignment), action }
}
