//! The actor with a store whose commits take their time.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join3;
use tokio::{task::LocalSet, time::sleep};

use super::*;
use crate::{
    allocator::Allocator,
    environment::testing::environment,
    store::{Store, testing},
    supervision::{
        Budget, Census, Tree,
        testing::{When, doom, take_deaths},
    },
};

const SECOND: Duration = Duration::from_secs(1);

fn run(view: View, commits_after: Duration, test: impl AsyncFnOnce(&Store, &Tree)) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let budget = Budget { restarts: 5, within: Duration::from_secs(60) };
        let tree = Tree::root("test", budget, Census::default(), |lost| panic!("{lost}"));
        let store = testing::start_slow(&tree, view, commits_after);
        start(&tree, &store, "allocator");
        test(&store, &tree).await;
        tree.stop().await;
    });
}

fn start(tree: &Tree, store: &Store, name: &'static str) {
    let store = store.clone();
    tree.child_with_address(name, move |life, own| {
        Allocator::new(store.clone(), environment(), life, own)
    });
}

async fn write(store: &Store, write: impl FnOnce(&mut Transaction) + Send + 'static) {
    let written = store.transact(|head| {
        write(head);
        Ok::<_, ()>(())
    });
    written.await.expect("written");
}

fn with(objects: impl IntoIterator<Item = Object>) -> View {
    let mut transaction = Transaction::begin(&View::default());
    objects.into_iter().for_each(|object| transaction.create(object).unwrap());
    transaction.seal(1, NOW).view
}

fn count(store: &Store, state: TaskState) -> usize {
    store.view().tasks().filter(|task| task.status.state == state).count()
}

/// The addresses of all tasks; panics if two have the same.
fn addresses(store: &Store) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for task in store.view().tasks() {
        for address in task.networks.iter().flat_map(|place| &place.addresses) {
            assert!(seen.insert(address.clone()), "{address} is in use twice");
        }
    }
    seen
}

#[test]
fn every_new_task_is_allocated_in_the_end() {
    let early = (0..1500).map(|number| task(&format!("e{number}"), "s").into());
    let view = with(early.chain([service("s", &[], &[]).into()]));
    run(view, Duration::from_millis(50), async |store, _| {
        sleep(SECOND).await;
        assert_eq!(count(store, TaskState::PENDING), 1500);
        write(store, |head| {
            head.create(task("late", "s")).unwrap();
            // Its service comes later.
            head.create(task("orphan", "s2")).unwrap();
        })
        .await;
        sleep(SECOND).await;
        assert_eq!(count(store, TaskState::NEW), 1);
        write(store, |head| head.create(service("s2", &[], &[])).unwrap()).await;
        sleep(SECOND).await;
        assert_eq!((count(store, TaskState::NEW), store.view().tasks().count()), (0, 1502));
        let written = store.view().index();
        sleep(1000 * SECOND).await;
        assert_eq!(store.view().index(), written, "nothing changes, nothing is written");
    });
}

#[test]
fn a_thousand_tasks_get_a_thousand_addresses_while_commits_are_slow() {
    let network = configured("n", &[("10.9.0.0/16", "", "")]);
    let tasks = (0..1000).map(|number| attached(&format!("t{number}"), "s", &["n"]).into());
    let objects = [network.into(), ingress("i").into(), node("m").into()];
    let service = service("s", &[port("p", 80, 0)], &["n"]);
    let view = with(tasks.chain(objects).chain([service.into()]));
    run(view, Duration::from_millis(500), async |store, _| {
        sleep(10 * SECOND).await;
        // The ingress network has 253 addresses; one is the service's, one the node's.
        assert_eq!((count(store, TaskState::PENDING), addresses(store).len()), (251, 502));
        let told = store.view().tasks().find(|task| task.status.state == TaskState::NEW).cloned();
        let text = "could not find an available IP in network i";
        assert_eq!(&*told.expect("one of the others").status.err, text);
        // Half of them ends, and others have their places.
        write(store, |head| {
            let done: Vec<_> = head
                .tasks()
                .filter(|task| task.status.state == TaskState::PENDING)
                .take(100)
                .map(|task| Task::clone(task))
                .collect();
            for mut task in done {
                task.status.state = TaskState::FAILED;
                task.networks = Vec::new().into();
                head.update(task).unwrap();
            }
        })
        .await;
        sleep(10 * SECOND).await;
        assert_eq!((count(store, TaskState::PENDING), addresses(store).len()), (251, 502));
    });
}

