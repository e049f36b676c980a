//! The actor with the store around it, and with a real agent.

mod heartbeats;

use std::{rc::Rc, time::Duration};

use futures_util::FutureExt;
use protocol::{
    id::SessionId,
    objects::{Cluster, TaskState},
    wire::{assignments_message::Type, node_status::State},
};
use tokio::{
    runtime::Handle,
    sync::mpsc,
    task::LocalSet,
    time::{sleep, timeout},
};

use super::*;
use crate::{
    agent::{
        self, Ports,
        simulated::{Machine, MemoryDatabase, no_certificate},
    },
    dispatcher::{
        BelieveSilence, CheckSession, Dispatcher, Error, LocalManagers, OpenAssignments,
        OpenSession, Seat, UpdateTaskStatus,
    },
    environment::testing::environment,
    raft::Founder,
    store::{self, Store},
    supervision::{Address, Budget, Census, Tree},
};

const SECOND: Duration = Duration::from_secs(1);

struct Rig {
    tree: Tree,
    store: Store,
    dispatcher: Address<Dispatcher>,
    seat: Seat,
}

/// With a dispatcher that is at its seat.
fn run(view: View, test: impl AsyncFnOnce(Rig)) {
    run_unseated(view, async |rig| {
        rig.seat.take(rig.dispatcher.clone());
        test(rig).await;
    });
}

fn run_unseated(view: View, test: impl AsyncFnOnce(Rig)) {
    run_slow(view, Duration::ZERO, test);
}

