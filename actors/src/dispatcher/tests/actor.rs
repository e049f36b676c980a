//! The actor with the store around it, and with a real agent.

use std::{rc::Rc, time::Duration};

use protocol::{
    id::SessionId,
    objects::{Cluster, TaskState},
    wire::{assignments_message::Type, node_status::State},
};
use tokio::{sync::mpsc, task::LocalSet, time::sleep};

use super::*;
use crate::{
    agent::{
        self, Ports,
        simulated::{Machine, MemoryDatabase},
    },
    dispatcher::{
        Dispatcher, Error, Heartbeat, LocalManagers, OpenAssignments, OpenSession, Seat,
        UpdateTaskStatus,
    },
    environment::testing::environment,
    store::{self, Store},
    supervision::{Address, Budget, Census, Tree},
};

const SECOND: Duration = Duration::from_secs(1);

struct Rig {
    tree: Tree,
    store: Store,
    dispatcher: Address<Dispatcher>,
}

fn run(view: View, test: impl AsyncFnOnce(Rig)) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let budget = Budget { restarts: 5, within: Duration::from_secs(60) };
        let tree = Tree::root("test", budget, Census::default(), |_| {});
        let store = store::testing::start(&tree, view);
        let for_dispatcher = store.clone();
        let dispatcher = tree.child_with_address("dispatcher", move |life, own| {
            let store = for_dispatcher.clone();
            Dispatcher::new(store, environment(), "leader".into(), life, own)
        });
        sleep(SECOND / 2).await;
        test(Rig { tree: tree.clone(), store, dispatcher }).await;
        tree.stop().await;
    });
}

impl Rig {
    async fn register(&self, session: &str) -> (SessionId, mpsc::Receiver<wire::SessionMessage>) {
        let description =
            wire::NodeDescription { hostname: "host".to_owned(), ..Default::default() };
        let request =
            wire::SessionRequest { description: Some(description), session_id: session.to_owned() };
        let opened = OpenSession { node: "n".into(), addr: None, request };
        let mut messages = self.dispatcher.send(opened).await.expect("alive").expect("registered");
        let first = messages.recv().await.expect("the first message");
        (first.session_id.into(), messages)
    }

    fn state(&self, node: &str) -> State {
        self.store.view().node(&node.into()).expect("a node").status.state()
    }

    async fn write(&self, write: impl FnOnce(&mut Transaction) + Send + 'static) {
        let written = self.store.transact(|tx| {
            write(tx);
            Ok::<_, ()>(())
        });
        written.await.expect("written");
    }
}

fn two_nodes() -> View {
    with([node("n", State::Ready).into(), node("other", State::Down).into()])
}

fn ids(message: &wire::AssignmentsMessage) -> Vec<String> {
    let items =
        message.changes.iter().filter_map(|change| change.assignment.as_ref()?.item.clone());
    let ids = items.filter_map(|item| match item {
        wire::assignment::Item::Task(task) => Some(task.id),
        wire::assignment::Item::Secret(_)
        | wire::assignment::Item::Config(_)
        | wire::assignment::Item::Volume(_) => None,
    });
    ids.collect()
}

#[test]
fn a_new_leader_knows_of_nobody_that_it_is_there() {
    run(two_nodes(), async |rig| {
        assert_eq!((rig.state("n"), rig.state("other")), (State::Unknown, State::Down));
        sleep(SECOND * 31).await;
        assert_eq!(rig.state("n"), State::Down, "six periods of five seconds");
    });
}

#[test]
fn a_node_is_ready_before_its_session_is_answered() {
    run(two_nodes(), async |rig| {
        let (session, _messages) = rig.register("").await;
        assert!(!session.is_empty());
        assert_eq!(rig.state("n"), State::Ready);
        let view = rig.store.view();
        let description = &view.node(&"n".into()).expect("a node").description;
        assert_eq!(description.as_ref().map(|found| &*found.hostname), Some("host"));
        let (resumed, _messages) = rig.register(session.as_str()).await;
        assert_eq!(resumed, session);
    });
}

