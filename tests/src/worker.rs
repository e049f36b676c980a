//! A node that runs tasks: the production agent on a simulated machine. It talks to the dispatcher
//! of whoever leads, without a network between them.

use std::{rc::Rc, sync::Arc, time::Duration};

use actors::{
    agent::{
        self, Ports,
        port::{Answer, Manager, ManagerError, Managers, News},
        simulated::{Machine, MemoryDatabase, no_certificate},
    },
    dispatcher::LocalManagers,
    environment::testing::environment,
    supervision::{Budget, Census, Tree},
};

use crate::cluster::Cluster;

/// The node that it is.
pub const WORKER: &str = "worker";

/// How long each of its operations takes: long enough that what does not wait for it shows.
const LATENCY: Duration = Duration::from_millis(400);

const BUDGET: Budget = Budget { restarts: 5, within: Duration::from_secs(60) };

/// An agent that lives as long as its run.
pub struct Worker {
    tree: Tree,
}

/// Whoever leads.
struct Leading(Cluster);

impl Managers for Leading {
    fn choose(&self) -> Answer<Arc<dyn Manager>> {
        match self.0.leading().and_then(|leader| leader.borrow().seat()) {
            Some(seat) => LocalManagers::new(WORKER.into(), seat).choose(),
            None => Box::pin(async { Err(ManagerError::Failed("nobody leads".to_owned())) }),
        }
    }

    fn hear(&self, _: News) {}
}

impl Worker {
    /// Starts it. From then on, whoever leads runs the loops of a leader.
    pub fn start(cluster: &Cluster) -> Self {
        let machine = Machine::slow(LATENCY);
        let census = Census::default();
        let tree = Tree::root(WORKER, BUDGET, census.clone(), |lost| panic!("deaths: {lost}"));
        let ports = Ports {
            managers: Rc::new(Leading(cluster.clone())),
            executor: Rc::new(machine.clone()),
            database: Rc::new(MemoryDatabase::default()),
            tls_info: no_certificate(),
        };
        cluster.lead_with_loops(machine);
        agent::start(&tree, census, ports, environment());
        Self { tree }
    }

    /// Ends it.
    pub fn end(self) {
        self.tree.abort();
    }
}
