//! Several daemons of one test that are one cluster.

use std::fs;

use node::identity::Chain;
use serde_json::Value;

use crate::{
    daemon::{Daemon, Place, eventually},
    metrics, network,
};

/// The managers of a cluster. Dropping it ends them all.
pub(crate) struct Swarm {
    pub(crate) managers: Vec<Daemon>,
}

impl Swarm {
    /// Starts so many managers: the first founds the cluster, the others join it.
    pub(crate) fn of(count: usize) -> Self {
        let place = |number| Place { metrics: true, ..Place::here(&format!("m{number}")) };
        Self::on((1..=count).map(place).collect())
    }

    /// Starts a manager in each place.
    pub(crate) fn on(places: Vec<Place>) -> Self {
        let mut swarm = Self { managers: Vec::new() };
        for place in places {
            swarm.add(place);
        }
        swarm.await_reachable(swarm.managers.len());
        swarm
    }

    /// Starts one more manager, and returns its number.
    pub(crate) fn add(&mut self, place: Place) -> usize {
        let mut daemon = Daemon::at(place);
        match self.running().next() {
            Some(known) => daemon.launch_with(&invitation(known, "manager")),
            None => daemon.launch(),
        }
        self.managers.push(daemon);
        self.managers.len() - 1
    }

    /// Starts a worker, and waits until it is ready.
    pub(crate) fn worker(&self, place: Place) -> Daemon {
        let mut daemon = Daemon::at(place);
        let manager = self.running().next().expect("a manager runs");
        daemon.spawn_with_words(&invitation(manager, "worker"));
        eventually("a worker that is ready", || {
            let nodes = nodes(manager)?;
            let id = try_node_id(&daemon).ok_or_else(|| daemon.log())?;
            let is_ready = |node: &&Value| node["id"] == *id && node["status"]["state"] == "READY";
            nodes.iter().find(is_ready).map(drop).ok_or_else(|| format!("{nodes:?}"))
        });
        daemon
    }

    /// Those that run.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Daemon> {
        self.managers.iter().filter(|manager| manager.is_running())
    }

    /// Waits until every manager that runs says that so many are reachable, one of which leads, and
    /// returns that one's number.
    #[track_caller]
    pub(crate) fn await_reachable(&self, count: usize) -> usize {
        eventually(&format!("{count} managers that are reachable, and one that leads"), || {
            let mut leaders = Vec::new();
            for manager in self.running() {
                let nodes = nodes(manager)?;
                let status = |node: &Value| node["manager_status"]["reachability"] == "REACHABLE";
                let reachable = nodes.iter().filter(|node| status(node)).count();
                let leader = nodes.iter().find(|node| node["manager_status"]["leader"] == true);
                let leader = leader.map(|leader| leader["id"].as_str().unwrap_or_default());
                match leader {
                    Some(leader) if reachable == count => leaders.push(leader.to_owned()),
                    _ => return Err(format!("{nodes:?}\n{}", manager.log())),
                }
            }
            leaders.dedup();
            match &leaders[..] {
                [one] => self.number(one).ok_or_else(|| format!("{one} is none of them")),
                several => Err(format!("{several:?} lead")),
            }
        })
    }

    fn number(&self, node_id: &str) -> Option<usize> {
        self.managers.iter().position(|manager| self::node_id(manager) == node_id)
    }
}

/// What a manager says of the nodes.
pub(crate) fn nodes(manager: &Daemon) -> Result<Vec<Value>, String> {
    let text = manager.try_swarmctl("node ls --format json")?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// Asks a manager to demote or remove a node until it does: other managers may not be heard for a moment,
/// and might be needed. What is so already was done by a try of which nobody could tell.
#[track_caller]
pub(crate) fn persist(manager: &Daemon, line: &str) {
    const DONE: [&str; 2] = ["not found", "is already a worker"];
    eventually(line, || match manager.try_swarmctl(line) {
        Err(said) if !DONE.iter().any(|done| said.contains(done)) => Err(said),
        Ok(_) | Err(_) => Ok(()),
    });
}

/// Whether a manager knows a node of this name.
pub(crate) fn knows(manager: &Daemon, hostname: &str) -> bool {
    let nodes = eventually("a list of nodes", || nodes(manager));
    nodes.iter().any(|node| node["description"]["hostname"] == *hostname)
}

/// How a daemon is told to join the cluster of a manager.
pub(crate) fn invitation(manager: &Daemon, role: &str) -> [String; 4] {
    let (address, token) = (address(manager), token(manager, role));
    ["--join-addr".to_owned(), address, "--join-token".to_owned(), token]
}

/// Where other nodes find a daemon. One that listens everywhere is on this machine, too.
pub(crate) fn address(daemon: &Daemon) -> String {
    let told = metrics::addresses(daemon);
    let address = told["remote_api"].as_str().expect("a manager listens for other nodes");
    address.replace("0.0.0.0", "127.0.0.1")
}

/// How many services there are in a manager's own store, whoever leads.
pub(crate) fn services_here(manager: &Daemon) -> usize {
    let told = metrics::addresses(manager);
    let address = told["metrics"].as_str().expect("metrics are served");
    let ask = || metrics::ask(address, "GET /metrics");
    let page = match manager.network() {
        Some(network) => network::within(network, ask),
        None => ask(),
    };
    let count = metrics::value(&page, "swarm_manager_services_total");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a count")]
    let count = count.expect("a manager counts them") as usize;
    count
}

/// What lets nodes join in a role.
pub(crate) fn token(manager: &Daemon, role: &str) -> String {
    let text = manager.swarmctl("cluster inspect default --format json");
    let page: Value = serde_json::from_str(&text).expect("JSON");
    let token = &page["cluster"]["root_ca"]["join_tokens"][role];
    token.as_str().expect("there is one for each role").to_owned()
}

/// The certificate of a daemon, as it lies on its disk.
pub(crate) fn certificate(daemon: &Daemon) -> Chain {
    let path = daemon.state().join("certificates/swarm-node.crt");
    Chain::parse(&fs::read(path).expect("it has one")).expect("a certificate")
}

pub(crate) fn node_id(daemon: &Daemon) -> String {
    certificate(daemon).subject.node_id.to_string()
}

/// The same, as soon as it has one.
fn try_node_id(daemon: &Daemon) -> Option<String> {
    let path = daemon.state().join("certificates/swarm-node.crt");
    path.exists().then(|| node_id(daemon))
}
