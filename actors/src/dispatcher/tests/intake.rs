//! What of the reports is written.

use std::sync::Arc;

use protocol::{
    id::TaskId,
    objects::{TaskState, TaskStatus},
    wire::{self, node_status::State},
};

use super::{NOW, node, task, with};
use crate::{
    dispatcher::logic::intake::{Intake, NodeChange, Part, Stamp, UPDATES_MAX, write},
    store::{CHANGES_PER_TRANSACTION, Transaction, View},
};

fn stamp() -> Stamp {
    Stamp { by: "leader".into(), at: NOW }
}

fn status(state: TaskState, message: &str) -> TaskStatus {
    TaskStatus { state, message: message.into(), ..TaskStatus::default() }
}

fn ready() -> NodeChange {
    NodeChange { state: State::Ready, message: "", addr: None, description: None }
}

/// Writes everything that waits, and returns the store after it.
fn written(view: &View, intake: &mut Intake) -> View {
    let mut tx = Transaction::begin(view);
    for part in intake.take() {
        assert_eq!(write(&mut tx, part, &stamp()), Ok(false));
    }
    tx.seal(view.index() + 1, NOW).view
}

/// Reports on task `a` and returns whether that was written.
fn is_written(stored: TaskStatus, reported: TaskStatus) -> bool {
    let mut held = task("a", "n", TaskState::NEW);
    held.status = stored;
    let view = with([held.into()]);
    let mut intake = Intake::default();
    intake.report("a".into(), reported);
    let mut tx = Transaction::begin(&view);
    for part in intake.take() {
        write(&mut tx, part, &stamp()).unwrap();
    }
    !tx.is_empty()
}

#[test]
fn a_lower_or_identical_status_is_dropped() {
    let running = || status(TaskState::RUNNING, "started");
    assert!(is_written(status(TaskState::STARTING, "starting"), running()));
    assert!(is_written(running(), status(TaskState::RUNNING, "other words")));
    assert!(!is_written(running(), running()));
    assert!(!is_written(running(), status(TaskState::STARTING, "starting")));
}

#[test]
fn who_wrote_it_does_not_make_a_status_news() {
    let stored = TaskStatus {
        applied_by: "earlier".into(),
        applied_at: Some(NOW),
        ..status(TaskState::RUNNING, "started")
    };
    assert!(!is_written(stored, status(TaskState::RUNNING, "started")));
}

#[test]
fn a_written_status_says_who_wrote_it_and_when() {
    let view = with([task("a", "n", TaskState::ASSIGNED).into()]);
    let mut intake = Intake::default();
    intake.report("a".into(), status(TaskState::STARTING, "starting"));
    intake.report("a".into(), status(TaskState::RUNNING, "started"));
    let view = written(&view, &mut intake);
    let found = &view.task(&"a".into()).expect("it is there").status;
    let expected = TaskStatus {
        applied_by: "leader".into(),
        applied_at: Some(NOW),
        ..status(TaskState::RUNNING, "started")
    };
    assert_eq!(*found, expected);
    assert!(intake.is_empty());
}

#[test]
fn reports_on_what_is_gone_are_dropped() {
    let mut intake = Intake::default();
    intake.report("a".into(), status(TaskState::RUNNING, ""));
    intake.change("n".into(), ready());
    intake.orphan("n".into());
    let view = View::default();
    let mut tx = Transaction::begin(&view);
    for part in intake.take() {
        write(&mut tx, part, &stamp()).unwrap();
    }
    assert!(tx.is_empty());
}

#[test]
fn a_node_keeps_what_a_change_does_not_name() {
    let description = Arc::new(wire::NodeDescription {
        hostname: "one".to_owned(),
        ..wire::NodeDescription::default()
    });
    let view = with([node("n", State::Unknown).into()]);
    let mut intake = Intake::default();
    let addr = Some("10.0.0.7".to_owned());
    let came = NodeChange { addr, description: Some(description.clone()), ..ready() };
    intake.change("n".into(), came);
    let view = written(&view, &mut intake);
    let down = NodeChange { state: State::Down, message: "heartbeat failure", ..ready() };
    intake.change("n".into(), down);
    let view = written(&view, &mut intake);
    let found = view.node(&"n".into()).expect("it is there");
    let expected = wire::NodeStatus {
        state: State::Down.into(),
        message: "heartbeat failure".to_owned(),
        addr: "10.0.0.7".to_owned(),
    };
    assert_eq!((&found.status, &found.description), (&expected, &Some(description)));
}

#[test]
fn of_two_changes_of_a_node_the_last_counts_with_the_last_description() {
    let description = Arc::new(wire::NodeDescription::default());
    let mut intake = Intake::default();
    let came = NodeChange { description: Some(description.clone()), ..ready() };
    intake.change("n".into(), came);
    let down = NodeChange { state: State::Down, ..ready() };
    intake.change("n".into(), down.clone());
    let both = NodeChange { description: Some(description), ..down };
    assert_eq!(intake.take(), [Part::Nodes(vec![("n".into(), both)])]);
}

#[test]
fn a_lost_nodes_tasks_are_given_up_while_they_are_alive() {
    let states = [
        (TaskState::PENDING, false),
        (TaskState::ASSIGNED, true),
        (TaskState::RUNNING, true),
        (TaskState::COMPLETE, false),
        (TaskState::FAILED, false),
    ];
    let tasks = states.iter().map(|(state, _)| task(&state.to_string(), "n", *state).into());
    let view = with(tasks);
    let mut intake = Intake::default();
    intake.orphan("n".into());
    let view = written(&view, &mut intake);
    for (state, lost) in states {
        let found = view.task(&TaskId::from(state.to_string().as_str())).expect("it is there");
        assert_eq!(found.status.state == TaskState::ORPHANED, lost, "{state}");
    }
}

#[test]
fn no_transaction_has_more_than_its_share() {
    let names: Vec<_> = (0..CHANGES_PER_TRANSACTION + 1).map(|number| number.to_string()).collect();
    let view = with(names.iter().map(|name| task(name, "n", TaskState::RUNNING).into()));
    let mut tx = Transaction::begin(&view);
    assert_eq!(write(&mut tx, Part::Orphans("n".into()), &stamp()), Ok(true));
    assert_eq!(tx.len(), CHANGES_PER_TRANSACTION);
    let mut intake = Intake::default();
    for name in &names {
        intake.report(name.as_str().into(), status(TaskState::RUNNING, ""));
    }
    assert_eq!(intake.take().len(), 2);
}

#[test]
fn ten_thousand_updates_do_not_wait() {
    let mut intake = Intake::default();
    for number in 0..UPDATES_MAX {
        assert!(!intake.is_full());
        intake.report(number.to_string().as_str().into(), status(TaskState::RUNNING, ""));
    }
    assert!(intake.is_full());
}

#[test]
fn what_could_not_be_written_comes_back_unless_something_newer_came() {
    let mut intake = Intake::default();
    intake.report("a".into(), status(TaskState::STARTING, ""));
    intake.report("b".into(), status(TaskState::STARTING, ""));
    intake.change("n".into(), ready());
    let parts = intake.take();
    intake.report("a".into(), status(TaskState::RUNNING, ""));
    let down = NodeChange { state: State::Down, ..ready() };
    intake.change("n".into(), down.clone());
    for part in parts {
        intake.give_back(part);
    }
    let tasks = vec![
        ("a".into(), status(TaskState::RUNNING, "")),
        ("b".into(), status(TaskState::STARTING, "")),
    ];
    assert_eq!(intake.take(), [Part::Nodes(vec![("n".into(), down)]), Part::Tasks(tasks)]);
}
