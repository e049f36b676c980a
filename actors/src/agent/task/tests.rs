//! Every row of the tables of executor §3 and cluster-security-dispatch §15, then the course of a
//! task through them.

use std::sync::Arc;

use prost_types::Timestamp;
use protocol::wire::{
    self, ContainerStatus,
    TaskState::{
        self, Accepted, Assigned, Complete, Failed, New, Orphaned, Pending, Preparing, Ready,
        Rejected, Remove, Running, Shutdown, Starting,
    },
    TaskStatus,
    task_status::RuntimeStatus,
};

use super::logic::{
    Course, Effect, Input,
    step::{Operation, Runtime, Verdict, operation, settle},
};
use crate::agent::{Assignment, port::ExecutorError};

const EVERY: [TaskState; 14] = [
    New, Pending, Assigned, Accepted, Preparing, Ready, Starting, Running, Complete, Shutdown,
    Failed, Rejected, Remove, Orphaned,
];

const LATER: Timestamp = Timestamp { seconds: 7, nanos: 0 };

fn rests(observed: &[TaskState], desired: TaskState) {
    for &state in observed {
        assert_eq!(operation(state, desired), None, "{state:?} desired {desired:?}");
    }
}

fn does(observed: &[TaskState], desired: &[TaskState], expected: Operation) {
    for &state in observed {
        for &wish in desired {
            assert_eq!(operation(state, wish), Some(expected), "{state:?} desired {wish:?}");
        }
    }
}

#[test]
fn what_shall_stop_is_shut_down_from_every_state_that_has_not_ended() {
    let alive = [New, Pending, Assigned, Accepted, Preparing, Ready, Starting, Running];
    does(&alive, &[Shutdown, Remove], Operation::Shutdown);
}

#[test]
fn what_shall_stop_and_has_ended_rests() {
    let ended = [Complete, Shutdown, Failed, Rejected, Orphaned];
    rests(&ended, Shutdown);
    rests(&ended, Remove);
}

#[test]
fn what_is_beyond_its_desired_state_rests() {
    for desired in [Ready, Running, Complete] {
        let beyond: Vec<_> = EVERY.into_iter().filter(|state| *state > desired).collect();
        rests(&beyond, desired);
    }
}

#[test]
fn what_has_begun_is_carried_on_even_when_no_more_is_desired() {
    does(&[Preparing], &[Preparing, Ready, Running, Complete], Operation::Prepare);
    does(&[Starting], &[Starting, Running, Complete], Operation::Start);
    does(&[Running], &[Running, Complete], Operation::Wait);
}

#[test]
fn what_has_reached_its_desired_state_rests() {
    for state in [New, Pending, Assigned, Accepted, Ready, Complete] {
        rests(&[state], state);
    }
}

#[test]
fn what_has_not_begun_takes_one_step() {
    let further = [Ready, Running, Complete];
    does(&[New, Pending, Assigned], &further, Operation::Advance(Accepted));
    does(&[Accepted], &further, Operation::Advance(Preparing));
    does(&[Ready], &[Running, Complete], Operation::Advance(Starting));
}

fn status(state: TaskState, message: &str, err: &str) -> TaskStatus {
    TaskStatus {
        state: state.into(),
        message: message.to_owned(),
        err: err.to_owned(),
        ..TaskStatus::default()
    }
}

/// Settles an operation at `before` and compares state, message and error.
#[track_caller]
fn settles(
    before: (TaskState, &str),
    ended: (Operation, Result<(), ExecutorError>),
    after: (TaskState, &str, &str),
    verdict: Verdict,
) {
    let mut found = status(before.0, before.1, "earlier");
    let runtime = Runtime::default();
    assert_eq!(settle(&mut found, ended.0, ended.1, runtime, LATER), verdict);
    assert_eq!((found.state(), &*found.message, &*found.err), after);
}

fn failed(text: &str) -> Result<(), ExecutorError> {
    Err(ExecutorError::Failed(text.to_owned()))
}

#[test]
fn success_leads_to_the_next_state_and_clears_the_error() {
    let ok = |operation, from, to, message| {
        settles((from, "m"), (operation, Ok(())), (to, message, ""), Verdict::Proceed);
    };
    ok(Operation::Resolve, Assigned, Accepted, "accepted");
    ok(Operation::Advance(Accepted), Assigned, Accepted, "accepted");
    ok(Operation::Advance(Preparing), Accepted, Preparing, "preparing");
    ok(Operation::Prepare, Preparing, Ready, "prepared");
    ok(Operation::Advance(Starting), Ready, Starting, "starting");
    ok(Operation::Start, Starting, Running, "started");
    ok(Operation::Wait, Running, Complete, "finished");
    ok(Operation::Shutdown, Running, Shutdown, "shutdown");
}

