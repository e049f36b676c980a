//! When waiting ends, and what is drawn meanwhile.

use std::time::Duration;

use protocol::wire::{
    Meta, RestartPolicy, Service, ServiceSpec, Task, TaskSpec, TaskState, TaskStatus, UpdateStatus,
    restart_policy::RestartCondition, update_status::UpdateState,
};

use super::{
    ends::Ends,
    judgement::{ENDS_MAX, PATIENCE, STOP_GRACE_PERIOD, Seen, Slot, Verdict, slots},
    patience::{Patience, SILENCE_MAX, STAYS_UP, Step},
    picture::Picture,
};

/// Judges what is seen for the first time.
fn judge(seen: &Seen) -> Verdict {
    super::judgement::judge(seen, &Ends::default())
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

use TaskState::{Failed, Pending, Rejected, Running, Shutdown, Starting};

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
    let stuck = Verdict::Stuck { why, patience: PATIENCE + STOP_GRACE_PERIOD };
    let mut seen = seen(vec![running("a", 1), running("b", 2), leaving]);
    assert_eq!(judge(&seen), stuck);
    seen.lost_nodes.insert("n1".to_owned());
    assert_eq!(judge(&seen), stuck, "its node is another one");
    seen.tasks[2].node_id = "n1".to_owned();
    assert_eq!(judge(&seen), runs(&["a", "b"]), "nobody will hear of it");
}

#[test]
fn an_update_that_halts_is_an_error() {
    let check = |state, expected| {
        let seen = Seen { service: updating(state), ..Seen::default() };
        assert_eq!(judge(&seen), expected);
    };
    let hopeless = |why: &str| Verdict::Hopeless(format!("{why}: why"));
    check(UpdateState::Updating, progressing("the update is still going on"));
    check(UpdateState::RollbackStarted, progressing("the update is still going on"));
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
    let stuck = Verdict::Stuck { why, patience: PATIENCE };
    assert_eq!(judge(&seen(vec![waiting("no suitable node")])), stuck);
}

/// Looks at a service of one, four times a second, and returns when the wait ended and how.
fn wait_for<const N: usize>(looks: [Vec<Task>; N]) -> Option<(usize, Step)> {
    let mut patience = Patience::default();
    looks.into_iter().enumerate().find_map(|(look, tasks)| {
        let seen = Seen { desired: 1, ..seen(tasks) };
        match patience.look(&seen, Duration::from_millis(250) * look as u32) {
            Step::Wait(_) => None,
            step @ (Step::Done | Step::Failed(_)) => Some((look, step)),
        }
    })
}

fn failed(why: &str) -> Step {
    Step::Failed(why.to_owned())
}

#[test]
fn tasks_have_to_stay_up() {
    let up = || vec![task("a", 1, Running, Running, "")];
    let looks = (STAYS_UP.as_millis() / 250) as usize;
    assert_eq!(wait_for::<30>(std::array::from_fn(|_| up())), Some((looks, Step::Done)));
    let other = || vec![task("b", 1, Running, Running, "")];
    let replaced = |look| if look < 10 { up() } else { other() };
    assert_eq!(wait_for::<40>(std::array::from_fn(replaced)), Some((10 + looks, Step::Done)));
    let nothing = Patience::default().look(&Seen::default(), Duration::ZERO);
    assert_eq!(nothing, Step::Done, "nothing is wanted, so nothing has to stay up");
}

/// One task after the other that ends in this state, while the manager keeps as many of them.
fn loop_of(state: TaskState, kept: usize) -> [Vec<Task>; 40] {
    let id = |number: usize| format!("{number:02}");
    let made = |number: usize, task: Task| {
        let created_at = Some(prost_types::Timestamp { seconds: number as i64, nanos: 0 });
        Task { meta: Some(Meta { created_at, ..Meta::default() }), ..task }
    };
    std::array::from_fn(|look| {
        let number = look / 4;
        let past = (number.saturating_sub(kept)..number)
            .map(|past| made(past, task(&id(past), 1, Shutdown, state, "exit")));
        let now = [Starting, Running, Running, Starting][look % 4];
        past.chain([made(number, task(&id(number), 1, Running, now, ""))]).collect()
    })
}

#[test]
fn tasks_that_end_again_and_again_are_an_error_however_many_are_kept() {
    let check = |state, kept, why: &str| {
        let ended = wait_for(loop_of(state, kept));
        assert_eq!(ended, Some((4 * ENDS_MAX, failed(why))), "{state:?}, {kept} kept");
    };
    for kept in [1, 2, 5] {
        check(Failed, kept, "task after task ends in slot 1: FAILED: exit");
        check(TaskState::Complete, kept, "task after task ends in slot 1: COMPLETE: exit");
    }
    let gone = "task after task ends in slot 1: it is gone, and so is its state";
    check(Failed, 0, gone);
}

#[test]
fn what_ended_before_the_wait_says_nothing() {
    let old = || vec![task("a", 1, Shutdown, Rejected, "no such command")];
    let with_old = |id: &str, state| [old(), vec![task(id, 1, Running, state, "")]].concat();
    let looks = std::array::from_fn(|_| with_old("bb", Running));
    let done = wait_for::<30>(looks);
    assert!(matches!(done, Some((_, Step::Done))), "the slot runs: {done:?}");
    let looks = std::array::from_fn(|_| with_old("bb", Starting));
    assert_eq!(wait_for::<30>(looks), None, "its next task is on its way");
    let three: Vec<_> = ["a", "aa", "aaa"].map(|id| task(id, 1, Shutdown, Failed, "exit")).into();
    let looks = std::array::from_fn(|_| {
        [three.clone(), vec![task("bbbb", 1, Running, Starting, "")]].concat()
    });
    assert_eq!(wait_for::<30>(looks), None);
}

