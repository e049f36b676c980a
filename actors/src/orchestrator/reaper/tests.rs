//! What is forgotten, as a table; and the actor on the paused clock.

use protocol::{
    objects::Object,
    wire::{TaskSpec, restart_policy::RestartCondition, service_spec::Mode},
};
use tokio::time::sleep;

use super::{
    super::testing::{
        at, change, cluster, commit, observe, run, served, service, spec, tasks, view,
    },
    logic::{carry_out, changes_history, places, reap, touched},
    *,
};
use crate::store::{CHANGES_PER_TRANSACTION, testing};

/// What a full pass deletes of the service `s`, or of nobody's tasks.
fn reaped(view: &View) -> String {
    let places: BTreeSet<_> = view.tasks().flat_map(|task| places(task)).collect();
    let tasks: BTreeSet<_> = places.iter().flat_map(|place| reap(view, place)).collect();
    tasks.iter().map(|task| task.as_str()).collect::<Vec<_>>().join(" ")
}

fn with_limit(view: &View, limit: i64) -> View {
    commit(view, 0, |head| head.create(cluster(limit)).unwrap())
}

#[track_caller]
fn check(limit: i64, attempts: u64, tasks: &str, expected: &str) {
    let service = service(9, &spec(RestartCondition::Any, attempts));
    let view = with_limit(&served(&service, tasks), limit);
    assert_eq!(reaped(&view), expected, "{limit} of {tasks}");
}

#[test]
fn a_slot_keeps_as_many_tasks_as_the_cluster_says() {
    let ended = "1:failed>shutdown 1:complete>shutdown 1:rejected>shutdown 1:running";
    check(4, 0, ended, "");
    check(3, 0, ended, "t1");
    check(2, 0, ended, "t1 t2");
    check(0, 0, ended, "t1 t2 t3");
    check(-1, 0, ended, "");
    // Slots count for themselves.
    check(1, 0, "1:failed>shutdown 2:failed>shutdown 2:running", "t2");
}

#[test]
fn what_runs_or_may_run_is_never_forgotten() {
    check(0, 0, "1:running>shutdown 1:running>shutdown 1:running", "");
    check(0, 0, "1:assigned>shutdown 1:running", "");
    check(0, 0, "1:pending>shutdown 1:running", "t1");
    check(0, 0, "1:pending 1:running", "");
    check(1, 0, "1:running>shutdown 1:failed>shutdown 1:running", "t2");
}

#[test]
fn the_last_task_of_a_slot_stays() {
    check(0, 0, "1:complete>shutdown", "");
    check(0, 0, "1:failed>shutdown 1:complete>shutdown", "t1");
}

#[test]
fn a_late_report_makes_no_task_the_last_one() {
    let view = served(&service(1, &TaskSpec::default()), "1:orphaned>shutdown 1:complete>shutdown");
    let view = commit(&with_limit(&view, 0), 0, |head| {
        change(head, "t1", |task| task.status.applied_at = Some(at(100)));
    });
    assert_eq!(reaped(&view), "t1");
}

#[test]
fn what_the_restart_policy_counts_stays() {
    let ended = "1:failed>shutdown 1:failed>shutdown 1:failed>shutdown 1:failed";
    check(1, 2, ended, "t1");
    check(9, 1, ended, "t1 t2");
    check(0, 3, ended, "");
}

#[test]
fn without_settings_five_are_kept() {
    let tasks = "1:failed>shutdown ".repeat(7);
    assert_eq!(reaped(&served(&service(1, &TaskSpec::default()), &tasks)), "t1 t2");
}

#[test]
fn tasks_to_be_removed_go_once_they_have_stopped() {
    let words = "1:new>remove 2:assigned>remove 3:running>remove 4:complete>remove \
                 5:failed>remove 6:orphaned>remove 7:running";
    check(9, 0, words, "t1 t4 t5 t6");
    let alone = tasks(words, &TaskSpec::default());
    assert_eq!(reaped(&view(alone.into_iter().map(Object::from))), "t1 t4 t5 t6");
}

#[test]
fn lost_tasks_of_nobody_go() {
    let mut alone = tasks("0:orphaned 0:failed 0:running", &TaskSpec::default());
    for task in &mut alone {
        task.service_id = "".into();
    }
    assert_eq!(reaped(&view(alone.into_iter().map(Object::from))), "t1");
}

#[test]
fn only_what_may_be_forgotten_is_looked_at() {
    let service = service(1, &TaskSpec::default());
    let before = with_limit(&served(&service, "1:assigned@n1"), 5);
    let places = |write: &dyn Fn(&mut Transaction)| {
        let mut transaction = Transaction::begin(&before);
        write(&mut transaction);
        let sealed = transaction.seal(before.index() + 1, at(9));
        touched(&sealed.changes).len()
    };
    let observed = |state| places(&|head| change(head, "t1", |task| observe(task, "n1", state)));
    assert_eq!(observed("running"), 0);
    assert_eq!(observed("failed"), 1);
}