/// With a store whose commits take so long.
fn run_slow(view: View, commits_after: Duration, test: impl AsyncFnOnce(Rig)) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let budget = Budget { restarts: 5, within: Duration::from_secs(60) };
        let tree = Tree::root("test", budget, Census::default(), |_| {});
        let store = store::testing::start_slow(&tree, view, commits_after);
        let (for_dispatcher, seat) = (store.clone(), Seat::default());
        let at = seat.clone();
        let dispatcher = tree.child_with_address("dispatcher", move |life, own| {
            let store = for_dispatcher.clone();
            Dispatcher::new(store, environment(), "leader".into(), at.clone(), life, own)
        });
        sleep(SECOND / 2).await;
        test(Rig { tree: tree.clone(), store, dispatcher, seat }).await;
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

    fn heartbeat(&self, session: &str) -> Result<Duration, Error> {
        self.seat.heartbeat(&"n".into(), &session.into())
    }

    async fn hear_every(&self, seconds: i64) {
        self.write(move |tx| {
            let meta = tx.default_cluster().unwrap().meta;
            tx.update(Cluster { meta, ..heard_every(seconds) }).unwrap();
        })
        .await;
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

/// A cluster in which nodes are to be heard so often.
fn heard_every(seconds: i64) -> Cluster {
    let annotations = wire::Annotations { name: "default".into(), ..Default::default() };
    let heartbeat_period = Some(prost_types::Duration { seconds, nanos: 0 });
    let spec = wire::ClusterSpec {
        annotations: Some(annotations),
        dispatcher: Some(wire::DispatcherConfig { heartbeat_period }),
        ..Default::default()
    };
    wire::Cluster { id: "c".into(), spec: Some(spec), ..Default::default() }.into()
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
fn every_session_hears_who_the_managers_are() {
    run(two_nodes(), async |rig| {
        let (_, mut messages) = rig.register("").await;
        let member = |raft_id, address: &str| Founder {
            raft_id,
            node_id: format!("m{raft_id}"),
            address: address.to_owned(),
        };
        let (one, all) = (member(1, "10.0.0.1:4242"), member(2, "0.0.0.0:4242"));
        for members in [vec![one.clone(), all], vec![one]] {
            let named: Vec<_> = members.iter().map(|member| member.address.clone()).collect();
            rig.seat.standing().name(members);
            let message = timeout(SECOND, messages.recv()).await.expect("soon").expect("open");
            let peers = message.managers.iter().filter_map(|manager| manager.peer.as_ref());
            let addrs: Vec<_> = peers.map(|peer| peer.addr.as_str()).collect();
            assert_eq!(addrs, named);
        }
        assert!(timeout(SECOND * 5, messages.recv()).await.is_err(), "nothing has changed since");
    });
}

#[test]
fn a_dispatcher_that_ends_says_once_more_who_the_managers_are() {
    run(two_nodes(), async |rig| {
        let (session, mut messages) = rig.register("").await;
        // It has not looked since this one has come.
        let (node_id, address) = ("m1".to_owned(), "10.0.0.1:4242".to_owned());
        rig.seat.standing().name(vec![Founder { raft_id: 1, node_id, address }]);
        rig.tree.stop().await;
        let last = messages.recv().await.expect("one more");
        assert_eq!(last.session_id, session.to_string());
        let named = last.managers.into_iter().filter_map(|manager| manager.peer);
        assert_eq!(named.map(|peer| peer.node_id).collect::<Vec<_>>(), ["m1"]);
        assert_eq!(messages.recv().await, None);
        let check = CheckSession { node: "n".into(), session };
        assert!(rig.dispatcher.send(check).await.is_err());
    });
}

#[test]
fn a_leader_that_hears_nobody_replaces_nothing_until_an_operator_says_so() {
    let names = ["n", "n2", "n3", "n4"];
    let view = with(names.map(|id| node(id, State::Ready).into()));
    run(view, async |rig| {
        let mut open = Vec::new();
        for name in names {
            let request = wire::SessionRequest::default();
            let opened = OpenSession { node: name.into(), addr: None, request };
            open.push(rig.dispatcher.send(opened).await.expect("alive").expect("registered"));
        }
        assert_eq!(rig.seat.doubt(), None);
        sleep(SECOND * 120).await;
        assert_eq!(names.map(|name| rig.state(name)), [State::Unknown; 4]);
        let doubt = rig.seat.doubt().expect("it doubts");
        assert_eq!((doubt.ready, doubt.present), (4, 0));
        let (_, _messages) = rig.register("").await;
        sleep(SECOND).await;
        assert_eq!(rig.seat.doubt().expect("one of four is not half").present, 1);
        rig.dispatcher.send(BelieveSilence).await.expect("alive");
        sleep(SECOND).await;
        let expected = [State::Ready, State::Down, State::Down, State::Down];
        assert_eq!(names.map(|name| rig.state(name)), expected);
        assert_eq!(rig.seat.doubt(), None);
    });
}

#[test]
fn who_is_not_in_the_cluster_is_refused() {
    run(two_nodes(), async |rig| {
        let request = wire::SessionRequest::default();
        let opened = OpenSession { node: "stranger".into(), addr: None, request };
        let refused = rig.dispatcher.send(opened).await.expect("alive");
        assert_eq!(refused.err(), Some(Error::NodeNotFound));
        assert_eq!(rig.heartbeat("made up"), Err(Error::SessionInvalid));
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

/// And what follows it at once waits for more to go with it.
#[test]
fn what_is_said_on_a_quiet_cluster_waits_for_nothing() {
    run(two_nodes(), async |rig| {
        for id in ["a", "b"] {
            rig.write(|tx| tx.create(task(id, "n", TaskState::ASSIGNED)).unwrap()).await;
        }
        let (session, _messages) = rig.register("").await;
        let opened = OpenAssignments { node: "n".into(), session: session.clone() };
        let mut stream = rig.dispatcher.send(opened).await.expect("alive").expect("opened");
        stream.recv().await.expect("a list");
        sleep(SECOND).await;
        let moment = SECOND / 1000;
        for (id, waits) in [("c", false), ("d", true)] {
            rig.write(|tx| tx.create(task(id, "n", TaskState::ASSIGNED)).unwrap()).await;
            assert_eq!(timeout(moment, stream.recv()).await.is_err(), waits, "{id}");
        }
        for (id, waits) in [("a", false), ("b", true)] {
            let status =
                wire::TaskStatus { state: wire::TaskState::Running.into(), ..Default::default() };
            let updates = vec![(id.into(), status)];
            let update = UpdateTaskStatus { node: "n".into(), session: session.clone(), updates };
            rig.dispatcher.send(update).await.expect("alive").expect("taken");
            sleep(moment).await;
            let state = rig.store.view().task(&id.into()).expect("a task").status.state;
            assert_eq!(state == TaskState::ASSIGNED, waits, "{id}");
        }
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
        assert_eq!(rig.heartbeat(session.as_str()), Err(Error::NotRegistered));
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
    run_unseated(two_nodes(), async |rig| {
        let (seat, machine) = (rig.seat.clone(), Machine::default());
        let ports = Ports {
            managers: Rc::new(LocalManagers::new("n".into(), seat.clone())),
            executor: Rc::new(machine.clone()),
            database: Rc::new(MemoryDatabase::default()),
            tls_info: no_certificate(),
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
