//! The agent's thread: the tasks of this node, and its certificate.

use std::rc::Rc;

use actors::{
    agent,
    dispatcher::LocalManagers,
    supervision::{Address, Tree},
    tree,
};
use anyhow::{Context, Result};
use bytes::Bytes;
use protocol::{
    id::NodeId,
    wire::{NodeRole, issuance_status::State},
};

use super::{Parts, TASKS, WORKER, on_lost};
use crate::{
    executor::{self, ProcessExecutor},
    identity::{Named, RenewalPorts, Renewer, Trust},
    remote::{KnownManagers, Lane, Listener, ManagersConfig},
    task_database::SledDatabase,
    thread::ActorThread,
};

pub(super) async fn start_agent(
    parts: &Parts,
    node_id: NodeId,
    renewal: RenewalPorts,
) -> Result<(ActorThread, Address<Renewer>)> {
    let Parts { given, configuration, state, seat, credentials, .. } = parts;
    let worker = state.folder(WORKER)?;
    let tasks = state.folder(TASKS)?.canonicalize().context("the tasks' folder is gone")?;
    let open_files = executor::raise_open_files().context("open files cannot be counted")?;
    let executor = executor::Config {
        hostname: configuration.hostname.clone(),
        generic_resources: configuration.generic_node_resources.clone().unwrap_or_default().0,
        open_files: Some(open_files),
        ..executor::Config::new(tasks)
    };
    let database = SledDatabase::open(&worker)?;
    let lane = Lane::start("heartbeats").context("the heartbeats' thread cannot be started")?;
    let (tls, local) =
        (credentials.client_config()?, LocalManagers::new(node_id.clone(), seat.clone()));
    let tls_info = credentials.tls_info();
    let book = parts.book.clone();
    let (environment, census) = (given.environment.clone(), given.census.clone());
    let agent_lost = on_lost(given);
    let started = ActorThread::start("agent", async move || {
        let tree = Tree::root("agent", tree::AGENT, census.clone(), agent_lost);
        let renewer = tree.child("renewer", Renewer::factory(renewal));
        let config = ManagersConfig {
            own: node_id,
            local: Some(local),
            tls,
            lane,
            book,
            environment: environment.clone(),
            listener: Rc::new(Told(renewer.clone())),
        };
        let ports = agent::Ports {
            managers: Rc::new(KnownManagers::new(config)),
            executor: Rc::new(ProcessExecutor::new(executor)),
            database: Rc::new(database),
            tls_info,
        };
        agent::start(&tree, census, ports, environment);
        (tree, renewer)
    });
    started.await.context("the agent's thread cannot be started")
}

/// Tells the renewer what the cluster says of this node.
struct Told(Address<Renewer>);

impl Listener for Told {
    fn on_node_changed(&self, role: NodeRole, certificate: State) {
        // A full mailbox holds others that say the same.
        self.0.try_send(Named { role, rotates: certificate == State::Rotate }).ok();
    }

    fn on_root_changed(&self, pem: Bytes) {
        self.0.try_send(Trust { root_pem: pem }).ok();
    }
}
