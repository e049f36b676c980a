//! When waiting ends, and what is drawn meanwhile.

use std::time::Duration;

use protocol::wire::{
    Meta, RestartPolicy, Service, ServiceSpec, Task, TaskSpec, TaskState, TaskStatus, UpdateStatus,
    restart_policy::RestartCondition, update_status::UpdateState,
};

use super::{
    judgement::{PATIENCE, STOP_GRACE_PERIOD, Seen, Slot, Verdict, judge, slots},
    picture::Picture,
};

fn task(id: &str, slot: u64, desired: TaskState, state: TaskState, err: &str) -> Task {
    let created_at = Some(prost_types::Timestamp { seconds: id.len() as i64, nanos: 0 });
    Task {
        id: id.to_owned(),
        meta: Some(Meta { created_at, ..Meta::default() }),
        slot,
        desired_state: desired.into(),
        status: Some(TaskStatus { state: state.into(), err: err.to_owned(), ..Default::default() }),
        ..Task::default()
    }
}

/// A service of two, with these tasks, all of which are up to date unless their id starts with o.
fn seen(tasks: Vec<Task>) -> Seen {
    let up_to_date = tasks.iter().map(|task| task.id.clone()).filter(|id| !id.starts_with('o'));
    Seen { desired: 2, up_to_date: up_to_date.collect(), tasks, ..Seen::default() }
}

fn restarting(condition: RestartCondition, delay: i64) -> Service {
    let restart = Some(RestartPolicy {
        condition: condition.into(),
        delay: Some(prost_types::Duration { seconds: delay, nanos: 0 }),
        ..RestartPolicy::default()
    });
    let task = Some(TaskSpec { restart, ..TaskSpec::default() });
    Service { spec: Some(ServiceSpec { task, ..Default::default() }), ..Service::default() }
}

fn updating(state: UpdateState) -> Service {
    let status = UpdateStatus { state: state.into(), message: "why".into(), ..Default::default() };
    Service { update_status: Some(status), ..Service::default() }
}

use TaskState::{Failed, Pending, Rejected, Running, Shutdown, Starting};

#[test]
fn it_has_converged_when_every_slot_runs_the_newest_task() {
    let running = |id, slot| task(id, slot, Running, Running, "");
    assert_eq!(judge(&seen(vec![running("a", 1), running("b", 2)])), Verdict::Converged);
    let starting = task("b", 2, Running, Starting, "");
    assert_eq!(judge(&seen(vec![running("a", 1), starting])), Verdict::Progressing);
    assert_eq!(judge(&seen(vec![running("a", 1)])), Verdict::Progressing);
    assert_eq!(judge(&seen(vec![running("a", 1), running("old", 2)])), Verdict::Progressing);
    let three = vec![running("a", 1), running("b", 2), running("c", 3)];
    assert_eq!(judge(&seen(three)), Verdict::Progressing, "one is still to be stopped");
    let ended = task("o", 2, Shutdown, Shutdown, "");
    assert_eq!(judge(&seen(vec![running("a", 1), running("bb", 2), ended])), Verdict::Converged);
    assert_eq!(judge(&Seen::default()), Verdict::Converged, "nothing is wanted");
}

#[test]
fn it_has_not_converged_while_what_should_stop_still_runs() {
    let running = |id, slot| task(id, slot, Running, Running, "");
    let leaving = task("c", 3, Shutdown, Running, "");
    let why = "task c in slot 3 does not stop".to_owned();
    let stuck = Verdict::Stuck { why, patience: PATIENCE + STOP_GRACE_PERIOD };
    assert_eq!(judge(&seen(vec![running("a", 1), running("b", 2), leaving])), stuck);
}

#[test]
fn an_update_that_halts_is_an_error() {
    let check = |state, expected| {
        let seen = Seen { service: updating(state), ..Seen::default() };
        assert_eq!(judge(&seen), expected);
    };
    let hopeless = |why: &str| Verdict::Hopeless(format!("{why}: why"));
    check(UpdateState::Updating, Verdict::Progressing);
    check(UpdateState::RollbackStarted, Verdict::Progressing);
    check(UpdateState::Completed, Verdict::Converged);
    check(UpdateState::Paused, hopeless("the update is paused"));
    check(UpdateState::RollbackPaused, hopeless("the rollback is paused"));
    check(UpdateState::RollbackCompleted, hopeless("the update was rolled back"));
}