#[test]
fn what_is_no_step_leaves_the_status_alone() {
    let same = (Running, "started", "earlier");
    for operation in [Operation::Resolve, Operation::Update, Operation::Remove] {
        settles((Running, "started"), (operation, Ok(())), same, Verdict::Proceed);
    }
    for operation in [Operation::Update, Operation::Remove] {
        settles((Running, "started"), (operation, failed("no")), same, Verdict::Proceed);
    }
}

#[test]
fn what_was_done_already_counts_as_success() {
    let prepared = (Operation::Prepare, Err(ExecutorError::AlreadyPrepared));
    settles((Preparing, "preparing"), prepared, (Ready, "prepared", ""), Verdict::Proceed);
    let started = (Operation::Start, Err(ExecutorError::AlreadyStarted));
    settles((Starting, "starting"), started, (Running, "started", ""), Verdict::Proceed);
}

#[test]
fn a_temporary_error_is_kept_and_tried_again() {
    let error = Err(ExecutorError::Temporary("not yet".to_owned()));
    let after = (Preparing, "preparing", "not yet");
    settles((Preparing, "preparing"), (Operation::Prepare, error), after, Verdict::Retry);
}

#[test]
fn what_has_ended_keeps_its_error() {
    let busy = || Err(ExecutorError::Temporary("busy".to_owned()));
    let same = (Failed, "started", "earlier");
    for operation in [Operation::Resolve, Operation::Remove, Operation::End] {
        settles((Failed, "started"), (operation, busy()), same, Verdict::Retry);
    }
    settles((Failed, "started"), (Operation::End, failed("no")), same, Verdict::Retry);
    settles((Failed, "started"), (Operation::End, Ok(())), same, Verdict::Proceed);
}

#[test]
fn running_out_of_time_is_tried_again_without_a_word() {
    let error = Err(ExecutorError::TimedOut("too late".to_owned()));
    let after = (Preparing, "preparing", "earlier");
    settles((Preparing, "preparing"), (Operation::Prepare, error), after, Verdict::Retry);
}

#[test]
fn an_error_before_starting_rejects_and_later_fails_and_the_message_stays() {
    let ends = |operation, from, message, to| {
        let after = (to, message, "broken");
        settles((from, message), (operation, failed("broken")), after, Verdict::Proceed);
    };
    ends(Operation::Prepare, Preparing, "preparing", Rejected);
    ends(Operation::Start, Starting, "starting", Failed);
    ends(Operation::Wait, Running, "started", Failed);
    ends(Operation::Shutdown, Ready, "prepared", Rejected);
    ends(Operation::Shutdown, Running, "started", Failed);
}

#[test]
fn a_controller_that_cannot_be_found_ends_the_task_unless_it_has_ended() {
    let text = "resolving controller failed";
    let refused = || (Operation::Resolve, failed("unsupported runtime"));
    for (from, to) in
        [(Assigned, Rejected), (Preparing, Rejected), (Starting, Failed), (Running, Failed)]
    {
        settles((from, "m"), refused(), (to, text, "unsupported runtime"), Verdict::Proceed);
    }
    settles((Complete, "finished"), refused(), (Complete, "finished", "earlier"), Verdict::Proceed);
}

#[test]
fn an_exit_code_says_how_it_failed() {
    let exit = |reason: Option<&str>| {
        Err(ExecutorError::Exit { code: 137, reason: reason.map(str::to_owned) })
    };
    let after = (Failed, "started", "task: non-zero exit (137)");
    settles((Running, "started"), (Operation::Wait, exit(None)), after, Verdict::Proceed);
    let after = (Failed, "started", "task: non-zero exit (137): oom");
    settles((Running, "started"), (Operation::Wait, exit(Some("oom"))), after, Verdict::Proceed);
}

fn runtime(pid: i32, exit_code: i32) -> Runtime {
    let container = ContainerStatus { container_id: "c".to_owned(), pid, exit_code };
    Runtime { container: Some(container), ports: Some(wire::PortStatus::default()) }
}

#[test]
fn what_the_controller_knows_is_attached_from_starting_on() {
    for (from, step, attached) in [
        (Preparing, Operation::Prepare, false),
        (Ready, Operation::Advance(Starting), true),
        (Starting, Operation::Start, true),
    ] {
        let mut found = status(from, "", "");
        settle(&mut found, step, Ok(()), runtime(5, 0), LATER);
        assert_eq!(found.runtime_status.is_some(), attached, "{step:?}");
        assert_eq!(found.port_status.is_some(), attached, "{step:?}");
    }
}

