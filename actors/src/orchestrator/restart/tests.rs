//! Which tasks are replaced and when replacements start, as tables; and the actor on the paused
//! clock.

mod rows;

use prost_types::Duration as Stored;
use protocol::{
    id::ServiceId,
    objects::{Kind, Object, Task, TaskState},
    wire::{TaskSpec, restart_policy::RestartCondition, service_spec::Mode},
};
use tokio::time::sleep;

use super::{
    super::testing::{at, change, commit, observe, run, runnable, served, service, spec, view},
    logic::{Reason, STOP_WAIT_MAX, carry_out, delay, judge, starts_after, touched},
    *,
};
use crate::{environment::testing::environment, store::testing, supervision::Tree};

const ANY: RestartCondition = RestartCondition::Any;
const LEFT: fn(Reason) -> Verdict = Verdict::Leave;

#[track_caller]
fn check(spec: &TaskSpec, tasks: &str, id: &str, expected: Verdict) {
    let view = served(&service(9, spec), tasks);
    assert_eq!(judge(&view, &id.into()), expected, "{id} of {tasks}");
}

#[test]
fn a_task_is_over_when_it_ended_or_lost_its_node() {
    let any = spec(ANY, 0);
    check(&any, "1:new", "t1", LEFT(Reason::Alive));
    check(&any, "1:running@n1", "t1", LEFT(Reason::Alive));
    for ended in ["1:complete@n1", "1:failed@n1", "1:rejected@n1", "1:shutdown@n1", "1:orphaned"] {
        check(&any, ended, "t1", Verdict::Replace);
    }
    for lost in ["1:running@down", "1:running@drained", "1:assigned@gone"] {
        check(&any, lost, "t1", Verdict::Replace);
    }
    check(&any, "1:failed>shutdown", "t1", LEFT(Reason::Stopping));
    check(&any, "1:rejected>ready", "t1", LEFT(Reason::NotStarted));
    check(&any, "1:running>ready@down", "t1", LEFT(Reason::NotStarted));
    check(&any, "1:failed", "t2", LEFT(Reason::Gone));
    check(&any, "1:failed 1:running", "t1", Verdict::End);
    check(&any, "1:failed 2:running", "t1", Verdict::Replace);
}

#[test]
fn the_condition_says_whether_there_is_another() {
    let (never, on_failure) =
        (spec(RestartCondition::None, 0), spec(RestartCondition::OnFailure, 0));
    check(&never, "1:failed", "t1", Verdict::End);
    check(&never, "1:running@down", "t1", Verdict::End);
    check(&on_failure, "1:complete", "t1", Verdict::End);
    check(&on_failure, "1:failed", "t1", Verdict::Replace);
    check(&on_failure, "1:running@down", "t1", Verdict::Replace);
    check(&TaskSpec::default(), "1:complete", "t1", Verdict::Replace);
}

#[test]
fn attempts_are_counted_by_slot_and_version() {
    let twice = spec(ANY, 2);
    check(&twice, "1:failed", "t1", Verdict::Replace);
    check(&twice, "1:failed>shutdown 1:failed", "t2", Verdict::Replace);
    check(&twice, "1:failed>shutdown 1:failed>shutdown 1:failed", "t3", Verdict::End);
    check(&twice, "1:failed>shutdown 2:failed>shutdown 1:failed", "t3", Verdict::Replace);
    check(&twice, "1!:failed>shutdown 1!:failed>shutdown 1:failed", "t3", Verdict::Replace);
}

#[test]
fn only_restarts_within_the_window_count() {
    // Tasks are made and end a second after each other.
    let tasks = "1:failed>shutdown 1:failed>shutdown 1:failed>shutdown 1:failed";
    for (seconds, expected) in
        [(0, Verdict::End), (1, Verdict::Replace), (2, Verdict::Replace), (3, Verdict::End)]
    {
        let mut twice = spec(ANY, 2);
        let restart = twice.restart.as_mut().unwrap();
        restart.window = Some(Stored { seconds, nanos: 0 });
        check(&twice, tasks, "t4", expected);
    }
}

#[test]
fn tasks_of_others_are_left_alone() {
    let any = spec(ANY, 0);
    let mut global = service(1, &any);
    let mut wish = global.spec.as_ref().clone();
    wish.mode = Some(Mode::Global(Default::default()));
    global.spec = wish.into();
    assert_eq!(judge(&served(&global, "0:failed"), &"t1".into()), LEFT(Reason::NotReplicated));
    let mut leaving = service(1, &any);
    leaving.pending_delete = true;
    assert_eq!(judge(&served(&leaving, "1:failed"), &"t1".into()), LEFT(Reason::Gone));
    let alone = super::super::testing::tasks("1:failed", &any);
    let alone = view(alone.into_iter().map(Object::from));
    assert_eq!(judge(&alone, &"t1".into()), LEFT(Reason::Gone));
}

