//! The page as Prometheus reads it, and the listener with real clients.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use actix::{Actor, Context, Handler, ResponseActFuture, WrapFuture};
use actors::{
    dispatcher::Seat,
    raft::{GetStatus, Status},
    store::{self, Store, View},
    supervised,
    supervision::{ActorReport, ActorState, Budget, Census, Tree},
};
use arc_swap::ArcSwapOption;
use protocol::{
    objects::{Kind, Node, Service, Task, TaskState, TaskStatus},
    wire::{self, node_status::State},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
    time::Instant,
};

use super::{
    Counts, Manager, Server, Sources,
    counts::Counter,
    page::{self, ManagerMoment, Moment},
    process::Process,
};

/// What a page says: the type of each family, and the value of each sample.
#[derive(Debug, Default)]
struct Read {
    types: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Read {
    /// Reads a page as strictly as the format is written down: every sample below the help and the
    /// type of its family, each family and each sample once.
    fn of(page: &str) -> Self {
        let (mut read, mut helped) = (Self::default(), BTreeSet::new());
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help has a text");
                assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type has a name");
                assert!(helped.contains(name), "{line}");
                assert!(["gauge", "counter"].contains(&kind), "{line}");
                assert_eq!(read.types.insert(name.to_owned(), kind.to_owned()), None, "{line}");
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
                let name = series.split('{').next().expect("a name");
                assert!(read.types.contains_key(name), "{line}");
                let is_plain = |one: char| one.is_ascii_alphanumeric() || one == '_';
                assert!(name.chars().all(is_plain), "{line}");
                let value = value.parse().expect("a number");
                assert_eq!(read.samples.insert(series.to_owned(), value), None, "{line}");
            }
        }
        let empty: Vec<_> = read.types.keys().filter(|name| !read.has_any(name)).collect();
        assert!(empty.is_empty(), "families without a sample: {empty:?}");
        read
    }

    fn has_any(&self, name: &str) -> bool {
        let labelled = format!("{name}{{");
        self.samples.keys().any(|series| series == name || series.starts_with(&labelled))
    }

    #[track_caller]
    fn check(&self, series: &str, value: f64) {
        assert_eq!(self.samples.get(series), Some(&value), "{series} of {:?}", self.samples);
    }
}

fn report(path: &str, depth: usize, restarts: u64, millis: u64) -> ActorReport {
    ActorReport {
        path: path.to_owned(),
        state: ActorState::Running,
        restarts,
        last_failure: None,
        mailbox_depth: depth,
        mailbox_capacity: 16,
        messages_handled: 100,
        longest_poll: Duration::from_millis(millis),
    }
}

fn status() -> Status {
    Status {
        raft_id: 7,
        term: 3,
        leader: Some(7),
        committed: 41,
        applied: 40,
        last: 42,
        voters: vec![7, 8, 9],
        learners: vec![10],
        members_since: 1,
        removed: Vec::new(),
        members: Vec::new(),
        reachable: vec![8, 10],
    }
}

fn counts() -> Counts {
    Counts {
        index: 40,
        objects: [(Kind::Service, 2), (Kind::Task, 6), (Kind::Node, 3)].into(),
        tasks: [(TaskState::RUNNING, 4), (TaskState::FAILED, 2)].into(),
        nodes: [(State::Ready, 2), (State::Down, 1)].into(),
    }
}

fn moment() -> Moment {
    let manager = ManagerMoment {
        status: Some(status()),
        sessions: Some(2),
        counts: Some(Arc::new(counts())),
    };
    Moment {
        node_id: "n\"1\\".into(),
        cluster_id: "c1".into(),
        actors: vec![
            report("agent/agent", 1, 0, 5),
            report("agent/task/a", 1, 1, 5),
            report("agent/task/b", 2, 2, 1500),
            report("manager/core/raft", 3, 4, 10),
        ],
        process: Process { resident_bytes: Some(1 << 20), open_files: Some(12) },
        manager: Some(manager),
    }
}