#[test]
fn a_task_without_a_node_is_an_error_when_that_lasts() {
    let waiting = |err| task("b", 2, Running, Pending, err);
    assert_eq!(judge(&seen(vec![waiting("")])), Verdict::Progressing);
    let why = "task b in slot 2: no suitable node".to_owned();
    let stuck = Verdict::Stuck { why, patience: PATIENCE };
    assert_eq!(judge(&seen(vec![waiting("no suitable node")])), stuck);
}

#[test]
fn tasks_that_are_rejected_or_fail_again_and_again_are_an_error() {
    let rejected = task("a", 1, Shutdown, Rejected, "no such command");
    let why = "task a was rejected: no such command".to_owned();
    assert_eq!(judge(&seen(vec![rejected.clone()])), Verdict::Hopeless(why));
    let old = Task { id: "old".to_owned(), ..rejected };
    assert_eq!(judge(&seen(vec![old])), Verdict::Progressing, "that was another spec");
    let failed = |id| task(id, 1, Shutdown, Failed, "exit 1");
    let next = || task("aaaa", 1, Running, Starting, "");
    assert_eq!(judge(&seen(vec![failed("a"), failed("aa"), next()])), Verdict::Progressing);
    let why = "task after task fails in slot 1: exit 1".to_owned();
    let thrice = vec![failed("a"), failed("aa"), failed("aaa"), next()];
    assert_eq!(judge(&seen(thrice)), Verdict::Hopeless(why));
}

#[test]
fn a_task_that_ends_and_does_not_come_back_is_an_error() {
    let ended = |service| Seen { service, ..seen(vec![task("a", 1, Shutdown, Failed, "exit 1")]) };
    let why = "task a in slot 1 has ended (FAILED) and does not come back".to_owned();
    let never = ended(restarting(RestartCondition::None, 0));
    assert_eq!(judge(&never), Verdict::Hopeless(why.clone()));
    let later = ended(restarting(RestartCondition::Any, 7));
    let patience = PATIENCE + Duration::from_secs(7);
    assert_eq!(judge(&later), Verdict::Stuck { why, patience });
}

#[test]
fn bars_show_the_newest_task_of_each_slot() {
    let seen = seen(vec![
        task("a", 1, Shutdown, Failed, "exit 1"),
        task("aa", 1, Running, Starting, ""),
        task("b", 2, Running, Running, ""),
        task("c", 3, Shutdown, Running, ""),
    ]);
    let slot = |number, state| Slot { number, state, error: String::new() };
    assert_eq!(slots(&seen), [slot(1, Starting), slot(2, Running)]);
}

#[test]
fn pictures_lie_over_one_another_and_are_for_terminals_alone() {
    let slot = |number, state, error: &str| Slot { number, state, error: error.to_owned() };
    let slots = [slot(1, Running, ""), slot(2, Pending, "no\nnode")];
    assert_eq!(Picture::with(false, true).next(&slots), "");
    let mut plain = Picture::with(true, false);
    let first =
        "     1 [====================] RUNNING \n     2 [==                  ] PENDING nonode\n";
    assert_eq!(plain.next(&slots), format!("\u{1b}[J{first}"));
    assert_eq!(plain.next(&slots), format!("\u{1b}[2A\u{1b}[J{first}"));
    let coloured = Picture::with(true, true).next(&slots);
    assert!(coloured.contains("\u{1b}[32mRUNNING\u{1b}[0m"), "{coloured}");
    assert!(coloured.contains("\u{1b}[31mPENDING\u{1b}[0m"), "{coloured}");
    let many: Vec<_> = (1..=30).map(|number| slot(number, Running, "")).collect();
    let drawn = Picture::with(true, false).next(&many);
    assert!(drawn.ends_with("... and 10 more, of which 10 run\n"), "{drawn}");
    assert_eq!(drawn.lines().count(), 21);
}
