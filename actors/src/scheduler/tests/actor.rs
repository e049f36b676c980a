//! The actor with a store whose commits take their time.

use std::{cell::Cell, collections::BTreeMap, time::Duration};

use tokio::{task::LocalSet, time::sleep};

use super::*;
use crate::{
    environment::testing::environment,
    scheduler::Scheduler,
    store::{Change, Store, testing},
    supervision::{Address, Budget, Census, Tree, testing::listen},
};

pub(super) fn run(view: View, commits_after: Duration, test: impl AsyncFnOnce(&Store)) {
    run_with_address(view, commits_after, async |store, _| test(store).await);
}

fn run_with_address(
    view: View,
    commits_after: Duration,
    test: impl AsyncFnOnce(&Store, Address<Scheduler>),
) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let budget = Budget { restarts: 0, within: Duration::from_secs(60) };
        let tree = Tree::root("test", budget, Census::default(), |lost| panic!("{lost}"));
        let store = testing::start_slow(&tree, view, commits_after);
        let for_scheduler = store.clone();
        let scheduler = tree.child_with_address("scheduler", move |life, own| {
            Scheduler::new(for_scheduler.clone(), environment(), life, own)
        });
        sleep(Duration::from_millis(10)).await;
        test(&store, scheduler).await;
        tree.stop().await;
    });
}

async fn write(store: &Store, write: impl FnOnce(&mut Transaction) + Send + 'static) {
    let written = store.transact(|head| {
        write(head);
        Ok::<_, ()>(())
    });
    written.await.expect("written");
}

fn per_node(store: &Store) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for task in store.view().tasks() {
        *counts.entry(task.node_id.to_string()).or_default() += 1;
    }
    counts
}

#[test]
fn a_thousand_tasks_are_spread_evenly_while_commits_are_slow() {
    let nodes = ["a", "b", "c", "d"].map(|id| plain(id).into());
    let tasks = (0..1000).map(|number| task(&format!("t{number:04}")).into());
    run(with(nodes.into_iter().chain(tasks)), Duration::from_millis(500), async |store| {
        sleep(Duration::from_secs(10)).await;
        let expected = ["a", "b", "c", "d"].map(|id| (id.to_owned(), 250)).into();
        assert_eq!(per_node(store), expected);
        assert!(store.view().tasks().all(|task| task.meta.version > 1));
    });
}

/// SwarmKit waits for 50 ms after the last commit, up to a second.
#[test]
fn nothing_is_put_off() {
    run(with([plain("a").into()]), Duration::ZERO, async |store| {
        write(store, |head| head.create(task("t")).unwrap()).await;
        sleep(Duration::from_millis(5)).await;
        let view = store.view();
        let state = view.task(&"t".into()).expect("there").status.state;
        assert_eq!(state, TaskState::ASSIGNED, "§1.1 commit: no debounce");
    });
}

#[test]
fn a_node_that_comes_back_gets_what_waited_for_it() {
    let objects = [node("a", drained).into(), task("t").into()];
    run(with(objects), Duration::ZERO, async |store| {
        sleep(Duration::from_secs(1)).await;
        let waiting = store.view().task(&"t".into()).expect("there").clone();
        assert_eq!(&*waiting.status.err, "no suitable node (1 node not available for new tasks)");
        let written = store.view().index();
        sleep(Duration::from_secs(600)).await;
        assert_eq!(store.view().index(), written, "nothing changes, nothing is written");
        write(store, |head| {
            let mut node = head.node(&"a".into()).expect("there").as_ref().clone();
            node.spec = Arc::default();
            head.update(node).unwrap();
        })
        .await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(per_node(store), [("a".to_owned(), 1)].into());
    });
}

#[test]
fn room_that_becomes_free_is_used() {
    let big = |id: &str| reserving(id, 2_000_000_000, 0);
    let objects = [plain("a").into(), running(big("old"), "a").into(), big("new").into()];
    run(with(objects), Duration::ZERO, async |store| {
        sleep(Duration::from_secs(1)).await;
        assert!(store.view().task(&"new".into()).expect("there").node_id.is_empty());
        write(store, |head| {
            let mut old = head.task(&"old".into()).expect("there").as_ref().clone();
            old.status.state = TaskState::FAILED;
            head.update(old).unwrap();
        })
        .await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(store.view().task(&"new".into()).expect("there").node_id.as_str(), "a");
    });
}

#[test]
fn what_changed_on_the_head_is_not_assigned() {
    let objects = [plain("a").into(), plain("b").into()];
    run(with(objects), Duration::from_millis(500), async |store| {
        write(store, |head| head.create(task("t")).unwrap()).await;
        // While the assignment is on its way, an orchestrator takes the task back.
        write(store, |head| {
            let mut task = head.task(&"t".into()).expect("there").as_ref().clone();
            task.desired_state = TaskState::SHUTDOWN;
            head.update(task).unwrap();
        })
        .await;
        sleep(Duration::from_secs(5)).await;
        let view = store.view();
        let task = view.task(&"t".into()).expect("there");
        assert_eq!(task.desired_state, TaskState::SHUTDOWN);
        assert!(task.status.state <= TaskState::ASSIGNED);
    });
}

