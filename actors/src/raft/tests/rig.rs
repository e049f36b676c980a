//! Machines with a disk, and a network between them that can be cut.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix::{Actor, Context, Handler};
use protocol::{objects::Service, raftpb, wire};
use tokio::{sync::mpsc, task::LocalSet, time::sleep};

use crate::{
    environment::testing::environment,
    log::{
        self, Options, Writer,
        simulated::{Crash, SimulatedDisk, ToyCipher},
    },
    raft::{
        Config, Delivery, Ended, Error, Founder, Intake, Joined, LeadershipChanged, Links, Peer,
        Receive, Removed, Report, Standing, Transport,
    },
    store::{self, MemoryStore, Published, Store, TransactError},
    supervised,
    supervision::{Address, Budget, Census, Tree},
};

const BUDGET: Budget = Budget { restarts: 5, within: Duration::from_secs(60) };

pub(super) fn run(test: impl AsyncFnOnce()) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), test());
}

pub(super) fn create(
    store: &Store,
    name: &str,
) -> impl Future<Output = Result<(), TransactError<store::Error>>> + use<> {
    let annotations = wire::Annotations { name: name.to_owned(), ..Default::default() };
    let spec = wire::ServiceSpec { annotations: Some(annotations), ..Default::default() };
    let service = wire::Service { id: name.to_owned(), spec: Some(spec), ..Default::default() };
    store.transact(move |head| head.create(Service::from(service)))
}

/// Creates services with these numbers, one after the other.
pub(super) async fn create_each(store: &Store, numbers: Range<usize>) {
    for number in numbers {
        create(store, &format!("s{number:03}")).await.expect("written");
    }
}

/// Creates services of about a kilobyte each, 200 in a transaction.
pub(super) async fn create_many(store: &Store, count: usize) {
    for first in (0..count).step_by(200) {
        let services = (first..(first + 200).min(count)).map(large);
        let services: Vec<Service> = services.collect();
        let created = store.transact(move |head| {
            services.into_iter().try_for_each(|service| head.create(service))
        });
        created.await.expect("written");
    }
}

/// A service of about a kilobyte.
pub(super) fn large(number: usize) -> Service {
    let labels = [("text".to_owned(), "x".repeat(1_000))].into();
    let annotations =
        wire::Annotations { name: format!("s{number:05}"), labels, ..Default::default() };
    let spec = wire::ServiceSpec { annotations: Some(annotations), ..Default::default() };
    wire::Service { id: format!("s{number:05}"), spec: Some(spec), ..Default::default() }.into()
}

/// Hears what a peer tells the rest of the program.
struct Listener {
    leads: Rc<RefCell<Option<u64>>>,
    told: Rc<RefCell<Vec<Option<u64>>>>,
    ended: Rc<RefCell<Vec<Error>>>,
}

impl Actor for Listener {
    type Context = Context<Self>;
}

supervised!(Listener, mailbox = 16);

impl Handler<LeadershipChanged> for Listener {
    type Result = ();

    fn handle(&mut self, changed: LeadershipChanged, _: &mut Context<Self>) {
        *self.leads.borrow_mut() = changed.term;
        self.told.borrow_mut().push(changed.term);
    }
}

impl Handler<Ended> for Listener {
    type Result = ();

    fn handle(&mut self, ended: Ended, _: &mut Context<Self>) {
        self.ended.borrow_mut().push(ended.error);
    }
}

struct Nowhere;

impl Transport for Nowhere {
    fn send(&self, message: raftpb::Message) {
        panic!("a member that is alone sends {message:?}");
    }
}

pub(super) struct Machine {
    pub(super) config: Config,
    pub(super) disk: SimulatedDisk,
    pub(super) ended: Rc<RefCell<Vec<Error>>>,
    /// What was said of leadership, in order.
    pub(super) told: Rc<RefCell<Vec<Option<u64>>>>,
    leads: Rc<RefCell<Option<u64>>>,
    network: Option<Network>,
    alive: Option<Alive>,
}

struct Alive {
    tree: Tree,
    log: Address<Writer>,
    peer: Address<Peer>,
    memory: Address<MemoryStore>,
    store: Store,
}