#[test]
fn a_page_says_what_there_is() {
    let read = Read::of(&page::text(&moment()));
    for (series, value) in [
        (r#"swarm_node_info{swarm_id="c1",node_id="n\"1\\"}"#, 1.0),
        ("swarm_node_manager", 1.0),
        ("swarm_manager_leader", 1.0),
        ("swarm_raft_has_leader", 1.0),
        ("swarm_raft_term", 3.0),
        ("swarm_raft_committed_index", 41.0),
        ("swarm_raft_applied_index", 40.0),
        ("swarm_raft_last_index", 42.0),
        ("swarm_raft_voters", 3.0),
        ("swarm_raft_learners", 1.0),
        ("swarm_raft_reachable", 2.0),
        ("swarm_store_index", 40.0),
        (r#"swarm_store_objects{kind="service"}"#, 2.0),
        (r#"swarm_store_objects{kind="volume"}"#, 0.0),
        ("swarm_manager_services_total", 2.0),
        ("swarm_manager_secrets_total", 0.0),
        (r#"swarm_manager_nodes{state="ready"}"#, 2.0),
        (r#"swarm_manager_nodes{state="down"}"#, 1.0),
        (r#"swarm_manager_nodes{state="disconnected"}"#, 0.0),
        (r#"swarm_manager_tasks_total{state="running"}"#, 4.0),
        (r#"swarm_manager_tasks_total{state="failed"}"#, 2.0),
        (r#"swarm_manager_tasks_total{state="orphaned"}"#, 0.0),
        ("swarm_dispatcher_sessions", 2.0),
        (r#"swarm_actor_mailbox_depth{actor="manager/core/raft"}"#, 3.0),
        (r#"swarm_actor_mailbox_capacity{actor="manager/core/raft"}"#, 16.0),
        (r#"swarm_actor_restarts_total{actor="manager/core/raft"}"#, 4.0),
        (r#"swarm_actor_longest_poll_seconds{actor="manager/core/raft"}"#, 0.01),
        (r#"swarm_actor_messages_total{actor="agent/agent"}"#, 100.0),
        ("process_resident_memory_bytes", 1_048_576.0),
        ("process_open_fds", 12.0),
    ] {
        read.check(series, value);
    }
    assert_eq!(read.types["swarm_actor_restarts_total"], "counter");
    assert_eq!(read.types["swarm_manager_tasks_total"], "gauge");
}

#[test]
fn every_state_has_a_series() {
    let read = Read::of(&page::text(&moment()));
    let of = |name: &str| read.samples.keys().filter(|series| series.starts_with(name)).count();
    let tasks = (0..10_000).filter(|number| wire::TaskState::try_from(*number).is_ok()).count();
    assert_eq!(of("swarm_manager_tasks_total{"), tasks);
    let nodes = (0..10_000).filter(|number| State::try_from(*number).is_ok()).count();
    assert_eq!(of("swarm_manager_nodes{"), nodes);
    assert_eq!(of("swarm_store_objects{"), Kind::ALL.len());
}

/// There may be thousands of them, and each is there for a while only.
#[test]
fn tasks_of_an_agent_share_a_series() {
    let read = Read::of(&page::text(&moment()));
    read.check(r#"swarm_actors{actor="agent/task"}"#, 2.0);
    read.check(r#"swarm_actor_mailbox_depth{actor="agent/task"}"#, 3.0);
    read.check(r#"swarm_actor_mailbox_capacity{actor="agent/task"}"#, 32.0);
    read.check(r#"swarm_actor_restarts_total{actor="agent/task"}"#, 3.0);
    read.check(r#"swarm_actor_messages_total{actor="agent/task"}"#, 200.0);
    read.check(r#"swarm_actor_longest_poll_seconds{actor="agent/task"}"#, 1.5);
    read.check(r#"swarm_actors{actor="agent/agent"}"#, 1.0);
    assert!(!read.samples.keys().any(|series| series.contains("task/")), "{read:?}");
}

#[test]
fn what_is_not_known_is_left_out() {
    let worker = Moment { manager: None, process: Process::default(), ..moment() };
    let read = Read::of(&page::text(&worker));
    read.check("swarm_node_manager", 0.0);
    for name in ["swarm_raft_term", "swarm_store_index", "swarm_manager_leader"] {
        assert!(!read.has_any(name), "{name}");
    }
    assert!(!read.has_any("process_open_fds") && read.has_any("swarm_actor_mailbox_depth"));
    let manager = ManagerMoment { status: None, sessions: None, counts: Some(Arc::new(counts())) };
    let read = Read::of(&page::text(&Moment { manager: Some(manager), ..moment() }));
    assert!(read.has_any("swarm_store_index") && read.has_any("swarm_manager_tasks_total"));
    for name in ["swarm_raft_term", "swarm_manager_leader", "swarm_dispatcher_sessions"] {
        assert!(!read.has_any(name), "{name}");
    }
    let follower = Status { leader: Some(8), ..status() };
    let manager = ManagerMoment {
        status: Some(follower),
        sessions: Some(0),
        counts: Some(Arc::new(counts())),
    };
    let read = Read::of(&page::text(&Moment { manager: Some(manager), ..moment() }));
    read.check("swarm_manager_leader", 0.0);
    read.check("swarm_raft_has_leader", 1.0);
}

/// Raft, when it answers and when it hangs.
struct Raft {
    answers: bool,
}

impl Actor for Raft {
    type Context = Context<Self>;
}

supervised!(Raft, mailbox = 4);

impl Handler<GetStatus> for Raft {
    type Result = ResponseActFuture<Self, Option<Status>>;

    fn handle(&mut self, _: GetStatus, _: &mut Context<Self>) -> Self::Result {
        let answers = self.answers;
        let answer = async move { if answers { Some(status()) } else { pending().await } };
        Box::pin(answer.into_actor(self))
    }
}

/// A node with so much in its store, and a raft that may hang.
fn with_manager(answers: bool, test: impl AsyncFnOnce(&Store, Sources)) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let census = Census::default();
        let budget = Budget { restarts: 0, within: Duration::from_secs(60) };
        let tree = Tree::root("test", budget, census.clone(), |lost| panic!("{lost}"));
        let store = store::testing::start(&tree, View::default());
        store::testing::until_leading(&store).await;
        let raft = tree.child("raft-status", move |_| Raft { answers });
        let manager = Manager::new(store.clone(), raft.recipient(), Seat::default());
        let manager = Arc::new(ArcSwapOption::from_pointee(manager));
        let sources = Sources { node_id: "n".into(), cluster_id: "c".into(), census, manager };
        test(&store, sources).await;
        tree.stop().await;
    });
}

async fn fill(store: &Store) {
    let written = store.transact(|head| {
        for (id, state) in [("a", State::Ready), ("b", State::Ready), ("c", State::Down)] {
            let status = wire::NodeStatus { state: state.into(), ..wire::NodeStatus::default() };
            let node = wire::Node { id: id.into(), status: Some(status), ..Default::default() };
            head.create(Node::from(node))?;
        }
        let annotations = wire::Annotations { name: "web".into(), ..Default::default() };
        let spec = wire::ServiceSpec { annotations: Some(annotations), ..Default::default() };
        let service = wire::Service { id: "s".into(), spec: Some(spec), ..Default::default() };
        head.create(Service::from(service))?;
        for number in 0..10 {
            let state = if number < 7 { TaskState::RUNNING } else { TaskState::REJECTED };
            let status = TaskStatus { state, ..TaskStatus::default() };
            let id = format!("t{number}").as_str().into();
            head.create(Task { id, status, ..Task::default() })?;
        }
        Ok::<_, store::Error>(())
    });
    written.await.expect("written");
}

#[test]
fn everything_in_a_view_is_counted() {
    with_manager(true, async |store, _| {
        assert_eq!(Counts::of(&View::default()).tasks, BTreeMap::new());
        fill(store).await;
        let view = store.view();
        let counts = Counts::of(&view);
        assert_eq!(counts.index, view.index());
        assert_eq!(counts.tasks, [(TaskState::RUNNING, 7), (TaskState::REJECTED, 3)].into());
        assert_eq!(counts.nodes, [(State::Ready, 2), (State::Down, 1)].into());
        let of = |kind| counts.objects[&kind];
        assert_eq!([Kind::Task, Kind::Node, Kind::Service, Kind::Secret].map(of), [10, 3, 1, 0]);
    });
}

#[test]
fn nothing_is_counted_twice() {
    with_manager(true, async |store, _| {
        let counter = Counter::default();
        let first = counter.count(store).await.expect("counted");
        let again = counter.count(store).await.expect("counted");
        assert!(Arc::ptr_eq(&first, &again), "nothing has changed");
        fill(store).await;
        let last = counter.count(store).await.expect("counted");
        assert_eq!(*last, Counts::of(&store.view()));
    });
}

#[test]
fn a_page_of_a_manager_has_every_part() {
    with_manager(true, async |store, sources| {
        fill(store).await;
        let read = Read::of(&sources.page().await);
        read.check("swarm_raft_term", 3.0);
        read.check(r#"swarm_manager_tasks_total{state="running"}"#, 7.0);
        read.check("swarm_dispatcher_sessions", 0.0);
        read.check(r#"swarm_actor_restarts_total{actor="test/store"}"#, 0.0);
        sources.manager.store(None);
        let read = Read::of(&sources.page().await);
        read.check("swarm_node_manager", 0.0);
    });
}

#[test]
fn a_raft_that_hangs_is_not_waited_for() {
    with_manager(false, async |_, sources| {
        let begun = Instant::now();
        let read = Read::of(&sources.page().await);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert!(!read.has_any("swarm_raft_term") && read.has_any("swarm_manager_tasks_total"));
        read.check(r#"swarm_actor_mailbox_depth{actor="test/raft-status"}"#, 0.0);
    });
}

/// A listener on a port that the system chose, of a node without a manager.
async fn serving() -> SocketAddr {
    let server = Server::bind("127.0.0.1:0".parse().expect("an address")).await.expect("bound");
    let address = server.address();
    assert_ne!(address.port(), 0);
    let sources = Sources {
        node_id: "n".into(),
        cluster_id: "c".into(),
        census: Census::default(),
        manager: Arc::default(),
    };
    #[expect(clippy::disallowed_methods, reason = "a test has no supervision tree")]
    tokio::spawn(server.serve(sources));
    address
}

/// Sends some bytes, and returns everything that comes back until the end.
async fn ask(address: SocketAddr, question: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(question.as_bytes()).await.expect("taken");
    let mut answer = Vec::new();
    // What was not read of a question that is too large makes the end a reset.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("text")
}

#[tokio::test]
async fn one_path_is_served_to_one_method() {
    let address = serving().await;
    for (question, status) in [
        ("GET /metrics", "200 OK"),
        ("GET /metrics?name=x", "200 OK"),
        ("GET /", "404 Not Found"),
        ("GET /metrics/", "404 Not Found"),
        ("POST /", "404 Not Found"),
        ("POST /metrics", "405 Method Not Allowed"),
        ("HEAD /metrics", "405 Method Not Allowed"),
        ("DELETE /metrics", "405 Method Not Allowed"),
    ] {
        let answer = ask(address, &format!("{question} HTTP/1.1\r\nhost: n\r\n\r\n")).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{question}: {head}");
        assert_eq!(head.contains("\r\nallow: GET"), status.starts_with("405"), "{head}");
        if status == "200 OK" {
            assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4"), "{head}");
            Read::of(body).check("swarm_node_manager", 0.0);
        }
    }
}

#[tokio::test]
async fn what_is_no_question_gets_no_page() {
    let address = serving().await;
    let long = format!("GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(64 << 10));
    for question in [long.as_str(), "nonsense\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
        let answer = ask(address, question).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert!(!answer.contains("swarm_"), "{answer}");
    }
    assert!(ask(address, "GET /metrics HTTP/1.0\r\n\r\n").await.contains("swarm_node_info"));
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_ask_is_cut_off_and_others_are_served() {
    let address = serving().await;
    let begun = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..16 {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(b"GET /metr").await.expect("taken");
        silent.push(stream);
    }
    // There is no room until the first of them are gone.
    let answer = ask(address, "GET /metrics HTTP/1.1\r\nhost: n\r\n\r\n").await;
    assert!(answer.contains("swarm_node_info"), "{answer}");
    for mut stream in silent {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!String::from_utf8_lossy(&answer).contains("swarm_"), "it never asked");
    }
    let took = begun.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(10)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let address = serving().await;
    let error = Server::bind(address).await.expect_err("taken");
    assert_eq!(error.to_string(), format!("metrics cannot be served on {address}"));
    let why = std::error::Error::source(&error).expect("a reason").to_string();
    assert!(why.contains("in use"), "{why}");
}