#[test]
fn an_assignment_to_a_node_that_went_away_is_taken_back() {
    let objects = [plain("a").into()];
    run(with(objects), Duration::from_millis(500), async |store| {
        write(store, |head| head.create(task("t")).unwrap()).await;
        let view = store.view();
        assert!(view.task(&"t".into()).expect("there").node_id.is_empty());
        // Decided before the assignment reaches the head, or after: the node is gone in the end.
        write(store, |head| {
            let id = protocol::id::NodeId::from("a");
            head.remove(protocol::objects::Kind::Node, id.as_id()).unwrap();
            head.create(plain("b")).unwrap();
        })
        .await;
        sleep(Duration::from_secs(5)).await;
        let view = store.view();
        let task = view.task(&"t".into()).expect("there");
        assert!(["a", "b"].contains(&task.node_id.as_str()), "assigned once");
    });
}

#[test]
fn a_task_is_not_forgotten_when_all_begins_anew_while_its_assignment_fails() {
    let view = with([plain("a").into()]);
    run_with_address(view, Duration::from_millis(500), async |store, scheduler| {
        let availability = |availability: Availability| {
            move |head: &mut Transaction| {
                let mut node = head.node(&"a".into()).expect("there").as_ref().clone();
                let availability = availability.into();
                node.spec = Arc::new(wire::NodeSpec { availability, ..Default::default() });
                head.update(node).unwrap();
            }
        };
        let after = |millis| sleep(Duration::from_millis(millis));
        // The task is seen while the head has the node drained already: the assignment fails, and
        // everything begins anew before that is known.
        tokio::join!(
            write(store, |head| head.create(task("t")).unwrap()),
            async {
                after(400).await;
                write(store, availability(Availability::Drain)).await;
            },
            async {
                after(700).await;
                store.subscribe("scheduler", scheduler.recipient());
            },
        );
        sleep(Duration::from_secs(5)).await;
        write(store, availability(Availability::Active)).await;
        sleep(Duration::from_secs(5)).await;
        let view = store.view();
        assert_eq!(view.task(&"t".into()).expect("there").node_id.as_str(), "a");
    });
}

/// A scheduler that missed a change believes in a node that the head has drained.
#[test]
fn what_the_head_refuses_is_not_decided_again_at_once() {
    let before = with([plain("a").into(), task("t").into()]);
    let after = with([node("a", drained).into(), task("t").into()]);
    run_with_address(after, Duration::ZERO, async |store, scheduler| {
        let handled = Cell::new(0);
        listen(Some(Box::new(move |_, _| {
            handled.set(handled.get() + 1);
            assert!(handled.get() < 1_000, "it asks again and again");
        })));
        scheduler.send(Change::Resync { view: before.clone() }).await.expect("lives");
        sleep(Duration::from_secs(10)).await;
        listen(None);
        assert!(store.view().task(&"t".into()).expect("there").node_id.is_empty());
        scheduler.send(Change::Resync { view: store.view() }).await.expect("lives");
        write(store, |head| head.create(plain("b")).unwrap()).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(store.view().task(&"t".into()).expect("there").node_id.as_str(), "b");
    });
}

#[test]
fn many_tasks_that_no_node_can_run_are_told_once_and_leave_the_scheduler_in_peace() {
    let tasks = (0..1000).map(|number| reserving(&format!("t{number:04}"), i64::MAX, 0).into());
    let view = with(tasks.chain([plain("a").into()]));
    run(view, Duration::ZERO, async |store| {
        sleep(Duration::from_secs(5)).await;
        let reason = "no suitable node (insufficient resources on 1 node)";
        assert!(store.view().tasks().all(|task| &*task.status.err == reason));
        let written = store.view().index();
        sleep(Duration::from_secs(600)).await;
        assert_eq!(store.view().index(), written);
    });
}

#[test]
fn what_was_on_its_way_before_the_start_counts_on_its_node() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let budget = Budget { restarts: 0, within: Duration::from_secs(60) };
        let tree = Tree::root("test", budget, Census::default(), |lost| panic!("{lost}"));
        let big = |id: &str| reserving(id, 2_000_000_000, 0);
        let view = with([plain("a").into(), big("1").into(), big("2").into()]);
        let store = testing::start_slow(&tree, view, Duration::from_millis(500));
        sleep(Duration::from_millis(10)).await;
        // The last word of a life that has ended.
        let assigned = store.transact(move |head| {
            let meta = head.task(&"2".into()).expect("there").meta;
            head.update(Task { meta, ..running(big("2"), "a") })
        });
        let for_scheduler = store.clone();
        let start = async {
            sleep(Duration::from_millis(10)).await;
            tree.child_with_address("scheduler", move |life, own| {
                Scheduler::new(for_scheduler.clone(), environment(), life, own)
            });
        };
        let (assigned, ()) = tokio::join!(assigned, start);
        assigned.expect("written");
        sleep(Duration::from_secs(5)).await;
        let view = store.view();
        let full = "no suitable node (insufficient resources on 1 node)";
        assert_eq!(&*view.task(&"1".into()).expect("there").status.err, full, "SCHED-2");
        tree.stop().await;
    });
}
