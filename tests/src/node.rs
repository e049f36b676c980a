//! A whole node of one machine: production log, raft, store, loops and agent, on a simulated disk
//! and a simulated machine.

use std::{rc::Rc, sync::Arc, time::Duration};

use actors::{
    agent::{
        self, Ports,
        simulated::{Machine, MemoryDatabase, no_certificate},
    },
    ca::port::testing::signer,
    cluster::{Founding, testing::founding},
    dispatcher::{LocalManagers, Seat},
    environment::testing::environment,
    leadership::{Bootstrap, Fatal},
    log::{
        Member, Options,
        simulated::{SimulatedDisk, ToyCipher},
    },
    raft::{Config, Links, Standing, Transport},
    roles,
    store::Store,
    supervision::{Budget, Census, Tree},
    tree::{Core, LeaderParts, Log, Loops},
};
use protocol::{
    objects::{Service, TaskState},
    raftpb, wire,
};

const NODE: &str = "node-1";
const BUDGET: Budget = Budget { restarts: 5, within: Duration::from_secs(60) };

/// A node that runs.
pub struct Node {
    /// What it knows.
    pub store: Store,
    /// What runs on it.
    pub machine: Machine,
    tree: Tree,
}

/// What every member knows of the cluster that it founds.
pub(crate) struct First;

impl Bootstrap for First {
    fn founding(&self) -> Option<Founding> {
        Some(founding())
    }

    fn founded(&mut self) {}
}

struct Nobody;

impl Transport for Nobody {
    fn send(&self, message: raftpb::Message) {
        panic!("a member that is alone sends {message:?}");
    }
}

impl Node {
    /// Starts a node on a disk.
    pub async fn start(disk: &SimulatedDisk, machine: Machine) -> Self {
        let census = Census::default();
        let tree = Tree::root("node", BUDGET, census.clone(), |lost| panic!("{lost}"));
        let Log { writer } =
            Log::start(&tree, disk.mount(), ToyCipher { key: 7 }, Options::default());
        let (seat, raft) = (Seat::default(), roles::Raft::default());
        let parts = LeaderParts {
            node_id: NODE.into(),
            environment: environment(),
            seat: seat.clone(),
            signer: signer(),
            raft: raft.clone(),
        };
        let member =
            Member { raft_id: 1, node_id: NODE.to_owned(), cluster_id: "cluster1".to_owned() };
        let config = Config::alone(member, "node-1:4242".to_owned(), 1);
        let link = async |store: &Store, memory, published| {
            let on_fatal = Arc::new(|fatal: Fatal| panic!("{fatal}"));
            let Loops { leadership } =
                Loops::start(&tree, store.clone(), parts, Box::new(First), on_fatal);
            Links {
                log: writer,
                store: memory,
                published,
                standing: Standing::default(),
                transport: Arc::new(Nobody),
                leadership: leadership.recipient(),
                ended: leadership.recipient(),
            }
        };
        let core = Core::start(&tree, &environment(), config, link).await;
        raft.bind(core.raft.recipient(), core.raft.recipient());
        let store = core.store;
        let ports = Ports {
            managers: Rc::new(LocalManagers::new(NODE.into(), seat)),
            executor: Rc::new(machine.clone()),
            database: Rc::new(MemoryDatabase::default()),
            tls_info: no_certificate(),
        };
        agent::start(&tree.subtree("agent", BUDGET), census, ports, environment());
        Self { store, machine, tree }
    }

    /// Asks for a service with so many tasks.
    pub async fn ask_for(&self, replicas: u64) {
        let mode = wire::service_spec::Mode::Replicated(wire::ReplicatedService { replicas });
        let container = wire::ContainerSpec { image: "host".to_owned(), ..Default::default() };
        let runtime = Some(wire::task_spec::Runtime::Container(container));
        let spec = wire::ServiceSpec {
            task: Some(wire::TaskSpec { runtime, ..Default::default() }),
            mode: Some(mode),
            ..Default::default()
        };
        let written = self.store.transact(move |head| match head.service(&"s".into()).cloned() {
            Some(service) => head.update(Service { spec: Arc::new(spec), ..(*service).clone() }),
            None => {
                let (id, spec) = ("s".to_owned(), Some(spec));
                head.create(Service::from(wire::Service { id, spec, ..Default::default() }))
            }
        });
        written.await.expect("written");
    }

    /// How many tasks the store shows as running.
    pub fn running(&self) -> usize {
        let view = self.store.view();
        view.tasks().filter(|task| task.status.state == TaskState::RUNNING).count()
    }

    /// Ends it at once. What it ran runs on.
    pub fn abort(self) {
        self.tree.abort();
    }
}
