//! The dispatcher as agents meet it: over the port for other nodes, with certificates.

use actors::{
    dispatcher::{self, Seat},
    environment::Clock,
    raft::Founder,
    store::testing::until_leading,
};
use protocol::{
    id::NodeId,
    objects::{Cluster, Node, Task, TaskState, TaskStatus},
    swarm::{
        EndDoubtRequest, GetDoubtRequest, doubt_client::DoubtClient, doubt_server::DoubtServer,
    },
    wire::{
        self, assignments_message::Type, dispatcher_client::DispatcherClient,
        dispatcher_server::DispatcherServer, node_status::State,
    },
};
use rustls::ClientConfig;
use tonic::{Streaming, service::Routes};

use super::*;
use crate::{
    clock::SystemClock,
    identity::{Identity, stranger_config},
    remote::{Directory, Guests, Name, RemoteListener, dial},
    service::{dispatcher::Dispatcher, serve_port},
};

/// A manager with a dispatcher that may be at its place, and the agent of one node.
struct Manager {
    node: NodeId,
    address: String,
    store: Store,
    seat: Seat,
    leader: Tree,
    dispatcher: actors::supervision::Address<dispatcher::Dispatcher>,
    channel: Channel,
    client: DispatcherClient<Channel>,
    end: Option<oneshot::Sender<()>>,
}

fn run_manager(test: impl AsyncFnOnce(&mut Manager)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let identity = Identity::open(folder.path(), &SystemClock.now()).expect("an identity");
        let budget = Budget { restarts: 5, within: Duration::from_secs(60) };
        let tree = Tree::root("manager", budget, Census::default(), |_| {});
        let store = store::testing::start(&tree, View::default());
        until_leading(&store).await;
        let mut manager = Manager::start(&tree, store, &identity).await;
        test(&mut manager).await;
        tree.stop().await;
    });
}

async fn channel_to(address: &str, tls: Arc<ClientConfig>) -> Channel {
    dial(address, Name::Manager, tls).await.expect("a connection").channel
}

/// Judges whoever calls the manager over the network.
fn access(store: &Store, identity: &Identity) -> Access {
    let store = store.clone();
    let (node_id, cluster_id) = (identity.node_id().clone(), identity.cluster_id().clone());
    Access {
        door: Door::Network,
        own: Subject { node_id, role: NodeRole::Manager, cluster_id },
        view: Arc::new(move || store.view()),
        clock: Arc::new(SystemClock),
    }
}