#[test]
fn a_rejected_task_has_an_empty_container_and_no_ports() {
    let mut found = status(Preparing, "preparing", "");
    settle(&mut found, Operation::Prepare, failed("no"), runtime(5, 126), LATER);
    let empty = RuntimeStatus::Container(ContainerStatus::default());
    assert_eq!((found.state(), found.runtime_status), (Rejected, Some(empty)));
    assert_eq!(found.port_status, None);
}

#[test]
fn the_exit_code_of_the_error_counts_unless_it_is_zero() {
    for (of_error, of_container, expected) in [(3, 0, 3), (3, 1, 3), (0, 1, 1)] {
        let mut found = status(Running, "started", "");
        let exit = Err(ExecutorError::Exit { code: of_error, reason: None });
        settle(&mut found, Operation::Wait, exit, runtime(5, of_container), LATER);
        let Some(RuntimeStatus::Container(container)) = found.runtime_status else {
            panic!("no container status")
        };
        assert_eq!(container.exit_code, expected);
    }
}

#[test]
fn the_time_changes_only_with_the_status() {
    let mut found = status(Preparing, "preparing", "not yet");
    let again = || Err(ExecutorError::Temporary("not yet".to_owned()));
    settle(&mut found, Operation::Prepare, again(), Runtime::default(), LATER);
    assert_eq!(found.timestamp, None);
    settle(&mut found, Operation::Prepare, Ok(()), Runtime::default(), LATER);
    assert_eq!(found.timestamp, Some(LATER));
}

fn assignment(state: TaskState, desired: TaskState) -> Assignment {
    let task =
        wire::Task { id: "t".to_owned(), desired_state: desired.into(), ..wire::Task::default() };
    Assignment { task: Arc::new(task), status: status(state, "", ""), wanted: true }
}

/// A course that has a controller and is at work on `operation`.
fn at_work(state: TaskState, desired: TaskState, operation: Operation) -> Course {
    let (mut course, first) = Course::begin(assignment(state, desired));
    assert_eq!(first, [Effect::Run(Operation::Resolve)]);
    let found = course.step(Input::Ended(Ok(()), Runtime::default()), LATER);
    assert_eq!(found, [Effect::Run(operation)]);
    course
}

fn ended(result: Result<(), ExecutorError>) -> Input {
    Input::Ended(result, Runtime::default())
}

/// Runs every operation successfully and returns the states published on the way.
fn run(course: &mut Course, mut effects: Vec<Effect>) -> Vec<TaskState> {
    let mut published = Vec::new();
    while let Some(effect) = effects.pop() {
        assert!(effects.is_empty(), "one thing at a time");
        match effect {
            Effect::Run(_) => effects = course.step(ended(Ok(())), LATER),
            Effect::Publish(status) => {
                published.push(status.state());
                effects = course.step(Input::Published, LATER);
            }
            Effect::Cancel | Effect::Retry | Effect::Complain(..) | Effect::Depart { .. } => {
                panic!("unexpected {effect:?}")
            }
        }
    }
    published
}

#[test]
fn a_task_runs_to_its_end_step_by_step() {
    let (mut course, first) = Course::begin(assignment(Assigned, Running));
    let all = [Accepted, Preparing, Ready, Starting, Running, Complete];
    assert_eq!(run(&mut course, first), all);
}

#[test]
fn a_task_that_shall_be_ready_stops_there_until_it_shall_run() {
    let (mut course, first) = Course::begin(assignment(Assigned, Ready));
    assert_eq!(run(&mut course, first), [Accepted, Preparing, Ready]);
    let more = course.step(Input::Assigned(assignment(Assigned, Running)), LATER);
    assert_eq!(more, [Effect::Run(Operation::Update)]);
    assert_eq!(run(&mut course, more), [Starting, Running, Complete]);
}

#[test]
fn a_resumed_task_goes_on_where_it_was() {
    at_work(Starting, Running, Operation::Start);
    at_work(Running, Running, Operation::Wait);
}

#[test]
fn a_resumed_task_that_has_ended_is_stopped_and_then_left_alone() {
    for state in [Complete, Failed, Rejected, Shutdown] {
        let mut course = at_work(state, Running, Operation::End);
        let busy = ended(Err(ExecutorError::Temporary("busy".to_owned())));
        let complaint = Effect::Complain(Operation::End, "busy".to_owned());
        assert_eq!(course.step(busy, LATER), [complaint, Effect::Retry]);
        let change = course.step(Input::Assigned(assignment(New, Shutdown)), LATER);
        assert_eq!(change, [Effect::Cancel, Effect::Run(Operation::End)]);
        assert_eq!(course.step(ended(Ok(())), LATER), [Effect::Run(Operation::Update)]);
        assert_eq!(course.step(ended(Ok(())), LATER), []);
    }
}