impl Machine {
    pub(super) fn alone(seed: u64) -> Self {
        let member = log::Member {
            raft_id: 1,
            node_id: "node-1".to_owned(),
            cluster_id: "cluster".to_owned(),
        };
        Self {
            config: Config::alone(member, "node-1:4242".to_owned(), seed),
            disk: SimulatedDisk::new(seed),
            ended: Rc::default(),
            told: Rc::default(),
            leads: Rc::default(),
            network: None,
            alive: None,
        }
    }

    pub(super) fn start(&mut self) {
        let tree = Tree::root("machine", BUDGET, Census::default(), |_| {});
        let options = Options { segment_bytes: 64 * 1024, ..Options::default() };
        let writer = Writer::factory(self.disk.mount(), ToyCipher { key: 7 }, options);
        let log = tree.child("log", writer);
        let (leads, told, ended) = (self.leads.clone(), self.told.clone(), self.ended.clone());
        let listener = tree.child("listener", move |_| Listener {
            leads: leads.clone(),
            told: told.clone(),
            ended: ended.clone(),
        });
        let unit = tree.unit("unit", BUDGET);
        let published = Published::default();
        let memory = MemoryStore::factory(published.clone(), environment());
        let memory = unit.child("store", memory);
        let raft_id = self.config.member.raft_id;
        let transport: Arc<dyn Transport> = match &self.network {
            Some(network) => network.attach(raft_id),
            None => Arc::new(Nowhere),
        };
        let standing = Standing::default();
        let links = Links {
            log: log.clone(),
            store: memory.clone(),
            published: published.clone(),
            standing: standing.clone(),
            transport,
            leadership: listener.recipient(),
            ended: listener.recipient(),
        };
        let peer = unit.child_with_address("raft", Peer::factory(self.config.clone(), links));
        if let Some(network) = &self.network {
            network.0.borrow_mut().peers.insert(raft_id, (peer.clone(), standing));
        }
        let store = Store::new(memory.clone(), published);
        self.alive = Some(Alive { tree, log, peer, memory, store });
    }

    pub(super) fn crash(&mut self, crash: Crash) {
        let Alive { tree, .. } = self.alive.take().expect("alive");
        tree.abort();
        self.disk.crash(crash);
        *self.leads.borrow_mut() = None;
        if let Some(network) = &self.network {
            network.0.borrow_mut().peers.remove(&self.config.member.raft_id);
        }
    }

    pub(super) fn store(&self) -> Store {
        self.alive.as_ref().expect("alive").store.clone()
    }

    pub(super) fn peer(&self) -> Address<Peer> {
        self.alive.as_ref().expect("alive").peer.clone()
    }

    pub(super) fn memory(&self) -> Address<MemoryStore> {
        self.alive.as_ref().expect("alive").memory.clone()
    }

    pub(super) fn log(&self) -> Address<Writer> {
        self.alive.as_ref().expect("alive").log.clone()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.store().view().services().map(|service| service.name().to_owned()).collect()
    }

    pub(super) fn files(&self) -> Vec<String> {
        log::Disk::list(&self.disk.mount()).expect("listed")
    }

    pub(super) async fn until_leading(&self) {
        for _ in 0..30_000 {
            sleep(Duration::from_millis(1)).await;
            if self.leads.borrow().is_some() {
                return;
            }
        }
        panic!("thirty seconds were not enough");
    }
}

/// Delivers in order after a millisecond, except to and from members that are cut off.
#[derive(Clone, Default)]
pub(super) struct Network(Rc<RefCell<Wires>>);

#[derive(Default)]
struct Wires {
    /// Who listens, and what it knows of the group.
    peers: BTreeMap<u64, (Address<Peer>, Standing)>,
    cut_off: BTreeSet<u64>,
    /// How long a snapshot takes, and how many were sent.
    snapshots_take: Duration,
    snapshots: u32,
}

struct Plug(mpsc::UnboundedSender<raftpb::Message>);

impl Transport for Plug {
    fn send(&self, message: raftpb::Message) {
        self.0.send(message).ok();
    }
}

impl Network {
    pub(super) fn three(&self, seed: u64) -> Vec<Machine> {
        self.several(3, seed)
    }

    /// So many machines that found a group.
    pub(super) fn several(&self, count: u64, seed: u64) -> Vec<Machine> {
        let founders: Vec<_> = (1..=count)
            .map(|raft_id| Founder {
                raft_id,
                node_id: format!("node-{raft_id}"),
                address: format!("node-{raft_id}:4242"),
            })
            .collect();
        let machine = |founder: &Founder| {
            let mut machine = Machine::alone(seed + founder.raft_id);
            machine.config.member.raft_id = founder.raft_id;
            machine.config.member.node_id = founder.node_id.clone();
            machine.config.founders = founders.clone();
            machine.network = Some(self.clone());
            machine
        };
        founders.iter().map(machine).collect()
    }