impl Manager {
    async fn start(tree: &Tree, store: Store, identity: &Identity) -> Self {
        let (seat, node) = (Seat::default(), identity.node_id().clone());
        let leader =
            tree.subtree("leader", Budget { restarts: 5, within: Duration::from_secs(60) });
        let (of, at, own) = (store.clone(), seat.clone(), node.clone());
        let dispatcher = leader.child_with_address("dispatcher", move |life, address| {
            let (of, at, own) = (of.clone(), at.clone(), own.clone());
            dispatcher::Dispatcher::new(of, environment(), own, at, life, address)
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let end: End = stopped.map(drop).boxed().shared();
        let port = RemoteListener::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let address = port.address().to_string();
        let credentials = identity.credentials().expect("credentials");
        let tls = credentials.remote_config().expect("a configuration");
        let directory = Directory::new(seat.standing().clone());
        let service = Dispatcher::new(seat.clone(), node.clone(), directory, end.clone());
        let routes = Routes::new(DispatcherServer::new(service.clone()))
            .add_service(DoubtServer::new(service));
        let front = Front::new(access(&store, identity), None);
        let serving = serve_port(port, tls, Guests::default(), front, routes, end);
        #[expect(clippy::disallowed_methods, reason = "a test has no supervision tree")]
        tokio::spawn(serving);
        let tls = credentials.client_config().expect("a configuration");
        let channel = channel_to(&address, tls).await;
        let (client, end) = (DispatcherClient::new(channel.clone()), Some(stop));
        Self { node, address, store, seat, leader, dispatcher, channel, client, end }
    }

    /// Leads from now on, in a cluster with the node.
    async fn lead(&mut self) {
        let role = NodeRole::Manager.into();
        let node = wire::Node { id: self.node.to_string(), role, ..Default::default() };
        let written = self.store.transact(|tx| tx.create(Node::from(node)));
        written.await.expect("written");
        self.seat.take(self.dispatcher.clone());
    }

    async fn register(&mut self, session_id: &str) -> (String, Streaming<wire::SessionMessage>) {
        let session_id = session_id.to_owned();
        let request = wire::SessionRequest { session_id, ..Default::default() };
        let mut messages = self.client.session(request).await.expect("registered").into_inner();
        let first = messages.message().await.expect("open").expect("the first message");
        (first.session_id, messages)
    }

    async fn heartbeat(&mut self, session_id: &str) -> Result<Duration, Status> {
        let request = wire::HeartbeatRequest { session_id: session_id.to_owned() };
        let answer = self.client.heartbeat(request).await?.into_inner();
        Ok(answer.period.expect("a period").try_into().expect("it is positive"))
    }

    async fn assign(&mut self, id: &'static str, node: &str) {
        let task = Task {
            id: id.into(),
            node_id: node.into(),
            desired_state: TaskState::RUNNING,
            status: TaskStatus { state: TaskState::ASSIGNED, ..Default::default() },
            ..Task::default()
        };
        self.store.transact(|tx| tx.create(task)).await.expect("written");
    }

    async fn report(&mut self, session_id: &str, tasks: &[&str]) -> Result<(), Status> {
        let status =
            wire::TaskStatus { state: wire::TaskState::Running.into(), ..Default::default() };
        let update = |task: &&str| wire::update_task_status_request::TaskStatusUpdate {
            task_id: (*task).to_owned(),
            status: Some(status.clone()),
        };
        let updates = tasks.iter().map(update).collect();
        let session_id = session_id.to_owned();
        let request = wire::UpdateTaskStatusRequest { session_id, updates };
        self.client.update_task_status(request).await.map(drop)
    }
}

/// Reads a stream to its end, and returns how many messages came before that.
async fn ended<T>(mut messages: Streaming<T>) -> (usize, Status) {
    let mut count = 0;
    loop {
        match messages.message().await {
            Ok(Some(_)) => count += 1,
            Ok(None) => panic!("it ended without a reason"),
            Err(status) => return (count, status),
        }
    }
}

fn is(status: &Status, code: Code, text: &str) {
    assert_eq!((status.code(), status.message()), (code, text));
}

#[test]
fn a_manager_that_does_not_lead_has_no_dispatcher() {
    run_manager(async |manager| {
        let stopped = "dispatcher is stopped";
        let session = wire::SessionRequest::default();
        check(manager.client.session(session).await, Code::Aborted, stopped);
        check(manager.heartbeat("s").await, Code::Aborted, stopped);
        check(manager.report("s", &[]).await, Code::Aborted, stopped);
        let assignments = wire::AssignmentsRequest::default();
        check(manager.client.assignments(assignments).await, Code::Aborted, stopped);
        check(manager.client.tasks(wire::TasksRequest::default()).await, Code::Aborted, stopped);
        let volumes = wire::UpdateVolumeStatusRequest::default();
        check(manager.client.update_volume_status(volumes).await, Code::Aborted, stopped);
    });
}

#[test]
fn an_agent_registers_lives_and_works() {
    run_manager(async |manager| {
        manager.lead().await;
        manager.assign("a", manager.node.clone().as_str()).await;
        let (session_id, _messages) = manager.register("").await;
        let view = manager.store.view();
        let node = view.node(&manager.node).expect("the node");
        assert_eq!((node.status.state(), &*node.status.addr), (State::Ready, "127.0.0.1"));
        let period = manager.heartbeat(&session_id).await.expect("it is heard");
        assert!(period > Duration::from_secs(4), "{period:?}");
        let request = wire::AssignmentsRequest { session_id: session_id.clone() };
        let mut assignments =
            manager.client.assignments(request).await.expect("opened").into_inner();
        let all = assignments.message().await.expect("open").expect("a list");
        assert_eq!((all.r#type(), all.changes.len()), (Type::Complete, 1));
        manager.report(&session_id, &["a", "unknown"]).await.expect("taken");
        let mut view = manager.store.view();
        while view.task(&"a".into()).expect("the task").status.state != TaskState::RUNNING {
            manager.store.feed().news(view.index()).await;
            view = manager.store.view();
        }
    });
}

#[test]
fn a_manager_that_listens_everywhere_is_where_a_node_has_reached_it() {
    run_manager(async |manager| {
        let own = Founder {
            raft_id: 1,
            node_id: manager.node.to_string(),
            address: "0.0.0.0:4242".to_owned(),
        };
        manager.seat.standing().name(vec![own]);
        manager.lead().await;
        let mut messages =
            manager.client.session(wire::SessionRequest::default()).await.expect("it is open");
        let mut told = Vec::new();
        while told.is_empty() {
            told = messages.get_mut().message().await.expect("open").expect("a message").managers;
        }
        let peer = told.remove(0).peer.expect("who it is");
        assert_eq!((&*peer.node_id, &*peer.addr), (manager.node.as_str(), "127.0.0.1:4242"));
    });
}

#[test]
fn refusals_have_the_codes_that_agents_know() {
    run_manager(async |manager| {
        manager.seat.take(manager.dispatcher.clone());
        let session = wire::SessionRequest::default();
        check(manager.client.session(session).await, Code::Unknown, "node not found");
        check(manager.heartbeat("s").await, Code::NotFound, "node not registered");
        manager.lead().await;
        manager.assign("foreign", "other").await;
        let (session_id, _messages) = manager.register("").await;
        for wrong in ["", "made up"] {
            check(manager.heartbeat(wrong).await, Code::InvalidArgument, "session invalid");
        }
        let text = "cannot update a task not assigned this node";
        let reported = manager.report(&session_id, &["foreign"]).await;
        check(reported, Code::PermissionDenied, text);
        let volumes = wire::UpdateVolumeStatusRequest { session_id, ..Default::default() };
        let text = "volumes are not offered by this version of swarmd";
        check(manager.client.update_volume_status(volumes).await, Code::Unimplemented, text);
        for _ in 0..3 {
            manager.register("lost").await;
        }
        let session = wire::SessionRequest { session_id: "lost".into(), ..Default::default() };
        let text = format!("node {} exceeded rate limit count of registrations", manager.node);
        check(manager.client.session(session).await, Code::Unavailable, &text);
        let description =
            wire::NodeDescription { hostname: "h".repeat(256 << 10), ..Default::default() };
        let large = wire::SessionRequest { description: Some(description), ..Default::default() };
        let text = "a node's description has 262144 bytes at most";
        check(manager.client.session(large).await, Code::InvalidArgument, text);
    });
}

#[test]
fn nobody_without_a_certificate_is_an_agent() {
    run_manager(async |manager| {
        manager.lead().await;
        let tls = stranger_config(None).expect("a configuration");
        let mut stranger = DispatcherClient::new(channel_to(&manager.address, tls).await);
        let refused = stranger.session(wire::SessionRequest::default()).await;
        let text = "Permission denied: unauthorized peer role: rpc error: code = PermissionDenied \
                    desc = no client certificates in request";
        check(refused, Code::PermissionDenied, text);
    });
}

#[test]
fn a_later_session_ends_an_earlier_one() {
    run_manager(async |manager| {
        manager.lead().await;
        let (_, earlier) = manager.register("").await;
        let (_, _later) = manager.register("").await;
        is(&ended(earlier).await.1, Code::InvalidArgument, "session invalid");
    });
}

#[test]
fn agents_are_sent_away_when_the_dispatcher_ends() {
    run_manager(async |manager| {
        manager.lead().await;
        let (session_id, messages) = manager.register("").await;
        let request = wire::AssignmentsRequest { session_id };
        let assignments = manager.client.assignments(request).await.expect("opened");
        let mut assignments = assignments.into_inner();
        assignments.message().await.expect("open").expect("a list");
        manager.seat.leave();
        manager.leader.stop().await;
        let (count, status) = ended(messages).await;
        assert_eq!(count, 1, "it says once more who the managers are");
        is(&status, Code::Aborted, "node must disconnect");
        is(&ended(assignments).await.1, Code::Aborted, "node must disconnect");
    });
}

#[test]
fn agents_are_sent_away_when_the_daemon_ends() {
    run_manager(async |manager| {
        manager.lead().await;
        let (_, messages) = manager.register("").await;
        drop(manager.end.take());
        let (count, status) = ended(messages).await;
        assert_eq!(count, 0);
        is(&status, Code::Aborted, "node must disconnect");
    });
}

#[test]
fn an_agent_of_old_hears_all_tasks_every_time() {
    run_manager(async |manager| {
        manager.lead().await;
        let node = manager.node.clone();
        manager.assign("a", node.as_str()).await;
        let (session_id, _messages) = manager.register("").await;
        let request = wire::TasksRequest { session_id };
        let mut lists = manager.client.tasks(request).await.expect("opened").into_inner();
        let ids = |list: wire::TasksMessage| -> Vec<String> {
            list.tasks.into_iter().map(|task| task.id).collect()
        };
        assert_eq!(ids(lists.message().await.expect("open").expect("a list")), ["a"]);
        manager.assign("b", node.as_str()).await;
        assert_eq!(ids(lists.message().await.expect("open").expect("a list")), ["a", "b"]);
    });
}

#[test]
fn a_doubt_is_shown_and_ended() {
    run_manager(async |manager| {
        let mut doubt = DoubtClient::new(manager.channel.clone());
        let stopped = doubt.get_doubt(GetDoubtRequest {}).await;
        check(stopped, Code::Aborted, "dispatcher is stopped");
        manager.lead().await;
        let spec = wire::ClusterSpec {
            annotations: Some(wire::Annotations { name: "default".into(), ..Default::default() }),
            dispatcher: Some(wire::DispatcherConfig {
                heartbeat_period: Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 }),
            }),
            ..Default::default()
        };
        let cluster = wire::Cluster { id: "c".into(), spec: Some(spec), ..Default::default() };
        manager.store.transact(|tx| tx.create(Cluster::from(cluster))).await.expect("written");
        for name in ["a", "b", "c"] {
            let node = wire::Node { id: name.to_owned(), ..Default::default() };
            manager.store.transact(|tx| tx.create(Node::from(node))).await.expect("written");
            let request = wire::SessionRequest::default();
            let opened = dispatcher::OpenSession { node: name.into(), addr: None, request };
            manager.dispatcher.send(opened).await.expect("alive").expect("registered");
        }
        let told = async |doubt: &mut DoubtClient<Channel>| {
            doubt.get_doubt(GetDoubtRequest {}).await.expect("answered").into_inner()
        };
        let mut now = told(&mut doubt).await;
        assert_eq!(now.since, None);
        while now.since.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            now = told(&mut doubt).await;
        }
        assert_eq!((now.ready_nodes, now.present_nodes), (3, 0));
        doubt.end_doubt(EndDoubtRequest {}).await.expect("it ends");
        assert_eq!(told(&mut doubt).await.since, None);
    });
}