#[test]
fn an_allocator_that_begins_sees_what_an_earlier_one_has_on_its_way() {
    let create = |names: &[&'static str]| {
        let tasks: Vec<_> = names.iter().map(|name| attached(name, "", &["n"])).collect();
        move |head: &mut Transaction| tasks.into_iter().for_each(|task| head.create(task).unwrap())
    };
    let range = configured("n", &[("10.9.0.0/24", "10.9.0.64/26", "10.9.0.1")]);
    let network = Rig::new([range.into()]).network("n").as_ref().clone();
    run(with([network.into()]), SECOND, async |store, tree| {
        testing::until_leading(store).await;
        // The first allocator hands out addresses that are free again: it goes on behind them.
        write(store, create(&["c1", "c2", "c3"])).await;
        sleep(2 * SECOND).await;
        write(store, |head| {
            for id in ["c1", "c2", "c3"] {
                head.remove(protocol::objects::Kind::Task, &id.into()).unwrap();
            }
        })
        .await;
        // Others come just before it decides about these, and are committed just after.
        let first = store.transact(|head| {
            ["b1", "b2", "b3", "b4"]
                .into_iter()
                .try_for_each(|id| head.create(attached(id, "", &["n"])))
        });
        let second = async {
            sleep(SECOND / 2).await;
            write(store, create(&["a1", "a2", "a3"])).await;
        };
        let begin = async {
            sleep(SECOND + SECOND / 5).await;
            assert_eq!(count(store, TaskState::NEW), 4, "they are on their way");
            start(tree, store, "second");
        };
        let (written, ..) = join3(first, second, begin).await;
        written.expect("written");
        sleep(10 * SECOND).await;
        assert_eq!((count(store, TaskState::PENDING), addresses(store).len()), (7, 7));
    });
}

#[test]
fn what_waits_is_tried_again_after_five_minutes() {
    let mut full = configured("n", &[("10.9.0.0/30", "", "")]);
    full = Rig::new([full.into()]).network("n").as_ref().clone();
    let view =
        with([full.into(), attached("a", "", &["n"]).into(), attached("b", "", &["n"]).into()]);
    run(view, Duration::ZERO, async |store, _| {
        sleep(SECOND).await;
        assert_eq!((count(store, TaskState::PENDING), count(store, TaskState::NEW)), (1, 1));
        let written = store.view().index();
        sleep(700 * SECOND).await;
        assert_eq!(store.view().index(), written, "it is told once");
        write(store, |head| head.remove(protocol::objects::Kind::Task, &"a".into()).unwrap()).await;
        sleep(SECOND).await;
        assert_eq!(count(store, TaskState::PENDING), 1);
    });
}

#[test]
fn a_write_whose_outcome_is_unknown_is_waited_for() {
    let tasks = (0..6).map(|number| attached(&format!("t{number}"), "", &["n"]).into());
    let full = configured("n", &[("10.9.0.0/24", "10.9.0.64/30", "")]);
    let network = Rig::new([full.into()]).network("n").as_ref().clone();
    let view = with(tasks.chain([network.into()]));
    // Raft dies with the first write in its hands, and knows nothing of it when it is back.
    doom("test/raft", When::AfterHandling);
    run(view, SECOND, async |store, _| {
        sleep(10 * SECOND).await;
        assert_eq!(take_deaths().after_handling, 1);
        assert_eq!((count(store, TaskState::PENDING), addresses(store).len()), (4, 4));
    });
}
