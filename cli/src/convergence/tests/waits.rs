//! When waiting ends: what is seen look by look, and what that comes to.

use std::time::Duration;

use protocol::wire::{
    Meta, Service, Task,
    TaskState::{self, Failed, Pending, Rejected, Remove, Running, Shutdown, Starting},
    Version,
    restart_policy::RestartCondition,
};

use tonic::{Code, Status};

use super::{
    super::{
        judgement::{ENDS_MAX, PATIENCE, Seen},
        look::{LOOK_MAX, Silence, silence, within},
        patience::{Patience, SILENCE_MAX, STAYS_UP, Step},
    },
    restarting, seen, task,
};
use crate::error::Error;

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
fn what_was_replaced_before_the_wait_says_nothing() {
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
fn a_task_that_is_rejected_once_may_be_replaced() {
    let starting = |id| vec![task(id, 1, Running, Starting, "")];
    let rejected = |id| vec![task(id, 1, Shutdown, Rejected, "no such command")];
    let next = [rejected("a"), starting("bb")].concat();
    assert_eq!(wait_for([starting("a"), next]), None);
    let ended = wait_for(loop_of(Rejected, 2));
    let why = failed("task after task ends in slot 1: REJECTED: exit");
    assert_eq!(ended, Some((4 * ENDS_MAX, why)));
}

#[test]
fn what_is_told_to_go_may_end_as_it_likes() {
    let gone = |looks: [Vec<Task>; 40]| {
        looks.map(|tasks| {
            let mut tasks = tasks;
            for task in tasks.iter_mut().filter(|task| task.desired_state == Shutdown as i32) {
                task.desired_state = Remove.into();
            }
            tasks
        })
    };
    assert_eq!(wait_for(gone(loop_of(Failed, 2))), None, "their ends are asked for");
    let mut looks = loop_of(Failed, 5).map(|tasks| (tasks, Running));
    looks[4 * ENDS_MAX].1 = Remove;
    let looks = looks.map(|(mut tasks, desired)| {
        if desired == Remove {
            tasks.iter_mut().for_each(|task| task.desired_state = Remove.into());
        }
        tasks
    });
    let looks: Vec<_> = looks.into_iter().take(4 * ENDS_MAX + 1).collect();
    let looks: [_; 4 * ENDS_MAX + 1] = looks.try_into().unwrap();
    assert_eq!(wait_for(looks), None, "the whole slot goes");
}

#[test]
fn with_another_spec_ends_are_counted_anew() {
    let mut patience = Patience::default();
    let mut last = None;
    for (look, tasks) in loop_of(Failed, 5).into_iter().enumerate() {
        let index = if look < 4 * ENDS_MAX - 2 { 1 } else { 2 };
        let service = Service { spec_version: Some(Version { index }), ..Service::default() };
        let seen = Seen { desired: 1, service, ..seen(tasks) };
        let step = patience.look(&seen, Duration::from_millis(250) * look as u32);
        if !matches!(step, Step::Wait(_)) {
            last = Some((look, step));
            break;
        }
    }
    let why = failed("task after task ends in slot 1: FAILED: exit");
    assert_eq!(last, Some((4 * (2 * ENDS_MAX - 1), why)));
}

/// Looks for ten seconds at a service of three, one task of which may have ended for good.
fn wait_for_three(written: Option<u64>, past: Task, others: [TaskState; 2]) -> Option<Step> {
    let [two, three] = others;
    let others = [task("b", 2, Running, two, ""), task("c", 3, Running, three, "")];
    let tasks = [vec![past], others.to_vec()].concat();
    let service = restarting(RestartCondition::None, 0);
    let seen = Seen { service, desired: 3, ..seen(tasks) };
    let mut patience = Patience::since(written);
    (0..40).find_map(|look| match patience.look(&seen, Duration::from_millis(250) * look) {
        Step::Wait(_) => None,
        step @ (Step::Done | Step::Failed(_)) => Some(step),
    })
}

#[test]
fn what_had_ended_before_the_wait_is_left_as_it_is() {
    let past = |id, desired| task(id, 1, desired, TaskState::Complete, "");
    let up = [Running; 2];
    assert_eq!(wait_for_three(None, past("a", Shutdown), up), Some(Step::Done));
    assert_eq!(
        wait_for_three(None, past("a", Shutdown), [Running, Starting]),
        None,
        "of the others all"
    );
    assert_eq!(wait_for_three(None, past("old", Shutdown), up), None, "it is still to be replaced");
    assert_eq!(wait_for_three(None, past("a", Remove), up), None, "its slot is still to be filled");
    assert_eq!(wait_for_three(None, past("a", Running), up), None, "it may come back");
    let version = Some(Version { index: 7 });
    let past = Task { spec_version: version, ..past("a", Shutdown) };
    let done = wait_for_three(Some(6), past.clone(), up);
    assert_eq!(done, Some(Step::Done), "it is of another spec");
    let why = "task a in slot 1 has ended (COMPLETE) and does not come back";
    assert_eq!(wait_for_three(Some(7), past, up), Some(failed(why)), "it is what is waited for");
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
    assert_eq!(patience.silence("no leader", SILENCE_MAX), failed("no manager answers: no leader"));
}

#[test]
fn every_kind_of_obstacle_has_a_clock_of_its_own() {
    let second = Duration::from_secs(1);
    let is_over = |step: Step| !matches!(step, Step::Wait(_));
    let one = |tasks| Seen { desired: 1, ..seen(tasks) };
    let waiting = one(vec![task("a", 1, Running, Pending, "no suitable node")]);
    let ended = one(vec![task("a", 1, Shutdown, Failed, "exit")]);
    let ended = Seen { service: restarting(RestartCondition::Any, 0), ..ended };
    let mut patience = Patience::default();
    assert!(!is_over(patience.silence("no leader", Duration::ZERO)));
    assert!(!is_over(patience.look(&waiting, second * 20)), "that is a new one");
    assert!(is_over(patience.look(&waiting, second * 30)));
    let mut patience = Patience::default();
    assert!(!is_over(patience.look(&waiting, Duration::ZERO)));
    assert!(!is_over(patience.silence("no leader", second * 9)));
    assert!(!is_over(patience.silence("no leader", second * 29)));
    assert!(!is_over(patience.look(&waiting, second * 29)), "nobody knows of that time");
    assert!(!is_over(patience.look(&ended, second * 30 - second / 2)), "that is a new one");
    assert!(!is_over(patience.look(&waiting, second * 35)), "so is that");
    assert!(!is_over(patience.look(&waiting, second * 44)));
    assert!(is_over(patience.look(&waiting, second * 45)));
    let mut patience = Patience::default();
    for beat in 0..5 {
        assert!(!is_over(patience.silence("no leader", second * 20 * beat)));
        assert!(!is_over(patience.look(&one(vec![]), second * (20 * beat + 1))), "it answered");
    }
}

#[test]
fn no_answer_may_pass_and_every_other_error_stays_one() {
    let told = |error: Error| silence(error).ok().map(|Silence { why, is_cut }| (why, is_cut));
    let passes = |error: Error, why: &str, is_cut| {
        assert_eq!(told(error), Some((why.to_owned(), is_cut)));
    };
    passes(Status::unavailable("no leader").into(), "no leader", false);
    passes(Status::deadline_exceeded("no answer").into(), "no answer", false);
    passes(Error::Connection("refused".to_owned()), "refused", true);
    for code in [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal] {
        let mut broken = Status::new(code, "h2");
        broken.set_source(std::sync::Arc::new(std::io::Error::other("broken pipe")));
        passes(broken.into(), "the connection was lost", true);
    }
    for code in [Code::NotFound, Code::Unknown, Code::Internal, Code::ResourceExhausted] {
        assert_eq!(told(Status::new(code, "final").into()), None, "{code:?}");
    }
    assert_eq!(told(Error::Failed("final".to_owned())), None);
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_never_answers_is_silent() {
    let never = std::future::pending::<Result<(), Error>>();
    let error = within(LOOK_MAX, never).await.unwrap_err();
    let why = "no answer within 10 s".to_owned();
    assert_eq!(silence(error).unwrap(), Silence { why, is_cut: false });
    assert_eq!(within(LOOK_MAX, async { Ok(7) }).await.unwrap(), 7);
}