#[test]
fn a_task_that_is_rejected_meanwhile_is_an_error() {
    let starting = |id| vec![task(id, 1, Running, Starting, "")];
    let rejected = |id| vec![task(id, 1, Shutdown, Rejected, "no such command")];
    let next = [rejected("a"), starting("bb")].concat();
    let why = failed("task a was rejected: REJECTED: no such command");
    assert_eq!(wait_for([starting("a"), next]), Some((1, why)));
    let next = [rejected("old"), starting("bb")].concat();
    assert_eq!(wait_for([starting("old"), next]), None, "that was another spec");
    let next = [rejected("a"), vec![task("bb", 1, Running, Running, "")]].concat();
    assert_eq!(wait_for([starting("a"), next]), None, "another one runs");
}

#[test]
fn what_is_waited_for_says_what_ended() {
    let mut patience = Patience::default();
    let failed = task("a", 1, Shutdown, Failed, "exit 1");
    let next = task("bb", 1, Running, Pending, "");
    let looks = [vec![task("a", 1, Running, Starting, "")], vec![failed, next]];
    let [_, text] =
        looks.map(|tasks| patience.look(&Seen { desired: 1, ..seen(tasks) }, Duration::ZERO));
    let expected = "0 of 1 tasks run, task bb in slot 1 is PENDING (1 before it ended, the last \
                    one: FAILED: exit 1)";
    assert_eq!(text, Step::Wait(expected.to_owned()));
}

#[test]
fn what_passes_is_no_error_and_what_lasts_is() {
    let mut patience = Patience::default();
    let is_over = |step: Step| !matches!(step, Step::Wait(_));
    let waiting = Seen { desired: 1, ..seen(vec![task("a", 1, Running, Pending, "no node")]) };
    let starting = Seen { desired: 1, ..seen(vec![task("a", 1, Running, Starting, "")]) };
    let almost = PATIENCE - Duration::from_millis(1);
    assert!(!is_over(patience.look(&waiting, Duration::ZERO)));
    assert!(!is_over(patience.look(&waiting, almost)));
    assert!(!is_over(patience.look(&starting, PATIENCE)));
    assert!(!is_over(patience.look(&waiting, PATIENCE)));
    let why = "task a in slot 1: no node";
    assert_eq!(patience.look(&waiting, PATIENCE * 2), failed(why));
    let mut patience = Patience::default();
    assert!(!is_over(patience.silence("no leader", Duration::ZERO)));
    assert!(!is_over(patience.silence("no leader", SILENCE_MAX - Duration::from_millis(1))));
    assert_eq!(patience.silence("no leader", SILENCE_MAX), failed("no manager answers: no leader"),);
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
    let later = ended(restarting(RestartCondition::Any, 7), Failed);
    let patience = PATIENCE + Duration::from_secs(7);
    assert_eq!(judge(&later), Verdict::Stuck { why: hopeless(Failed), patience });
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

#[test]
fn pictures_lie_over_one_another_and_are_for_terminals_alone() {
    let slot = |number, state, error: &str| Slot { number, state, error: error.to_owned() };
    let slots = [slot(1, Running, ""), slot(2, Pending, "no\nnode")];
    let start = Duration::ZERO;
    let mut plain = Picture::with(true, false);
    let first =
        "     1 [====================] RUNNING \n     2 [==                  ] PENDING nonode\n";
    assert_eq!(plain.next(&slots, "", start), format!("\u{1b}[J{first}"));
    assert_eq!(plain.next(&slots, "", start), format!("\u{1b}[2A\u{1b}[J{first}"));
    let coloured = Picture::with(true, true).next(&slots, "", start);
    assert!(coloured.contains("\u{1b}[32mRUNNING\u{1b}[0m"), "{coloured}");
    assert!(coloured.contains("\u{1b}[31mPENDING\u{1b}[0m"), "{coloured}");
    let text = plain.next(&slots[..1], "one\nmore", start);
    assert!(text.ends_with("RUNNING \nonemore\n"), "{text}");
    assert!(plain.next(&slots, "", start).starts_with("\u{1b}[2A"), "the text is drawn over, too");
    let many: Vec<_> = (1..=30).map(|number| slot(number, Running, "")).collect();
    let drawn = Picture::with(true, false).next(&many, "", start);
    assert!(drawn.ends_with("... and 10 more, of which 10 run\n"), "{drawn}");
    assert_eq!(drawn.lines().count(), 21);
}

#[test]
fn where_there_is_no_terminal_what_is_waited_for_is_told_now_and_then() {
    let mut picture = Picture::with(false, true);
    let mut told = |seconds, text| picture.next(&[], text, Duration::from_secs(seconds));
    assert_eq!(told(0, "a"), "");
    assert_eq!(told(14, "a"), "");
    assert_eq!(told(15, "a"), "waiting: a\n");
    assert_eq!(told(16, "b"), "");
    assert_eq!(told(30, "b"), "waiting: b\n");
    assert_eq!(told(60, ""), "", "it is over");
}