    /// Three machines that write a snapshot after every `interval` entries and keep `kept` of them;
    /// with them, who leads, and who does not.
    pub(super) async fn three_with_snapshots(
        &self,
        seed: u64,
        interval: u64,
        kept: u64,
    ) -> (Vec<Machine>, usize, usize) {
        let mut machines = self.three(seed);
        for machine in &mut machines {
            machine.config.snapshot_interval = interval;
            machine.config.entries_kept = kept;
            machine.start();
        }
        let leader = self.until_leader(&machines).await;
        (machines, leader, (leader + 1) % 3)
    }

    fn attach(&self, from: u64) -> Arc<dyn Transport> {
        let (plug, mut wire) = mpsc::unbounded_channel::<raftpb::Message>();
        let network = self.clone();
        #[expect(clippy::disallowed_methods, reason = "the network is no actor")]
        tokio::task::spawn_local(async move {
            while let Some(message) = wire.recv().await {
                sleep(Duration::from_millis(1)).await;
                network.carry(from, message);
            }
        });
        Arc::new(Plug(plug))
    }

    fn carry(&self, from: u64, message: raftpb::Message) {
        let mut wires = self.0.borrow_mut();
        let to = message.to.expect("addressed");
        let snapshot = message.r#type() == raftpb::MessageType::MsgSnap;
        wires.snapshots += u32::from(snapshot);
        let takes = if snapshot { wires.snapshots_take } else { Duration::ZERO };
        let open = !wires.cut_off.contains(&from) && !wires.cut_off.contains(&to);
        let (receiver, sender) = (wires.peers.get(&to).cloned(), wires.peers.get(&from).cloned());
        let receiver = receiver.filter(|_| open);
        #[expect(clippy::disallowed_methods, reason = "the network is no actor")]
        tokio::task::spawn_local(async move {
            if !takes.is_zero() {
                sleep(takes).await;
            }
            let answer = match receiver {
                Some((_, standing)) if standing.group().judge(&message, None) != Intake::Hear => {
                    return;
                }
                Some((receiver, _)) => receiver.send(Receive(message)).await.ok(),
                None => None,
            };
            let delivery = match (snapshot, answer) {
                (_, Some(Err(Removed))) => Delivery::RefusedAsRemoved,
                (true, Some(Ok(()))) => Delivery::SnapshotArrived,
                (true, None) => Delivery::SnapshotLost,
                (false, None) => Delivery::Unreachable,
                (false, Some(Ok(()))) => return,
            };
            if let Some((sender, _)) = sender {
                sender.try_send(Report { to, delivery }).ok();
            }
        });
    }

    /// The machine of a node that has joined, and has no log yet.
    pub(super) fn joined(&self, node_id: &str, joined: &Joined) -> Machine {
        let mut machine = Machine::alone(joined.raft_id);
        machine.config.member.raft_id = joined.raft_id;
        machine.config.member.node_id = node_id.to_owned();
        machine.config.founders = Vec::new();
        machine.network = Some(self.clone());
        machine
    }

    pub(super) fn cut_off(&self, member: u64) {
        self.0.borrow_mut().cut_off.insert(member);
    }

    /// What a machine that runs knows of its group.
    pub(super) fn standing(&self, member: u64) -> Standing {
        self.0.borrow().peers[&member].1.clone()
    }

    /// From now on a snapshot is that long on its way.
    pub(super) fn slow_snapshots(&self, take: Duration) {
        self.0.borrow_mut().snapshots_take = take;
    }

    /// How many snapshots were sent.
    pub(super) fn snapshots(&self) -> u32 {
        self.0.borrow().snapshots
    }

    pub(super) fn heal(&self) {
        self.0.borrow_mut().cut_off.clear();
    }

    pub(super) fn leader(&self, machines: &[Machine]) -> Option<usize> {
        machines.iter().position(|machine| machine.leads.borrow().is_some())
    }

    pub(super) async fn until_leader(&self, machines: &[Machine]) -> usize {
        for _ in 0..3_000 {
            if let Some(leader) = self.leader(machines) {
                return leader;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("thirty seconds without a leader");
    }
}
