//! Which status goes next, and that none is lost.

use protocol::{
    id::TaskId,
    wire::{TaskState, TaskStatus},
};

use super::logic::Outbox;

fn at(state: TaskState) -> TaskStatus {
    TaskStatus { state: state.into(), ..TaskStatus::default() }
}

fn outbox(entries: &[(&str, TaskState)]) -> Outbox {
    let mut outbox = Outbox::default();
    for (task, state) in entries {
        outbox.submit(TaskId::from(*task), at(*state));
    }
    outbox
}

/// Takes statuses one by one, as a manager that accepts everything would.
fn drain(outbox: &mut Outbox) -> Vec<(String, TaskState)> {
    let mut taken = Vec::new();
    while let Some((task, status)) = outbox.next() {
        taken.push((task.as_str().to_owned(), status.state()));
        outbox.settled();
    }
    taken
}

fn list(entries: &[(&str, TaskState)]) -> Vec<(String, TaskState)> {
    entries.iter().map(|(task, state)| ((*task).to_owned(), *state)).collect()
}

#[test]
fn only_the_newest_status_of_a_task_is_sent() {
    let mut outbox = outbox(&[("a", TaskState::Starting), ("a", TaskState::Running)]);
    assert_eq!(drain(&mut outbox), list(&[("a", TaskState::Running)]));
}

#[test]
fn a_lower_state_than_the_waiting_one_is_dropped() {
    let mut outbox = outbox(&[("a", TaskState::Running), ("a", TaskState::Starting)]);
    assert_eq!(drain(&mut outbox), list(&[("a", TaskState::Running)]));
}

#[test]
fn one_is_on_the_way_at_a_time() {
    let mut outbox = outbox(&[("a", TaskState::Running), ("b", TaskState::Running)]);
    assert!(outbox.next().is_some());
    assert_eq!(outbox.next(), None);
}

#[test]
fn one_that_did_not_arrive_is_sent_again_unless_a_newer_one_waits() {
    let mut outbox = outbox(&[("a", TaskState::Starting), ("b", TaskState::Starting)]);
    outbox.next();
    outbox.returned();
    outbox.next();
    outbox.submit(TaskId::from("b"), at(TaskState::Running));
    outbox.returned();
    let all = [("a", TaskState::Starting), ("b", TaskState::Running)];
    assert_eq!(drain(&mut outbox), list(&all));
}

#[test]
fn tasks_take_turns() {
    let mut outbox = outbox(&[("a", TaskState::Starting), ("b", TaskState::Starting)]);
    outbox.next();
    outbox.submit(TaskId::from("a"), at(TaskState::Running));
    outbox.settled();
    let rest = [("b", TaskState::Starting), ("a", TaskState::Running)];
    assert_eq!(drain(&mut outbox), list(&rest));
}
