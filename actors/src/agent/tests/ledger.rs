//! What the ledger starts, saves and reports, and in which order.

use std::sync::Arc;

use prost_types::Timestamp;
use protocol::{
    id::TaskId,
    wire::{
        self, TaskState, assignment::Item, assignment_change::AssignmentAction,
        assignments_message::Type,
    },
};

use crate::agent::{
    logic::{Batch, Effect, Ledger},
    port::{DatabaseChange, StoredTask},
};

fn id(task: &str) -> TaskId {
    TaskId::from(task)
}

fn task(task: &str, desired: TaskState) -> wire::Task {
    wire::Task { id: task.to_owned(), desired_state: desired.into(), ..wire::Task::default() }
}

fn status(state: TaskState) -> wire::TaskStatus {
    wire::TaskStatus { state: state.into(), ..wire::TaskStatus::default() }
}

fn message(kind: Type, changes: &[(AssignmentAction, wire::Task)]) -> wire::AssignmentsMessage {
    let changes = changes.iter().map(|(action, task)| wire::AssignmentChange {
        action: (*action).into(),
        assignment: Some(wire::Assignment { item: Some(Item::Task(task.clone())) }),
    });
    wire::AssignmentsMessage {
        r#type: kind.into(),
        changes: changes.collect(),
        ..wire::AssignmentsMessage::default()
    }
}

fn complete(tasks: &[wire::Task]) -> wire::AssignmentsMessage {
    let changes: Vec<_> =
        tasks.iter().map(|task| (AssignmentAction::Update, task.clone())).collect();
    message(Type::Complete, &changes)
}

/// A ledger that holds task `a`, saved and started, as the manager assigned it.
fn with_a(observed: TaskState) -> Ledger {
    let stored = StoredTask {
        id: id("a"),
        task: Some(Arc::new(task("a", TaskState::Running))),
        status: Some(status(observed)),
        assigned: true,
    };
    Ledger::resume(vec![stored]).0
}

fn write(ledger: &mut Ledger) -> Batch {
    let batch = ledger.next_batch().expect("something is unsaved");
    ledger.saved();
    batch
}

#[test]
fn everything_in_the_database_is_started_at_once() {
    let stored = |name: &str, assigned| StoredTask {
        id: id(name),
        task: Some(Arc::new(task(name, TaskState::Running))),
        status: Some(status(TaskState::Running)),
        assigned,
    };
    let (mut ledger, effects) = Ledger::resume(vec![stored("a", true), stored("b", false)]);
    assert_eq!(effects, [Effect::Start(id("a")), Effect::Start(id("b"))]);
    let held = ledger.assignment(&id("a")).expect("held");
    assert_eq!((held.status.state(), held.wanted), (TaskState::Running, true));
    assert!(!ledger.assignment(&id("b")).expect("held until it is removed").wanted);
    assert_eq!(ledger.next_batch(), None);
}

#[test]
fn a_status_without_its_task_is_deleted() {
    let stored = StoredTask {
        id: id("a"),
        task: None,
        status: Some(status(TaskState::Running)),
        assigned: false,
    };
    let (mut ledger, effects) = Ledger::resume(vec![stored]);
    assert_eq!(effects, []);
    assert_eq!(write(&mut ledger).changes, [DatabaseChange::Remove(id("a"))]);
}

#[test]
fn a_new_task_is_saved_with_the_status_received_and_only_then_started() {
    let mut ledger = Ledger::default();
    let received =
        wire::Task { status: Some(status(TaskState::Assigned)), ..task("a", TaskState::Running) };
    ledger.apply(complete(&[received]));
    let batch = write(&mut ledger);
    let changes = [
        DatabaseChange::PutTask(Arc::new(task("a", TaskState::Running))),
        DatabaseChange::PutAssigned(id("a"), true),
        DatabaseChange::PutStatus(id("a"), status(TaskState::Assigned)),
    ];
    assert_eq!(batch.changes, changes);
    assert_eq!(batch.then, [Effect::Start(id("a"))]);
    assert_eq!(ledger.next_batch(), None);
}

#[test]
fn a_known_task_keeps_its_own_status() {
    let mut ledger = with_a(TaskState::Running);
    let received =
        wire::Task { status: Some(status(TaskState::Assigned)), ..task("a", TaskState::Running) };
    ledger.apply(complete(&[received]));
    assert_eq!(ledger.assignment(&id("a")).expect("held").status.state(), TaskState::Running);
    assert_eq!(ledger.next_batch(), None);
}

#[test]
fn a_changed_task_is_saved_and_then_looked_at_again() {
    let mut ledger = with_a(TaskState::Running);
    let changed = task("a", TaskState::Shutdown);
    ledger.apply(message(Type::Incremental, &[(AssignmentAction::Update, changed.clone())]));
    let batch = write(&mut ledger);
    assert_eq!(batch.changes, [DatabaseChange::PutTask(Arc::new(changed))]);
    assert_eq!(batch.then, [Effect::Touch(id("a"))]);
}

#[test]
fn a_lowered_desired_state_changes_nothing() {
    let mut ledger = with_a(TaskState::Running);
    ledger.apply(complete(&[task("a", TaskState::Ready)]));
    assert_eq!(ledger.next_batch(), None);
}