#[test]
fn every_session_hears_of_a_new_root_certificate() {
    run(two_nodes(), async |rig| {
        let (_, mut messages) = rig.register("").await;
        let root_ca = wire::RootCa { ca_cert: b"renewed".as_slice().into(), ..Default::default() };
        let annotations = wire::Annotations { name: "default".into(), ..Default::default() };
        let spec = wire::ClusterSpec { annotations: Some(annotations), ..Default::default() };
        let cluster = wire::Cluster {
            id: "c".into(),
            spec: Some(spec),
            root_ca: Some(root_ca),
            ..Default::default()
        };
        rig.write(|tx| tx.create(Cluster::from(cluster)).unwrap()).await;
        assert_eq!(messages.recv().await.expect("open").root_ca, b"renewed".as_slice());
    });
}

#[test]
fn who_is_not_in_the_cluster_is_refused() {
    run(two_nodes(), async |rig| {
        let request = wire::SessionRequest::default();
        let opened = OpenSession { node: "stranger".into(), addr: None, request };
        let refused = rig.dispatcher.send(opened).await.expect("alive");
        assert_eq!(refused.err(), Some(Error::NodeNotFound));
        let heartbeat = Heartbeat { node: "n".into(), session: "made up".into() };
        let refused = rig.dispatcher.send(heartbeat).await.expect("alive");
        assert_eq!(refused, Err(Error::SessionInvalid));
    });
}

#[test]
fn a_silent_node_goes_down_and_a_heartbeat_keeps_it() {
    run(two_nodes(), async |rig| {
        let (session, mut messages) = rig.register("").await;
        for _ in 0..10 {
            sleep(SECOND * 4).await;
            let heartbeat = Heartbeat { node: "n".into(), session: session.clone() };
            let period = rig.dispatcher.send(heartbeat).await.expect("alive").expect("valid");
            assert!((SECOND * 9 / 2..=SECOND * 11 / 2).contains(&period), "{period:?}");
            assert_eq!(rig.state("n"), State::Ready);
        }
        sleep(SECOND * 18).await;
        assert_eq!(rig.state("n"), State::Down);
        while messages.recv().await.is_some() {}
    });
}

