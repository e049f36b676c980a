//! What runs in a cluster of one test: tasks as a manager lists them, and processes as the machine
//! has them, whichever node they belong to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    process,
    sync::atomic::{AtomicU16, Ordering},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    daemon::{Daemon, Place, eventually, processes_with},
    swarm::{self, Swarm},
};

/// Ports that the system hands out to nobody by itself begin here, and there are so many of them.
const PORT_FIRST: u16 = 20_000;
const PORTS: u16 = 12_000;

/// A place with an address that stays: a manager that comes back is where it was.
pub(crate) fn lasting(hostname: &str) -> Place {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Tests that run at the same time begin at different ports.
    let offset = process::id() % u32::from(PORTS);
    let offset = u16::try_from(offset).expect("it is below the number of ports");
    let address = loop {
        let port = PORT_FIRST + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let address = format!("127.0.0.1:{port}");
        if TcpListener::bind(&address).is_ok() {
            break address;
        }
    };
    Place { address, ..Place::here(hostname) }
}

/// A manager that comes back to its address, which hears often from every node.
pub(crate) fn attentive() -> Swarm {
    let swarm = Swarm::on(vec![lasting("m1")]);
    hear_often(&swarm.managers[0]);
    swarm
}

/// A node that says nothing for a few seconds is down from now on.
pub(crate) fn hear_often(manager: &Daemon) {
    manager.swarmctl("cluster update default --heartbeatperiod 2s");
}

/// How often a node was taken in by a manager.
pub(crate) fn registrations(node: &Daemon) -> usize {
    node.log().matches("registered with a manager").count()
}

/// Starts a manager again, and waits until each of these nodes is taken in by it: what was stored of
/// their states before says nothing.
#[track_caller]
pub(crate) fn launch_and_register(manager: &mut Daemon, others: &[&Daemon]) {
    let before = registrations(manager);
    let others_before: Vec<_> = others.iter().copied().map(registrations).collect();
    manager.launch();
    eventually("nodes that are registered again", || {
        let own = registrations(manager);
        let now: Vec<_> = others.iter().copied().map(registrations).collect();
        let is_more = now.iter().zip(&others_before).all(|(now, before)| now > before);
        if own > before && is_more { Ok(()) } else { Err(format!("{now:?}\n{}", manager.log())) }
    });
}

/// Waits until nodes have these states, in what a manager says.
#[track_caller]
pub(crate) fn await_nodes(manager: &Daemon, expected: &[(&str, &str)]) {
    eventually(&format!("nodes that are {expected:?}"), || {
        let nodes = swarm::nodes(manager)?;
        let state = |(hostname, state): &(&str, &str)| {
            let is_named = |node: &&Value| node["description"]["hostname"] == *hostname;
            nodes.iter().find(is_named).is_some_and(|node| node["status"]["state"] == *state)
        };
        if expected.iter().all(state) { Ok(()) } else { Err(listing(manager)) }
    });
}

/// Waits until every slot of a service has one task that runs, and until there are as many processes,
/// which it returns.
#[track_caller]
pub(crate) fn await_exactly(
    manager: &Daemon,
    service: &str,
    argument: u32,
    count: usize,
) -> Vec<i32> {
    let processes = eventually(&format!("{service}: {count} slots with a process each"), || {
        let (slots, processes) = (running(manager, service)?, processes(argument));
        let is_whole = slots.len() == count && slots.values().all(|tasks| *tasks == 1);
        if is_whole && processes.len() == count {
            Ok(processes)
        } else {
            let found = format!("{} slots, {} processes", slots.len(), processes.len());
            Err(format!("{found}\n{slots:?}\n{}\n{}", listing(manager), manager.log()))
        }
    });
    manager.await_replicas(service, &format!("{count}/{count}"));
    processes
}

/// How many tasks run in each slot of a service, whatever they should do.
fn running(manager: &Daemon, service: &str) -> Result<BTreeMap<String, usize>, String> {
    let text =
        manager.try_swarmctl(&format!("task ls --all --format json --filter service={service}"))?;
    let tasks: Vec<Value> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let mut slots = BTreeMap::new();
    for task in tasks.iter().filter(|task| task["status"]["state"] == "RUNNING") {
        *slots.entry(task["slot"].to_string()).or_default() += 1;
    }
    Ok(slots)
}

/// The processes of a service, on all nodes.
pub(crate) fn processes(argument: u32) -> Vec<i32> {
    processes_with(&argument.to_string())
}

/// The processes of a service on one node.
pub(crate) fn processes_on(daemon: &Daemon, argument: u32) -> BTreeSet<i32> {
    let tasks = daemon.tasks();
    processes(argument).into_iter().filter(|process| tasks.contains(process)).collect()
}

/// Ends a node as if its machine had lost its power: nothing of it runs on.
pub(crate) fn cut_power(daemon: &mut Daemon) {
    daemon.kill();
    // The kernel kills a task's main process with its shim.
    for shim in daemon.shims() {
        let _ = kill(Pid::from_raw(shim), Signal::SIGKILL);
    }
    eventually("a machine on which nothing runs", || match daemon.shims()[..] {
        [] => Ok(()),
        ref shims => Err(format!("{shims:?}")),
    });
}

/// What a manager says of nodes and tasks, for whoever reads why a test failed.
fn listing(manager: &Daemon) -> String {
    let said = |line| manager.try_swarmctl(line).unwrap_or_else(|error| error);
    said("node ls") + &said("task ls")
}
