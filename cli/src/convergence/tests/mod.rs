//! What is to be thought of a service at one look.

mod picture;
mod waits;

use std::time::Duration;

use protocol::wire::{
    ContainerSpec, Meta, RestartPolicy, Service, ServiceSpec, Task, TaskSpec, TaskState,
    TaskStatus, UpdateStatus, restart_policy::RestartCondition, task_spec::Runtime,
    update_status::UpdateState,
};

use super::{
    ends::Ends,
    judgement::{Obstacle, PATIENCE, STOP_GRACE_PERIOD, Seen, Slot, Verdict, slots},
};

/// Judges what is seen after a look that saw nothing.
fn judge(seen: &Seen) -> Verdict {
    let mut ends = Ends::default();
    ends.count(&Seen { service: seen.service.clone(), ..Seen::default() });
    ends.count(seen);
    super::judgement::judge(seen, &ends)
}

fn runs(ids: &[&str]) -> Verdict {
    Verdict::Runs(ids.iter().map(|id| (*id).to_owned()).collect())
}

fn progressing(text: &str) -> Verdict {
    Verdict::Progressing(text.to_owned())
}

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

use TaskState::{Assigned, Failed, Pending, Preparing, Running, Shutdown, Starting};

#[test]
fn all_run_when_every_slot_runs_the_newest_task() {
    let running = |id, slot| task(id, slot, Running, Running, "");
    assert_eq!(judge(&seen(vec![running("a", 1), running("b", 2)])), runs(&["a", "b"]));
    let starting = task("b", 2, Running, Starting, "");
    let text = "1 of 2 tasks run, task b in slot 2 is STARTING";
    assert_eq!(judge(&seen(vec![running("a", 1), starting])), progressing(text));
    assert_eq!(judge(&seen(vec![running("a", 1)])), progressing("1 of 2 tasks run"));
    let text = "1 of 2 tasks run, task old in slot 2 is RUNNING as the service was before";
    assert_eq!(judge(&seen(vec![running("a", 1), running("old", 2)])), progressing(text));
    let three = vec![running("a", 1), running("b", 2), running("c", 3)];
    assert_eq!(judge(&seen(three)), progressing("3 of 2 tasks run"), "one is still to be stopped");
    let ended = task("o", 2, Shutdown, Shutdown, "");
    let seen = seen(vec![running("a", 1), running("bb", 2), ended]);
    assert_eq!(judge(&seen), runs(&["a", "bb"]));
    assert_eq!(judge(&Seen::default()), runs(&[]), "nothing is wanted");
}

#[test]
fn it_has_not_converged_while_what_should_stop_still_runs() {
    let running = |id, slot| task(id, slot, Running, Running, "");
    let leaving = task("c", 3, Shutdown, Running, "");
    let why = "task c in slot 3 does not stop".to_owned();
    let stuck =
        Verdict::Stuck { obstacle: Obstacle::Leaving, why, patience: PATIENCE + STOP_GRACE_PERIOD };
    let mut seen = seen(vec![running("a", 1), running("b", 2), leaving]);
    assert_eq!(judge(&seen), stuck);
    seen.lost_nodes.insert("n1".to_owned());
    assert_eq!(judge(&seen), stuck, "its node is another one");
    seen.tasks[2].node_id = "n1".to_owned();
    assert_eq!(judge(&seen), runs(&["a", "b"]), "nobody will hear of it");
}

#[test]
fn what_should_stop_is_waited_for_from_its_node_to_its_end() {
    let running = |id, slot| task(id, slot, Running, Running, "");
    let check = |state, is_waited_for| {
        let leaving = task("c", 3, Shutdown, state, "");
        let verdict = judge(&seen(vec![running("a", 1), running("b", 2), leaving]));
        assert_eq!(verdict != runs(&["a", "b"]), is_waited_for, "{state:?}");
    };
    check(Pending, false);
    for state in [Assigned, TaskState::Accepted, Preparing, TaskState::Ready, Starting, Running] {
        check(state, true);
    }
    for state in [TaskState::Complete, Shutdown, Failed, TaskState::Orphaned] {
        check(state, false);
    }
}