#[test]
fn a_node_hears_everything_first_and_changes_afterwards() {
    run(two_nodes(), async |rig| {
        rig.write(|tx| tx.create(task("a", "n", TaskState::ASSIGNED)).unwrap()).await;
        let (session, _messages) = rig.register("").await;
        let opened = OpenAssignments { node: "n".into(), session };
        let mut stream = rig.dispatcher.send(opened).await.expect("alive").expect("opened");
        let complete = stream.recv().await.expect("a list");
        assert_eq!((complete.r#type(), ids(&complete)), (Type::Complete, vec!["a".to_owned()]));
        rig.write(|tx| {
            tx.create(task("b", "n", TaskState::ASSIGNED)).unwrap();
            tx.create(task("c", "other", TaskState::ASSIGNED)).unwrap();
            tx.create(task("d", "n", TaskState::NEW)).unwrap();
        })
        .await;
        let change = stream.recv().await.expect("a change");
        assert_eq!((change.r#type(), ids(&change)), (Type::Incremental, vec!["b".to_owned()]));
        assert_eq!((&change.applies_to, &change.results_in), (&"1".to_owned(), &"2".to_owned()));
    });
}

#[test]
fn what_a_slow_node_has_not_taken_is_joined() {
    run(two_nodes(), async |rig| {
        let (session, _messages) = rig.register("").await;
        let opened = OpenAssignments { node: "n".into(), session };
        let mut stream = rig.dispatcher.send(opened).await.expect("alive").expect("opened");
        for id in ["a", "b", "c", "d"] {
            sleep(SECOND).await;
            rig.write(move |tx| tx.create(task(id, "n", TaskState::ASSIGNED)).unwrap()).await;
        }
        sleep(SECOND).await;
        assert!(ids(&stream.recv().await.expect("the first")).is_empty());
        assert_eq!(ids(&stream.recv().await.expect("the rest")), ["a", "b", "c", "d"]);
    });
}

#[test]
fn a_status_is_written_for_the_nodes_own_tasks_alone() {
    run(two_nodes(), async |rig| {
        rig.write(|tx| {
            tx.create(task("a", "n", TaskState::ASSIGNED)).unwrap();
            tx.create(task("b", "other", TaskState::ASSIGNED)).unwrap();
        })
        .await;
        let (session, _messages) = rig.register("").await;
        let update = |ids: &[&str]| {
            let status =
                wire::TaskStatus { state: wire::TaskState::Running.into(), ..Default::default() };
            let updates = ids.iter().map(|id| ((*id).into(), status.clone())).collect();
            UpdateTaskStatus { node: "n".into(), session: session.clone(), updates }
        };
        let refused = rig.dispatcher.send(update(&["a", "b"])).await.expect("alive");
        assert_eq!(refused, Err(Error::NotAssigned));
        let taken = rig.dispatcher.send(update(&["a", "gone"])).await.expect("alive");
        assert_eq!(taken, Ok(()));
        sleep(SECOND).await;
        let view = rig.store.view();
        let state = |id: &str| view.task(&id.into()).expect("a task").status.state;
        assert_eq!((state("a"), state("b")), (TaskState::RUNNING, TaskState::ASSIGNED));
        let by = &view.task(&"a".into()).expect("a task").status.applied_by;
        assert_eq!(by.as_str(), "leader");
    });
}

#[test]
fn a_removed_node_loses_its_session_and_its_tasks() {
    run(two_nodes(), async |rig| {
        let (session, mut messages) = rig.register("").await;
        rig.write(|tx| tx.create(task("a", "n", TaskState::RUNNING)).unwrap()).await;
        rig.write(|tx| {
            let id = protocol::id::NodeId::from("n");
            tx.remove(protocol::objects::Kind::Node, id.as_id()).unwrap();
        })
        .await;
        while messages.recv().await.is_some() {}
        let heartbeat = Heartbeat { node: "n".into(), session };
        let refused = rig.dispatcher.send(heartbeat).await.expect("alive");
        assert_eq!(refused, Err(Error::NotRegistered));
        sleep(SECOND).await;
        let view = rig.store.view();
        assert_eq!(view.task(&"a".into()).expect("a task").status.state, TaskState::ORPHANED);
    });
}

#[test]
fn a_new_leader_gives_up_the_tasks_of_nodes_removed_before() {
    run(with([task("a", "gone", TaskState::RUNNING).into()]), async |rig| {
        let view = rig.store.view();
        assert_eq!(view.task(&"a".into()).expect("a task").status.state, TaskState::ORPHANED);
    });
}

#[test]
fn an_agent_runs_what_is_assigned_and_says_how_it_went() {
    run(two_nodes(), async |rig| {
        let (seat, machine) = (Seat::default(), Machine::default());
        let ports = Ports {
            managers: Rc::new(LocalManagers::new("n".into(), seat.clone())),
            executor: Rc::new(machine.clone()),
            database: Rc::new(MemoryDatabase::default()),
        };
        let tree = rig.tree.subtree("agent", Budget { restarts: 5, within: SECOND * 60 });
        agent::start(&tree, Census::default(), ports, environment());
        sleep(SECOND * 5).await;
        assert_eq!(rig.state("n"), State::Unknown, "nobody leads yet");
        seat.take(rig.dispatcher.clone());
        sleep(SECOND * 20).await;
        assert_eq!(rig.state("n"), State::Ready);
        rig.write(|tx| {
            tx.create(task("a", "n", TaskState::ASSIGNED)).unwrap();
        })
        .await;
        sleep(SECOND * 5).await;
        let state = || rig.store.view().task(&"a".into()).expect("a task").status.state;
        assert_eq!(state(), TaskState::RUNNING);
        seat.leave();
    });
}