#[test]
fn a_complete_list_drops_what_it_does_not_name_and_an_increment_does_not() {
    let mut ledger = with_a(TaskState::Running);
    ledger.apply(message(Type::Incremental, &[]));
    assert_eq!(ledger.next_batch(), None);
    ledger.apply(complete(&[]));
    let batch = write(&mut ledger);
    assert_eq!(batch.changes, [DatabaseChange::PutAssigned(id("a"), false)]);
    assert_eq!(batch.then, [Effect::Touch(id("a"))]);
}

#[test]
fn a_removed_task_stays_in_the_database_until_nothing_is_left_of_it() {
    let mut ledger = with_a(TaskState::Running);
    let removed = task("a", TaskState::New);
    ledger.apply(message(Type::Incremental, &[(AssignmentAction::Remove, removed)]));
    write(&mut ledger);
    ledger.apply(complete(&[task("a", TaskState::Running)]));
    assert_eq!(ledger.next_batch(), None, "there is no way back");
    ledger.depart(&id("a"));
    let batch = write(&mut ledger);
    assert_eq!(batch.changes, [DatabaseChange::Remove(id("a"))]);
    assert_eq!(batch.then, []);
    assert_eq!(ledger.assignment(&id("a")), None);
}

#[test]
fn a_status_is_reported_only_after_it_is_saved() {
    let mut ledger = with_a(TaskState::Starting);
    ledger.observe(&id("a"), status(TaskState::Running));
    let batch = ledger.next_batch().expect("a status is unsaved");
    assert_eq!(batch.changes, [DatabaseChange::PutStatus(id("a"), status(TaskState::Running))]);
    assert_eq!(batch.then, [Effect::Report(id("a"), status(TaskState::Running))]);
    assert_eq!(ledger.stored_statuses(), []);
    ledger.saved();
    assert_eq!(ledger.stored_statuses(), [(id("a"), status(TaskState::Running))]);
}

#[test]
fn a_status_that_is_stored_is_repeated_whatever_else_of_its_task_is_being_saved() {
    let mut ledger = with_a(TaskState::Complete);
    ledger.apply(complete(&[task("a", TaskState::Remove)]));
    let stored = [(id("a"), status(TaskState::Complete))];
    assert_eq!(ledger.stored_statuses(), stored, "the change is not saved");
    ledger.next_batch().expect("the change is unsaved");
    assert_eq!(ledger.stored_statuses(), stored, "the change is being saved");
}

#[test]
fn a_task_that_comes_again_stays_in_the_database() {
    let mut ledger = with_a(TaskState::Running);
    ledger.apply(complete(&[]));
    write(&mut ledger);
    ledger.depart(&id("a"));
    ledger.apply(complete(&[task("a", TaskState::Running)]));
    let changes = write(&mut ledger).changes;
    assert_eq!(changes.first(), Some(&DatabaseChange::Remove(id("a"))));
    assert!(matches!(changes.get(1), Some(DatabaseChange::PutTask(_))), "{changes:?}");
}

#[test]
fn what_changes_during_a_write_goes_into_the_next() {
    let mut ledger = with_a(TaskState::Starting);
    ledger.observe(&id("a"), status(TaskState::Running));
    ledger.next_batch();
    ledger.observe(&id("a"), status(TaskState::Complete));
    assert_eq!(ledger.next_batch(), None);
    ledger.saved();
    let batch = write(&mut ledger);
    assert_eq!(batch.then, [Effect::Report(id("a"), status(TaskState::Complete))]);
}

#[test]
fn an_equal_or_lower_status_is_no_news() {
    let mut ledger = with_a(TaskState::Running);
    ledger.observe(&id("a"), status(TaskState::Running));
    ledger.observe(&id("a"), status(TaskState::Starting));
    assert_eq!(ledger.next_batch(), None);
}

#[test]
fn a_task_whose_actor_is_lost_fails_and_gets_another_to_end_it() {
    let mut ledger = with_a(TaskState::Running);
    let now = Timestamp { seconds: 7, nanos: 0 };
    assert!(!ledger.lose(&id("a"), "boom", now), "it is started with the report");
    let failed = wire::TaskStatus {
        err: "the task's supervisor gave up: boom".to_owned(),
        timestamp: Some(now),
        ..status(TaskState::Failed)
    };
    let expected = [Effect::Start(id("a")), Effect::Report(id("a"), failed)];
    assert_eq!(write(&mut ledger).then, expected);
    assert!(ledger.lose(&id("a"), "boom", now), "it died of ending the task");
    assert_eq!(ledger.next_batch(), None, "the status says already how it ended");
    ledger.apply(complete(&[task("a", TaskState::Shutdown)]));
    assert_eq!(write(&mut ledger).then, []);
    assert!(ledger.revive(&id("a")));
    assert!(!ledger.revive(&id("a")), "it has one");
    assert!(!ledger.revive(&id("b")), "nobody knows it");
}

#[test]
fn a_lost_task_that_is_no_longer_wanted_is_kept_until_nothing_is_left_of_it() {
    let mut ledger = with_a(TaskState::Complete);
    assert!(ledger.lose(&id("a"), "boom", Timestamp::default()));
    ledger.apply(complete(&[]));
    assert_eq!(write(&mut ledger).then, [Effect::Start(id("a"))]);
    assert!(!ledger.revive(&id("a")), "its removal has begun");
    assert!(ledger.lose(&id("a"), "boom", Timestamp::default()));
    assert_eq!(ledger.next_batch(), None);
    assert!(ledger.revive(&id("a")));
}