#[test]
fn another_history_limit_concerns_every_slot() {
    let before = with_limit(&served(&service(1, &TaskSpec::default()), "1:running"), 5);
    let changes = |limit| {
        let mut transaction = Transaction::begin(&before);
        let stored = transaction.cluster(&"c".into()).unwrap().meta;
        let mut cluster = cluster(limit);
        cluster.meta = stored;
        transaction.update(cluster).unwrap();
        changes_history(&transaction.seal(before.index() + 1, at(9)).changes)
    };
    assert!(!changes(5));
    assert!(changes(4));
    run(async |tree| {
        let ended = "1:failed>shutdown 1:failed>shutdown 1:failed>shutdown 1:running";
        let store = with_limit(&served(&service(1, &TaskSpec::default()), ended), 5);
        let store = testing::start(tree, store);
        let subject = store.clone();
        tree.child_with_address("reaper", move |_, own| Reaper::new(subject.clone(), own));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(store.view().tasks().count(), 4);
        let limited = store.transact(|head| {
            let meta = head.cluster(&"c".into()).unwrap().meta;
            let mut cluster = cluster(2);
            cluster.meta = meta;
            head.update(cluster)
        });
        limited.await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(store.view().tasks().count(), 2);
    });
}

#[test]
fn a_transaction_is_bounded() {
    let tasks = "1:failed>shutdown ".repeat(CHANGES_PER_TRANSACTION + 9);
    let before = served(&service(1, &TaskSpec::default()), &tasks);
    let place = Place::Slot("s".into(), 1);
    let mut done = true;
    let after = commit(&before, 0, |head| done = carry_out(head, &place).unwrap());
    assert_eq!((done, after.tasks().count()), (false, 9));
    let after = commit(&after, 0, |head| done = carry_out(head, &place).unwrap());
    assert_eq!((done, after.tasks().count()), (true, 5));
}

#[test]
fn a_removed_task_is_deleted_when_its_node_says_that_it_stopped() {
    run(async |tree| {
        let view = served(&service(9, &TaskSpec::default()), "1:running>remove@n1 2:new>remove");
        let store = testing::start(tree, view);
        let subject = store.clone();
        tree.child_with_address("reaper", move |_, own| Reaper::new(subject.clone(), own));
        sleep(Duration::from_secs(1)).await;
        let left = |store: &Store| store.view().tasks().count();
        assert_eq!(left(&store), 1);
        let stopped = store.transact(|head| {
            change(head, "t1", |task| observe(task, "n1", "shutdown"));
            Ok::<_, ()>(())
        });
        stopped.await.unwrap();
        sleep(Duration::from_millis(200)).await;
        assert_eq!(left(&store), 1, "places are gathered first");
        sleep(Duration::from_millis(100)).await;
        assert_eq!(left(&store), 0);
    });
}

#[test]
fn only_slots_of_replicated_services_have_a_history() {
    let ended = "1:failed>shutdown 1:failed>shutdown 1:failed>shutdown 1:running";
    let replicated = service(1, &TaskSpec::default());
    assert_eq!(reaped(&with_limit(&served(&replicated, ended), 1)), "t1 t2 t3");
    let mut global = replicated;
    let mut wish = global.spec.as_ref().clone();
    wish.mode = Some(Mode::Global(Default::default()));
    global.spec = wish.into();
    assert_eq!(reaped(&with_limit(&served(&global, ended), 1)), "");
    let alone = tasks(ended, &TaskSpec::default()).into_iter().map(Object::from);
    assert_eq!(reaped(&with_limit(&view(alone), 1)), "", "the service is gone");
}

#[test]
fn more_than_a_thousand_places_do_not_wait() {
    run(async |tree| {
        let count = PLACES_MAX + 1;
        let words: Vec<_> = (1..=count).map(|slot| format!("{slot}:running>remove@n1")).collect();
        let store =
            testing::start(tree, served(&service(1, &TaskSpec::default()), &words.join(" ")));
        let subject = store.clone();
        tree.child_with_address("reaper", move |_, own| Reaper::new(subject.clone(), own));
        sleep(Duration::from_secs(1)).await;
        let stopped = store.transact(move |head| {
            for number in 1..=count {
                change(head, &format!("t{number}"), |task| observe(task, "n1", "shutdown"));
            }
            Ok::<_, ()>(())
        });
        stopped.await.unwrap();
        sleep(GATHER / 2).await;
        assert_eq!(store.view().tasks().count(), 0);
    });
}