#[test]
fn a_change_interrupts_and_reaches_the_controller_before_the_next_step() {
    let mut course = at_work(Running, Running, Operation::Wait);
    let stop = assignment(New, Shutdown);
    let found = course.step(Input::Assigned(stop.clone()), LATER);
    assert_eq!(found, [Effect::Cancel, Effect::Run(Operation::Update)]);
    let found = course.step(ended(Ok(())), LATER);
    assert_eq!(found, [Effect::Run(Operation::Shutdown)]);
    assert_eq!(course.task(), &*stop.task);
}

#[test]
fn an_equal_or_lowered_task_interrupts_nothing() {
    let mut course = at_work(Running, Running, Operation::Wait);
    assert_eq!(course.step(Input::Assigned(assignment(New, Running)), LATER), []);
    assert_eq!(course.step(Input::Assigned(assignment(New, Ready)), LATER), []);
    assert_eq!(course.task().desired_state(), Running);
}

#[test]
fn a_change_while_the_agent_is_told_waits_its_turn() {
    let mut course = at_work(Starting, Running, Operation::Start);
    let published = course.step(ended(Ok(())), LATER);
    assert!(matches!(published[..], [Effect::Publish(_)]));
    assert_eq!(course.step(Input::Assigned(assignment(New, Shutdown)), LATER), []);
    assert_eq!(course.step(Input::Published, LATER), [Effect::Run(Operation::Update)]);
}

#[test]
fn a_temporary_error_is_published_once_and_the_step_repeated() {
    let mut course = at_work(Preparing, Running, Operation::Prepare);
    let again = || ended(Err(ExecutorError::Temporary("not yet".to_owned())));
    let published = course.step(again(), LATER);
    assert!(matches!(&published[..], [Effect::Publish(status)] if status.err == "not yet"));
    assert_eq!(course.step(Input::Published, LATER), [Effect::Retry]);
    assert_eq!(course.step(Input::RetryDue, LATER), [Effect::Run(Operation::Prepare)]);
    assert_eq!(course.step(again(), LATER), [Effect::Retry]);
}

#[test]
fn a_task_that_is_not_wanted_is_removed_whatever_it_does() {
    let mut course = at_work(Running, Running, Operation::Wait);
    let leaving = Assignment { wanted: false, ..assignment(New, Running) };
    let found = course.step(Input::Assigned(leaving), LATER);
    assert_eq!(found, [Effect::Cancel, Effect::Run(Operation::Remove)]);
    assert_eq!(course.step(ended(Ok(())), LATER), [Effect::Depart { clean: true }]);
    assert_eq!(course.step(Input::Assigned(assignment(New, Shutdown)), LATER), []);
}

#[test]
fn a_removal_that_may_still_work_is_repeated_and_one_that_cannot_is_told_and_over() {
    let leaving = Assignment { wanted: false, ..assignment(Running, Running) };
    let (mut course, _) = Course::begin(leaving);
    assert_eq!(course.step(ended(Ok(())), LATER), [Effect::Run(Operation::Remove)]);
    let busy = ended(Err(ExecutorError::Temporary("busy".to_owned())));
    let complaint = Effect::Complain(Operation::Remove, "busy".to_owned());
    assert_eq!(course.step(busy, LATER), [complaint, Effect::Retry]);
    assert_eq!(course.step(Input::RetryDue, LATER), [Effect::Run(Operation::Remove)]);
    let complaint = Effect::Complain(Operation::Remove, "no".to_owned());
    assert_eq!(
        course.step(ended(failed("no")), LATER),
        [complaint, Effect::Depart { clean: false }]
    );
}

#[test]
fn a_task_without_a_controller_rests_and_can_be_removed() {
    let (mut course, _) = Course::begin(assignment(Assigned, Running));
    let published = course.step(ended(failed("unsupported")), LATER);
    assert!(matches!(&published[..], [Effect::Publish(status)] if status.state() == Rejected));
    assert_eq!(course.step(Input::Published, LATER), []);
    let leaving = Assignment { wanted: false, ..assignment(New, Running) };
    let found = course.step(Input::Assigned(leaving), LATER);
    assert_eq!(found, [Effect::Run(Operation::Resolve)]);
    let complaint = Effect::Complain(Operation::Resolve, "unsupported".to_owned());
    assert_eq!(
        course.step(ended(failed("unsupported")), LATER),
        [complaint, Effect::Depart { clean: false }]
    );
}

#[test]
fn an_update_that_the_controller_refuses_is_told_and_the_task_goes_on() {
    let mut course = at_work(Running, Running, Operation::Wait);
    course.step(Input::Assigned(assignment(New, Complete)), LATER);
    let complaint = Effect::Complain(Operation::Update, "unsupported".to_owned());
    let found = course.step(ended(failed("unsupported")), LATER);
    assert_eq!(found, [complaint, Effect::Run(Operation::Wait)]);
}