#[test]
fn what_should_stop_has_the_time_that_its_spec_gives_it() {
    let check = |seconds, nanos, expected| {
        let stop_grace_period = Some(prost_types::Duration { seconds, nanos });
        let container = ContainerSpec { stop_grace_period, ..ContainerSpec::default() };
        let runtime = Some(Runtime::Container(container));
        let spec = Some(TaskSpec { runtime, ..TaskSpec::default() });
        let seen = Seen {
            tasks: vec![Task { spec, ..task("a", 1, Shutdown, Running, "") }],
            ..Seen::default()
        };
        let Verdict::Stuck { patience, .. } = judge(&seen) else { panic!("it is waited for") };
        assert_eq!(patience, PATIENCE + expected, "{seconds} s");
    };
    check(90, 500_000_000, Duration::from_millis(90_500));
    check(0, 0, Duration::ZERO);
    check(-1, 0, Duration::ZERO);
}

#[test]
fn an_update_that_halts_is_an_error_and_a_rollback_is_its_tasks() {
    let check = |state, expected| {
        let seen = Seen { service: updating(state), ..Seen::default() };
        assert_eq!(judge(&seen), expected);
    };
    let hopeless = |why: &str| Verdict::Hopeless(format!("{why}: why"));
    check(UpdateState::Updating, progressing("the update is still going on"));
    check(UpdateState::RollbackStarted, runs(&[]));
    check(UpdateState::Completed, runs(&[]));
    check(UpdateState::Paused, hopeless("the update is paused"));
    check(UpdateState::RollbackPaused, hopeless("the rollback is paused"));
    check(UpdateState::RollbackCompleted, hopeless("the update was rolled back"));
}

#[test]
fn a_task_without_a_node_is_an_error_when_that_lasts() {
    let waiting = |err| task("b", 2, Running, Pending, err);
    let text = "0 of 2 tasks run, task b in slot 2 is PENDING";
    assert_eq!(judge(&seen(vec![waiting("")])), progressing(text));
    let why = "task b in slot 2: no suitable node".to_owned();
    let stuck = Verdict::Stuck { obstacle: Obstacle::Unplaced, why, patience: PATIENCE };
    assert_eq!(judge(&seen(vec![waiting("no suitable node")])), stuck);
}

#[test]
fn a_task_that_ends_and_does_not_come_back_is_an_error() {
    let ended =
        |service, state| Seen { service, ..seen(vec![task("a", 1, Shutdown, state, "exit")]) };
    let hopeless = |state: TaskState| {
        let state = state.as_str_name();
        format!("task a in slot 1 has ended ({state}: exit) and does not come back")
    };
    let complete = TaskState::Complete;
    let never = ended(restarting(RestartCondition::None, 0), Failed);
    assert_eq!(judge(&never), Verdict::Hopeless(hopeless(Failed)));
    let done = ended(restarting(RestartCondition::OnFailure, 0), complete);
    assert_eq!(judge(&done), Verdict::Hopeless(hopeless(complete)));
    let back = |state, delay| Verdict::Stuck {
        obstacle: Obstacle::Ended,
        why: hopeless(state),
        patience: PATIENCE + Duration::from_secs(delay),
    };
    let later = ended(restarting(RestartCondition::Any, 7), Failed);
    assert_eq!(judge(&later), back(Failed, 7));
    let later = ended(Service::default(), complete);
    assert_eq!(judge(&later), back(complete, 5), "without a policy it comes back after a while");
    let given_up = seen(vec![task("a", 1, TaskState::Remove, Failed, "exit")]);
    assert_eq!(judge(&given_up), progressing("0 of 2 tasks run"), "its slot is to go");
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
