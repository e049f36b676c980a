//! Times the store by itself, without raft: reads, views, transactions, watches, memory.
//! `cargo bench -p tests --bench store` repeats every figure it prints.

use std::{
    cell::Cell,
    env, fs,
    hint::black_box,
    process::Command,
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use actix::{Actor, Context, Handler, MessageResult};
use actors::{
    raft::{GetCommitted, LogPage},
    store::{Restore, Store, Transaction, View, testing},
    supervised,
    supervision::{Budget, Census, Recipient, Tree},
    watch::Watch,
};
use futures_util::future::join_all;
use prost_types::Timestamp;
use protocol::{
    id::{Id, NodeId, TaskId},
    objects::{Node, Service, Task, TaskState},
    wire::{self, WatchRequest, watch_request::WatchEntry},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    sync::{mpsc, oneshot},
    task::LocalSet,
};

const NODES: usize = 10_000;
const LOOKUPS: usize = 5_000_000;
const WATCHERS: usize = 1_000;
const TRANSACTIONS: usize = 20_000;
const PER_TRANSACTION: usize = 200;
const NOW: Timestamp = Timestamp { seconds: 1_700_000_000, nanos: 0 };

/// Memory is measured in processes of their own: what this one has freed would be used again.
const MEMORY: &str = "memory";

fn main() {
    if let [_, what, tasks] = &env::args().collect::<Vec<_>>()[..]
        && what == MEMORY
    {
        return memory(tasks.parse().expect("a number of tasks"));
    }
    reads();
    let budget = Budget { restarts: 0, within: Duration::from_secs(1) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    LocalSet::new().block_on(&runtime.expect("a runtime needs nothing"), async {
        let tree = Tree::root("bench", budget, Census::default(), |lost| panic!("{lost}"));
        let store = testing::start(&tree, View::default());
        testing::until_leading(&store).await;
        transactions(&store).await;
        updates(&store).await;
        let log = tree.child("log", |_| NoLog).recipient();
        watches(&store, &log).await;
        publishing(&store, &log).await;
        tree.stop().await;
    });
    for tasks in ["100000", "1000000"] {
        let own = env::current_exe().expect("this is a program");
        let status = Command::new(own).args([MEMORY, tasks]).status().expect("it starts");
        assert!(status.success(), "it measures");
    }
}

#[expect(clippy::print_stdout, reason = "it prints what it measured")]
fn say(what: &str, figure: impl std::fmt::Display) {
    println!("{what:<66} {figure}");
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Instant {
    Instant::now()
}

/// Both clocks: that on the wall, and the time that this thread has had a processor. On a machine
/// with other work only the second says what something costs.
#[derive(Clone, Copy)]
struct Clocks {
    wall: Instant,
    processor: Duration,
}

impl Clocks {
    fn now() -> Self {
        let ours = fs::read_to_string("/proc/thread-self/schedstat").expect("this is Linux");
        let nanos = ours.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
        Self { wall: now(), processor: Duration::from_nanos(nanos.expect("a number")) }
    }

    /// How long each of so many took.
    fn each(self, count: usize) -> String {
        let count = u32::try_from(count).expect("a bench is no longer");
        let (wall, processor) = self.elapsed();
        format!("{:.2?}, of which on a processor {:.2?}", wall / count, processor / count)
    }

    fn per_second(self, count: usize) -> String {
        let (wall, processor) = self.elapsed();
        let rate = |time: Duration| count as f64 / time.as_secs_f64();
        format!("{:.0}/s, {:.0} in a second on a processor", rate(wall), rate(processor))
    }

    fn elapsed(self) -> (Duration, Duration) {
        let now = Self::now();
        (now.wall - self.wall, now.processor - self.processor)
    }
}

fn id(random: &mut StdRng) -> Id {
    Id::random(random)
}

fn reads() {
    let random = &mut StdRng::seed_from_u64(1);
    let ids: Vec<NodeId> = (0..NODES).map(|_| id(random).into()).collect();
    let view = with(&View::default(), |transaction| {
        for id in &ids {
            let node = Node::from(wire::Node { id: id.to_string(), ..Default::default() });
            transaction.create(node).expect("it is new");
        }
    });
    let wanted: Vec<_> = (0..LOOKUPS).map(|_| random.gen_range(0..NODES)).collect();
    let began = Clocks::now();
    for wanted in wanted {
        black_box(view.node(&ids[wanted]));
    }
    say("node by id, among 10,000", began.each(LOOKUPS));
    let began = Clocks::now();
    for _ in 0..LOOKUPS {
        black_box(view.clone());
    }
    say("clone of a view", began.each(LOOKUPS));
}

fn with(view: &View, write: impl FnOnce(&mut Transaction)) -> View {
    let mut transaction = Transaction::begin(view);
    write(&mut transaction);
    transaction.seal(view.index() + 1, NOW).view
}

/// A service as users write them: an image, a command, variables, labels, a port.
fn service() -> Service {
    let text = |text: &str| text.to_owned();
    let container = wire::ContainerSpec {
        image: text("registry.example/team/web:1.27@sha256:0123456789abcdef0123456789abcdef"),
        command: vec![text("/usr/bin/web"), text("--listen"), text("0.0.0.0:8080")],
        env: (0..8).map(|number| format!("VARIABLE_{number}=some value {number}")).collect(),
        labels: (0..4).map(|number| (format!("label-{number}"), text("value"))).collect(),
        ..Default::default()
    };
    let port = wire::PortConfig { target_port: 8080, published_port: 80, ..Default::default() };
    let annotations = wire::Annotations { name: text("web"), ..Default::default() };
    let spec = wire::ServiceSpec {
        annotations: Some(annotations),
        task: Some(wire::TaskSpec {
            runtime: Some(wire::task_spec::Runtime::Container(container)),
            ..Default::default()
        }),
        endpoint: Some(wire::EndpointSpec { ports: vec![port], ..Default::default() }),
        ..Default::default()
    };
    Service::from(wire::Service {
        id: text("a-service-of-the-bench-00"),
        spec: Some(spec),
        ..Default::default()
    })
}

/// What the tasks of the service share.
fn common(service: &Service) -> Task {
    let annotations = service.spec.annotations.clone().expect("it has some");
    Task {
        spec: Arc::new(service.spec.task.clone().expect("it has one")),
        spec_version: Some(1),
        service_id: service.id.clone(),
        service_annotations: Arc::new(annotations),
        desired_state: TaskState::RUNNING,
        ..Task::default()
    }
}

/// A task of the service on one of the nodes, as it is when it runs.
fn task(common: &Task, slot: u64, random: &mut StdRng) -> Task {
    let mut task = Task {
        id: TaskId::from(id(random)),
        slot,
        node_id: NodeId::from(format!("node-{:020}", slot % 1_000).as_str()),
        ..common.clone()
    };
    task.status.state = TaskState::RUNNING;
    task.status.timestamp = Some(NOW);
    task.status.message = "started".into();
    task
}

async fn transactions(store: &Store) {
    let random = &mut StdRng::seed_from_u64(2);
    let mut create = || {
        let node = Node::from(wire::Node { id: id(random).to_string(), ..Default::default() });
        store.transact(move |head| head.create(node))
    };
    let began = Clocks::now();
    for _ in 0..TRANSACTIONS {
        create().await.expect("it is new");
    }
    say("one-change transactions, one after the other", began.per_second(TRANSACTIONS));
    let began = Clocks::now();
    for _ in 0..TRANSACTIONS / 100 {
        let outcomes = join_all((0..100).map(|_| create())).await;
        assert!(outcomes.iter().all(Result::is_ok), "they are new");
    }
    say("one-change transactions, a hundred at once", began.per_second(TRANSACTIONS));
}

/// What the scheduler does to the store: every task gets a node.
async fn updates(store: &Store) {
    const TASKS: usize = 100_000;
    let random = &mut StdRng::seed_from_u64(3);
    let common = common(&service());
    let mut tasks: Vec<_> = (1..=TASKS as u64).map(|slot| task(&common, slot, random)).collect();
    tasks.iter_mut().for_each(|task| task.node_id = NodeId::default());
    let ids: Vec<_> = tasks.iter().map(|task| task.id.clone()).collect();
    let began = Clocks::now();
    let created = tasks.chunks(PER_TRANSACTION).map(|tasks| {
        let tasks = tasks.to_vec();
        store.transact(move |head| tasks.into_iter().try_for_each(|task| head.create(task)))
    });
    assert!(join_all(created).await.iter().all(Result::is_ok), "they are new");
    say("100,000 tasks created, 200 in a transaction", began.each(1));
    let began = Clocks::now();
    let placed = ids.chunks(PER_TRANSACTION).map(|ids| {
        let ids = ids.to_vec();
        store.transact(move |head| {
            ids.iter().enumerate().try_for_each(|(place, id)| {
                let mut task = Task::clone(head.task(id).expect("it was created"));
                task.node_id = NodeId::from(format!("node-{:020}", place % 1_000).as_str());
                head.update(task)
            })
        })
    });
    assert!(join_all(placed).await.iter().all(Result::is_ok), "they are there");
    say("100,000 tasks updated, 200 in a transaction", began.each(1));
}

/// What stands in for raft's log: watches that begin now never ask it.
struct NoLog;

impl Actor for NoLog {
    type Context = Context<Self>;
}

supervised!(NoLog, mailbox = 4);

impl Handler<GetCommitted> for NoLog {
    type Result = MessageResult<GetCommitted>;

    fn handle(&mut self, _: GetCommitted, _: &mut Context<Self>) -> Self::Result {
        MessageResult(LogPage::default())
    }
}

/// Watches of nodes, which begin now.
fn begin(store: &Store, log: &Recipient<GetCommitted>) -> Vec<Watch> {
    let entry = WatchEntry { kind: "node".to_owned(), action: 7, ..Default::default() };
    let request = WatchRequest { entries: vec![entry], ..Default::default() };
    let begin = |_| Watch::begin(store, log.clone(), &request).expect("a good request");
    (0..WATCHERS).map(begin).collect()
}

/// What watches cost the thread of the store, while another thread serves them as in a daemon.
async fn publishing(store: &Store, log: &Recipient<GetCommitted>) {
    const ROUNDS: usize = 1_000;
    let random = &mut StdRng::seed_from_u64(6);
    let mut create = || {
        let node = Node::from(wire::Node { id: id(random).to_string(), ..Default::default() });
        store.transact(move |head| head.create(node))
    };
    let began = Clocks::now();
    for _ in 0..ROUNDS {
        create().await.expect("it is new");
    }
    let alone = began.elapsed().1;
    let (watches, (heard, mut all_heard)) = (begin(store, log), mpsc::channel(1));
    let (stop, stopped) = oneshot::channel();
    let thread = thread::spawn(move || serve(watches, heard, stopped));
    let began = Clocks::now();
    for _ in 0..ROUNDS {
        create().await.expect("it is new");
        all_heard.recv().await.expect("the thread goes on");
    }
    let watched = began.elapsed().1;
    let each = watched.saturating_sub(alone) / u32::try_from(ROUNDS).expect("a few");
    say("1,000 watches, on the store's processor for each change", format!("{each:.2?}"));
    drop(stop);
    thread.join().expect("it does not panic");
}

/// Serves watches until it is told to stop, and says each time when all of them have heard.
fn serve(watches: Vec<Watch>, heard: mpsc::Sender<()>, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let local = LocalSet::new();
    let count = Rc::new(Cell::new(0));
    for mut watch in watches {
        let (heard, count) = (heard.clone(), count.clone());
        local.spawn_local(async move {
            while watch.next().await.is_ok() {
                count.set(count.get() + 1);
                if count.get() % WATCHERS == 0 {
                    heard.try_send(()).ok();
                }
            }
        });
    }
    local.block_on(&runtime.expect("a runtime needs nothing"), stopped).ok();
}

async fn watches(store: &Store, log: &Recipient<GetCommitted>) {
    const ROUNDS: usize = 50;
    let mut watches = begin(store, log);
    let random = &mut StdRng::seed_from_u64(4);
    let began = Clocks::now();
    for _ in 0..ROUNDS {
        let node = Node::from(wire::Node { id: id(random).to_string(), ..Default::default() });
        let written = store.transact(move |head| head.create(node));
        let (written, heard) = tokio::join!(written, join_all(watches.iter_mut().map(Watch::next)));
        written.expect("it is new");
        assert!(heard.iter().all(Result::is_ok), "everybody hears of it");
    }
    say("one change, from the call until 1,000 watches have it", began.each(ROUNDS));
}

/// How much memory tasks take, as a leader makes them and as a restart reads them.
fn memory(tasks: u64) {
    let random = &mut StdRng::seed_from_u64(5);
    let service = service();
    let common = common(&service);
    let before = resident();
    let mut view = with(&View::default(), |transaction| {
        transaction.create(service.clone()).expect("it is new");
    });
    for first in (1..=tasks).step_by(PER_TRANSACTION) {
        view = with(&view, |transaction| {
            for slot in first..first + PER_TRANSACTION as u64 {
                transaction.create(task(&common, slot, random)).expect("it is new");
            }
        });
    }
    let made = (resident() - before) / tasks;
    say(&format!("a task among {tasks}, as a leader makes it"), format!("{made} bytes"));
    let mut restore = Restore::default();
    let (before, kept) = (resident(), view.clone());
    for object in view.encode() {
        restore.add(&object).expect("we encoded it");
    }
    let view = restore.finish(1);
    let read = (resident() - before) / tasks;
    say(&format!("a task among {tasks}, as a restart reads it"), format!("{read} bytes"));
    drop(kept);
    let before = resident();
    let mut bodies = Vec::with_capacity(usize::try_from(tasks).expect("they fit"));
    bodies.extend((1..=tasks).map(|slot| Arc::new(task(&common, slot, random))));
    let body = (resident() - before) / tasks;
    say(&format!("a task among {tasks}, in no index, with its pointer"), format!("{body} bytes"));
    drop(bodies);
    snapshots(&view, usize::try_from(tasks).expect("they fit"));
}

/// What a snapshot costs, beginning to write one and per task to make and read what peers get.
fn snapshots(view: &View, tasks: usize) {
    const BEGINNINGS: usize = 10_000;
    let began = Clocks::now();
    for _ in 0..BEGINNINGS {
        black_box(view.encode().next());
    }
    say("a snapshot, until the first object is encoded", began.each(BEGINNINGS));
    let began = Clocks::now();
    let bytes: usize = view.encode_fields().map(|field| black_box(field).len()).sum();
    say("a task, encoded for a peer", began.each(tasks));
    say("a task, encoded", format!("{} bytes", bytes / tasks));
    let fields: Vec<_> = view.encode_fields().take(10_000).collect();
    let mut restore = Restore::default();
    let began = Clocks::now();
    for field in &fields {
        restore.add_field(&mut &**field).expect("we encoded it");
    }
    say("a task of a peer, read", began.each(fields.len()));
    let view = restore.finish(1);
    let began = Clocks::now();
    let count = view.tasks().count();
    drop(view);
    say("a task, dropped with the last view of it", began.each(count));
}

/// The anonymous memory of this process, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let amount = line.and_then(|line| line.split_whitespace().next());
    amount.and_then(|amount| amount.parse::<u64>().ok()).expect("a number of kilobytes") * 1024
}