#[test]
fn a_task_is_replaced_once() {
    let mut random = StdRng::seed_from_u64(1);
    let before = served(&service(1, &spec(ANY, 0)), "1:failed@n1");
    let mut restart = |view: &View| {
        commit(view, 200, |head| {
            let mut room = Room::new();
            assert!(carry_out(head, &"t1".into(), &mut room, at(200), &mut random).unwrap());
        })
    };
    let once = restart(&before);
    let states: Vec<_> = once.tasks().map(|task| task.desired_state).collect();
    assert_eq!((states.len(), runnable(&once)), (2, 1));
    assert!(states.contains(&TaskState::READY) && states.contains(&TaskState::SHUTDOWN));
    assert_eq!(restart(&once).tasks().count(), 2);
}

#[track_caller]
fn check_delay(delay_stored: Option<Stored>, tasks: &str, expected: Duration) {
    let mut any = spec(ANY, 0);
    any.restart.as_mut().unwrap().delay = delay_stored;
    let view = served(&service(1, &any), tasks);
    assert_eq!(delay(&view, waiting(&view)), expected, "{tasks}");
}

fn waiting(view: &View) -> &Task {
    view.tasks().find(|task| task.desired_state == TaskState::READY).unwrap()
}

#[test]
fn the_delay_says_why_a_task_was_made() {
    let seconds = |seconds| Some(Stored { seconds, nanos: 0 });
    let failed = "1:failed>shutdown@n1 1:new>ready";
    check_delay(None, failed, Duration::from_secs(5));
    check_delay(seconds(-1), failed, Duration::from_secs(5));
    check_delay(seconds(0), failed, Duration::ZERO);
    check_delay(seconds(9), failed, Duration::from_secs(9));
    check_delay(None, "1:running>shutdown@down 1:new>ready", Duration::from_secs(5));
    check_delay(None, "1:running>shutdown@drained 1:new>ready", Duration::ZERO);
    check_delay(None, "1!:running>shutdown@n1 1:new>ready", Duration::ZERO);
    check_delay(None, "1~:failed>shutdown@n1 1:new>ready", Duration::from_secs(5));
    // The newest counts; and without any the cause is not known.
    check_delay(None, "1!:failed>shutdown 1:failed>shutdown 1:new>ready", Duration::from_secs(5));
    check_delay(None, "2!:failed>shutdown 1:new>ready", Duration::from_secs(5));
}

#[track_caller]
fn check_start(tasks: &str, waited: u64, expected: Option<Duration>) {
    let view = served(&service(1, &spec(ANY, 0)), tasks);
    let (delay, waited) = (Duration::from_secs(5), Duration::from_secs(waited));
    assert_eq!(starts_after(&view, waiting(&view), delay, waited), expected, "{tasks}");
}

#[test]
fn a_replacement_waits_for_its_delay_and_for_the_task_before_it() {
    let delay = Some(Duration::from_secs(5));
    check_start("1:failed>shutdown@n1 1:new>ready", 4, delay);
    check_start("1:failed>shutdown@n1 1:new>ready", 5, None);
    check_start("1:running>shutdown@n1 1:new>ready", 4, delay);
    check_start("1:running>shutdown@n1 1:new>ready", 5, Some(STOP_WAIT_MAX));
    check_start("1:running>shutdown@n1 1:new>ready", 60, None);
    check_start("1:pending>shutdown 1:new>ready", 5, None);
    check_start("1:running>shutdown@down 1:new>ready", 5, None);
    check_start("1:running>shutdown@gone 1:new>ready", 5, None);
    check_start("2:running>shutdown@n1 1:new>ready", 5, None);
}

#[test]
fn a_task_that_stops_wakes_the_one_that_waits_for_it() {
    let before = served(&service(1, &spec(ANY, 0)), "1:running>shutdown@n1 1:new>ready");
    let after = |write: &dyn Fn(&mut Transaction)| {
        let mut transaction = Transaction::begin(&before);
        write(&mut transaction);
        let sealed = transaction.seal(before.index() + 1, at(9));
        touched(&sealed.view, &sealed.changes).contains(&"t2".into())
    };
    assert!(after(&|head| change(head, "t1", |task| observe(task, "n1", "shutdown"))));
    assert!(after(&|head| head.remove(Kind::Task, &"t1".into()).unwrap()));
    assert!(after(&|head| head.remove(Kind::Node, &"n1".into()).unwrap()));
    assert!(!after(&|head| head.remove(Kind::Node, &"n2".into()).unwrap()));
}

/// The actor over a store whose commits take a while.
fn start(tree: &Tree, view: View, commits_after: Duration) -> Store {
    let store = testing::start_slow(tree, view, commits_after);
    let subject = store.clone();
    tree.child_with_address("restart", move |life, own| {
        Restart::new(subject.clone(), environment(), life, own)
    });
    store
}

async fn write(store: &Store, write: impl FnOnce(&mut Transaction) + Send + 'static) {
    let written = store.transact(|head| {
        write(head);
        Ok::<_, ()>(())
    });
    written.await.unwrap();
}

