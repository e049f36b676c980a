//! What a node is told, message by message.

use std::time::{Duration, Instant};

use protocol::{
    id::TaskId,
    objects::{Task, TaskState},
    wire::{
        self, assignment::Item, assignment_change::AssignmentAction, assignments_message::Type,
    },
};

use super::{after, task, with};
use crate::{dispatcher::logic::assignments::Stream, store::View};

const QUIET: Duration = Duration::from_millis(100);

#[expect(clippy::disallowed_methods, reason = "any moment does: only differences count")]
fn origin() -> Instant {
    Instant::now()
}

/// A message as `1->2 +a -b`: what it applies to, what it results in, its changes.
fn text(message: Option<wire::AssignmentsMessage>) -> String {
    let Some(message) = message else { return "nothing".to_owned() };
    assert_eq!(message.r#type() == Type::Complete, message.applies_to.is_empty());
    let mut text = format!("{}->{}", message.applies_to, message.results_in);
    for change in message.changes {
        let sign = match change.action() {
            AssignmentAction::Update => '+',
            AssignmentAction::Remove => '-',
        };
        let Some(Item::Task(task)) = change.assignment.and_then(|change| change.item) else {
            panic!("only tasks are assigned")
        };
        text += &format!(" {sign}{}", task.id);
    }
    text
}

/// A stream to node `n` that has been told everything in the view.
fn told(view: &View) -> Stream {
    let mut stream = Stream::new("n".into(), origin());
    stream.next(view, origin());
    stream
}

fn changed(view: &View, change: impl FnOnce(&mut Task)) -> View {
    let mut task = (**view.task(&"a".into()).expect("it is there")).clone();
    change(&mut task);
    after(view, |tx| tx.update(task).unwrap())
}

/// What the node is told after task `a` went from one version to the next.
#[track_caller]
fn says(before: &View, now: &View, expected: &str) {
    let mut stream = told(before);
    stream.touch("a".into());
    assert_eq!(text(stream.next(now, origin())), expected);
}

#[test]
fn the_first_message_has_everything_from_assigned_upwards() {
    let view = with([
        task("a", "n", TaskState::ASSIGNED).into(),
        task("b", "n", TaskState::RUNNING).into(),
        task("c", "n", TaskState::FAILED).into(),
        task("d", "n", TaskState::PENDING).into(),
        task("e", "m", TaskState::RUNNING).into(),
    ]);
    let mut stream = Stream::new("n".into(), origin());
    assert_eq!(text(stream.next(&view, origin())), "->1 +a +b +c");
}

#[test]
fn an_empty_list_is_said_too() {
    let mut stream = Stream::new("n".into(), origin());
    assert_eq!(text(stream.next(&View::default(), origin())), "->1");
}

#[test]
fn messages_are_numbered_and_empty_ones_are_not_sent() {
    let view = with([task("a", "n", TaskState::RUNNING).into()]);
    let mut stream = told(&view);
    assert_eq!(text(stream.next(&view, origin())), "nothing");
    let next = changed(&view, |task| task.desired_state = TaskState::SHUTDOWN);
    stream.touch("a".into());
    assert_eq!(text(stream.next(&next, origin())), "1->2 +a");
    let gone = after(&next, |tx| tx.remove(protocol::objects::Kind::Task, &"a".into()).unwrap());
    stream.touch("a".into());
    assert_eq!(text(stream.next(&gone, origin())), "2->3 -a");
    stream.touch("a".into());
    assert_eq!(text(stream.next(&gone, origin())), "nothing");
}

#[test]
fn a_removal_carries_only_the_id() {
    let view = with([task("a", "n", TaskState::RUNNING).into()]);
    let mut stream = told(&view);
    stream.touch("a".into());
    let message = stream.next(&View::default(), origin()).expect("a removal");
    let item = message.changes[0].assignment.clone().and_then(|change| change.item);
    let only_id = wire::Task { id: "a".to_owned(), ..wire::Task::default() };
    assert_eq!(item, Some(Item::Task(only_id)));
}

#[test]
fn what_the_node_itself_reported_is_not_sent_back() {
    let view = with([task("a", "n", TaskState::ACCEPTED).into()]);
    for state in [TaskState::RUNNING, TaskState::FAILED] {
        says(&view, &changed(&view, |task| task.status.state = state), "nothing");
    }
}

#[test]
fn a_task_that_is_only_assigned_is_sent_every_time() {
    let view = with([task("a", "n", TaskState::ASSIGNED).into()]);
    says(&view, &changed(&view, |_| {}), "1->2 +a");
    says(&view, &changed(&view, |task| task.status.state = TaskState::ACCEPTED), "nothing");
}

#[test]
fn a_task_asking_for_something_else_is_sent_in_every_state() {
    for state in [TaskState::ASSIGNED, TaskState::RUNNING, TaskState::COMPLETE] {
        let view = with([task("a", "n", state).into()]);
        let stopped = changed(&view, |task| task.desired_state = TaskState::SHUTDOWN);
        says(&view, &stopped, "1->2 +a");
    }
}

#[test]
fn a_new_task_is_sent_once_it_is_assigned() {
    let view = with([]);
    let pending = after(&view, |tx| tx.create(task("a", "n", TaskState::PENDING)).unwrap());
    says(&view, &pending, "nothing");
    let assigned = changed(&pending, |task| task.status.state = TaskState::ASSIGNED);
    says(&pending, &assigned, "1->2 +a");
    let failed = changed(&assigned, |task| task.status.state = TaskState::FAILED);
    says(&pending, &failed, "1->2 +a");
}

#[test]
fn tasks_of_other_nodes_are_not_sent() {
    let view = with([]);
    let foreign = after(&view, |tx| tx.create(task("a", "m", TaskState::ASSIGNED)).unwrap());
    says(&view, &foreign, "nothing");
}

#[test]
fn a_change_waits_only_behind_another_message() {
    let origin = origin();
    let view = View::default();
    let mut stream = Stream::new("n".into(), origin);
    assert_eq!(stream.due(), Some(origin), "the first message does not wait");
    stream.next(&view, origin);
    assert_eq!(stream.due(), None);
    stream.touch("a".into());
    stream.touch("b".into());
    assert_eq!(stream.due(), Some(origin + QUIET), "however often something changes");
    // It had nothing to say; what comes much later is due at once all the same.
    let later = origin + QUIET * 5;
    assert_eq!(text(stream.next(&view, later)), "nothing");
    stream.touch("a".into());
    assert_eq!(stream.due(), Some(later + QUIET));
}

#[test]
fn a_hundred_changes_do_not_wait_and_no_message_has_more() {
    let origin = origin();
    let names: Vec<_> = (0..130).map(|number| format!("{number:03}")).collect();
    let view = with(names.iter().map(|name| task(name, "n", TaskState::ASSIGNED).into()));
    let mut stream = Stream::new("n".into(), origin);
    stream.next(&View::default(), origin);
    for name in &names {
        stream.touch(TaskId::from(name.as_str()));
    }
    assert_eq!(stream.due(), Some(origin));
    assert_eq!(stream.next(&view, origin).expect("due").changes.len(), 100);
    assert_eq!(stream.due(), Some(origin + QUIET));
    assert_eq!(stream.next(&view, origin).expect("due").changes.len(), 30);
    assert_eq!(stream.due(), None);
}

#[test]
fn when_anything_may_have_changed_only_what_did_is_sent() {
    let view = with([
        task("a", "n", TaskState::RUNNING).into(),
        task("b", "n", TaskState::RUNNING).into(),
        task("c", "n", TaskState::RUNNING).into(),
    ]);
    let mut stream = told(&view);
    let next = after(&view, |tx| {
        tx.remove(protocol::objects::Kind::Task, &"b".into()).unwrap();
        tx.create(task("d", "n", TaskState::ASSIGNED)).unwrap();
    });
    let next = changed(&next, |task| task.desired_state = TaskState::SHUTDOWN);
    stream.touch_all(&next);
    assert_eq!(text(stream.next(&next, origin())), "1->2 +a -b +d");
}
