//! What of the reports is written.

use std::sync::Arc;

use prost::Message;
use protocol::{
    id::TaskId,
    objects::{Task, TaskState, TaskStatus},
    wire::{self, node_status::State},
};

use super::{NOW, node, task, with};
use crate::{
    dispatcher::logic::intake::{
        Intake, NodeChange, Part, Stamp, UPDATES_MAX, removed_nodes, write,
    },
    store::{CHANGES_PER_TRANSACTION, TRANSACTION_BYTES_MAX, Transaction, View},
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
        assert_eq!(write(&mut tx, part, &stamp()), Ok(None));
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
    let tasks = states.map(|(state, _)| task(&state.to_string(), "n", state).into());
    let down = node("n", State::Down);
    let view = with(tasks.into_iter().chain([down.into()]));
    let mut intake = Intake::default();
    intake.orphan("n".into());
    let view = written(&view, &mut intake);
    for (state, lost) in states {
        let found = view.task(&TaskId::from(state.to_string().as_str())).expect("it is there");
        assert_eq!(found.status.state == TaskState::ORPHANED, lost, "{state}");
    }
}

#[test]
fn a_removed_node_takes_all_its_tasks_along() {
    let states = [TaskState::PENDING, TaskState::RUNNING, TaskState::COMPLETE];
    let tasks = states.map(|state| task(&state.to_string(), "n", state).into());
    let elsewhere = task("elsewhere", "other", TaskState::RUNNING);
    let view = with(tasks.into_iter().chain([elsewhere.into(), node("other", State::Down).into()]));
    assert_eq!(removed_nodes(&view), ["n".into()].into());
    let mut intake = Intake::default();
    intake.orphan("n".into());
    let view = written(&view, &mut intake);
    for (state, lost) in states.into_iter().zip([true, true, false]) {
        let status = &view.task(&state.to_string().as_str().into()).expect("it is there").status;
        assert_eq!(status.state == TaskState::ORPHANED, lost, "{state}");
        let is_told = &*status.message == "Task belonged to a node that has been deleted";
        assert_eq!(is_told, lost, "{state}");
    }
    assert_eq!(removed_nodes(&view), [].into());
}

#[test]
fn no_transaction_has_more_than_its_share() {
    let names: Vec<_> = (0..CHANGES_PER_TRANSACTION + 1).map(|number| number.to_string()).collect();
    let view = with(names.iter().map(|name| task(name, "n", TaskState::RUNNING).into()));
    let mut tx = Transaction::begin(&view);
    let part = Part::Orphans("n".into());
    assert_eq!(write(&mut tx, part.clone(), &stamp()), Ok(Some(part)));
    assert_eq!(tx.len(), CHANGES_PER_TRANSACTION);
    let mut intake = Intake::default();
    for name in &names {
        intake.report(name.as_str().into(), status(TaskState::RUNNING, ""));
    }
    assert_eq!(intake.take().len(), 2);
}

/// A part that is larger than an entry of the log may be is written in as many as it takes.
fn written_in_steps(view: &View, part: Part) -> (View, usize) {
    let (mut view, mut left, mut steps) = (view.clone(), Some(part), 0);
    while let Some(part) = left {
        let mut tx = Transaction::begin(&view);
        left = write(&mut tx, part, &stamp()).unwrap();
        let sealed = tx.seal(view.index() + 1, NOW);
        let request = wire::InternalRaftRequest { id: 1, action: sealed.actions() };
        assert!(request.encoded_len() <= TRANSACTION_BYTES_MAX);
        (view, steps) = (sealed.view, steps + 1);
    }
    (view, steps)
}

#[test]
fn what_is_too_much_for_one_entry_is_written_in_several() {
    let container = wire::ContainerSpec { dir: "x".repeat(9 << 10), ..Default::default() };
    let runtime = Some(wire::task_spec::Runtime::Container(container));
    let spec = Arc::new(wire::TaskSpec { runtime, ..Default::default() });
    let names: Vec<_> = (0..CHANGES_PER_TRANSACTION).map(|number| number.to_string()).collect();
    let held = names.iter().map(|name| {
        let held = task(name, "n", TaskState::STARTING);
        Task { spec: spec.clone(), ..held }
    });
    let view = with(held.map(Into::into));
    let is_in = |view: &View, state| view.tasks().all(|task| task.status.state == state);

    let report = |name: &String| (name.as_str().into(), status(TaskState::RUNNING, ""));
    let (view, steps) = written_in_steps(&view, Part::Tasks(names.iter().map(report).collect()));
    assert_eq!((is_in(&view, TaskState::RUNNING), steps), (true, 2));

    let (view, steps) = written_in_steps(&view, Part::Orphans("n".into()));
    assert_eq!((is_in(&view, TaskState::ORPHANED), steps), (true, 2));
}

#[test]
fn large_descriptions_are_written_in_several_entries_too() {
    let view = with((0..20).map(|number| node(&number.to_string(), State::Unknown).into()));
    let description =
        Arc::new(wire::NodeDescription { hostname: "x".repeat(100_000), ..Default::default() });
    let changes = view.nodes().map(|node| {
        (node.id.clone(), NodeChange { description: Some(description.clone()), ..ready() })
    });
    let (view, steps) = written_in_steps(&view, Part::Nodes(changes.collect()));
    assert!(view.nodes().all(|node| node.description.is_some()));
    assert_eq!(steps, 2);
}

#[test]
fn what_made_a_transaction_too_large_is_left_out() {
    let report = |id: &str| (TaskId::from(id), status(TaskState::RUNNING, ""));
    let part = Part::Tasks(vec![report("a"), report("b")]);
    let left = Part::Tasks(vec![report("b")]);
    assert_eq!(part.without_first(), Some(left.clone()));
    assert_eq!(left.without_first(), None);
    let part = Part::Nodes(vec![("n".into(), ready()), ("m".into(), ready())]);
    let left = Part::Nodes(vec![("m".into(), ready())]);
    assert_eq!(part.without_first(), Some(left.clone()));
    assert_eq!(left.without_first(), None);
    assert_eq!(Part::Orphans("n".into()).without_first(), None);
}

#[test]
fn a_node_that_came_back_keeps_its_tasks() {
    let orphaned = |held: Option<State>| {
        let held = held.map(|state| node("n", state).into());
        let view = with([task("a", "n", TaskState::RUNNING).into()].into_iter().chain(held));
        let mut intake = Intake::default();
        intake.orphan("n".into());
        let view = written(&view, &mut intake);
        view.task(&"a".into()).unwrap().status.state == TaskState::ORPHANED
    };
    assert!(orphaned(Some(State::Down)));
    assert!(orphaned(None), "a node that was removed");
    assert!(!orphaned(Some(State::Ready)));
    assert!(!orphaned(Some(State::Unknown)));
}

#[test]
fn a_late_repetition_does_not_take_back_what_was_answered() {
    let completed = status(TaskState::COMPLETE, "done");
    let mut intake = Intake::default();
    intake.report("a".into(), completed.clone());
    intake.report("a".into(), status(TaskState::RUNNING, ""));
    let part = Part::Tasks(vec![("a".into(), completed)]);
    let taken = intake.take();
    assert_eq!(taken, std::slice::from_ref(&part));
    intake.report("a".into(), status(TaskState::RUNNING, ""));
    taken.into_iter().for_each(|part| intake.give_back(part));
    assert_eq!(intake.take(), [part]);
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