fn desired(store: &Store) -> Vec<TaskState> {
    let service = ServiceId::from("s");
    let mut tasks: Vec<_> = store.view().tasks_of_service(&service).cloned().collect();
    tasks.sort_by_key(|task| task.meta.created_at.as_ref().map(moment::nanos));
    tasks.iter().map(|task| task.desired_state).collect()
}

#[test]
fn a_task_that_fails_is_back_after_the_delay() {
    run(async |tree| {
        let view = served(&service(1, &spec(ANY, 0)), "1:running@n1");
        let store = start(tree, view, Duration::ZERO);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(desired(&store), [TaskState::RUNNING]);
        write(&store, |head| change(head, "t1", |task| observe(task, "n1", "failed"))).await;
        sleep(Duration::from_millis(4_900)).await;
        assert_eq!(desired(&store), [TaskState::SHUTDOWN, TaskState::READY]);
        sleep(Duration::from_millis(200)).await;
        assert_eq!(desired(&store), [TaskState::SHUTDOWN, TaskState::RUNNING]);
    });
}

#[test]
fn slow_commits_replace_each_task_once() {
    run(async |tree| {
        let words: Vec<_> = (1..=300).map(|slot| format!("{slot}:running@n1")).collect();
        let view = served(&service(300, &spec(ANY, 0)), &words.join(" "));
        let store = start(tree, view, Duration::from_millis(500));
        sleep(Duration::from_secs(1)).await;
        // Reports come in while replacements are on their way.
        for half in 0..2 {
            write(&store, move |head| {
                for number in (1..=300).filter(|number| number % 2 == half) {
                    let id = format!("t{number}");
                    change(head, &id, |task| observe(task, "n1", "failed"));
                }
            })
            .await;
        }
        sleep(Duration::from_secs(30)).await;
        let states = desired(&store);
        assert_eq!(states.len(), 600);
        assert_eq!(states.iter().filter(|state| **state == TaskState::RUNNING).count(), 300);
    });
}

#[test]
fn a_task_that_does_not_stop_is_waited_for_a_minute() {
    run(async |tree| {
        let view = served(&service(1, &spec(ANY, 0)), "1:running@n1 1:new>ready");
        let view = commit(&view, 0, |head| {
            change(head, "t1", |task| task.desired_state = TaskState::SHUTDOWN);
            change(head, "t2", |task| task.meta.created_at = Some(at(-20)));
        });
        let store = start(tree, view, Duration::ZERO);
        sleep(Duration::from_secs(39)).await;
        assert_eq!(desired(&store)[0], TaskState::READY);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(desired(&store)[0], TaskState::RUNNING);
    });
}

#[test]
fn a_new_leader_waits_for_what_is_left_of_the_delay() {
    run(async |tree| {
        let view = served(&service(1, &spec(ANY, 0)), "1:failed>shutdown@n1 1:new>ready");
        let view = commit(&view, 0, |head| {
            change(head, "t2", |task| task.meta.created_at = Some(at(-3)));
        });
        // The story of the task before it does not matter any more once it has been read.
        let store = start(tree, view, Duration::ZERO);
        sleep(Duration::from_millis(1_900)).await;
        assert!(desired(&store).contains(&TaskState::READY));
        sleep(Duration::from_millis(200)).await;
        assert!(!desired(&store).contains(&TaskState::READY));
    });
}

#[test]
fn a_replacement_that_fails_early_is_replaced_after_its_own_delay() {
    run(async |tree| {
        let view = served(&service(1, &spec(ANY, 0)), "1:failed>shutdown@n1 1:rejected>ready@n1");
        let view = commit(&view, 0, |head| {
            change(head, "t2", |task| task.meta.created_at = Some(at(0)));
        });
        let store = start(tree, view, Duration::ZERO);
        sleep(Duration::from_secs(4)).await;
        assert_eq!(desired(&store).len(), 2);
        sleep(Duration::from_secs(2)).await;
        let (stopped, ready) = (TaskState::SHUTDOWN, TaskState::READY);
        assert_eq!(desired(&store), [stopped, stopped, ready]);
    });
}

#[test]
fn a_drained_node_gives_up_its_tasks() {
    run(async |tree| {
        let view = served(&service(2, &spec(ANY, 0)), "1:running@n1 2:running@n2");
        let store = start(tree, view, Duration::ZERO);
        sleep(Duration::from_secs(1)).await;
        write(&store, |head| {
            let mut node = head.node(&"n1".into()).unwrap().as_ref().clone();
            let mut wish = node.spec.as_ref().clone();
            wish.set_availability(protocol::wire::node_spec::Availability::Drain);
            node.spec = wish.into();
            head.update(node).unwrap();
        })
        .await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(desired(&store).len(), 3, "its replacement waits for it to stop");
        write(&store, |head| change(head, "t1", |task| observe(task, "n1", "shutdown"))).await;
        sleep(Duration::from_millis(100)).await;
        assert_eq!(runnable(&store.view()), 2);
        assert!(!desired(&store).contains(&TaskState::READY), "and for nothing else");
    });
}
