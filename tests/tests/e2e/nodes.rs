//! Nodes change what they are and what they may be given while services run.

use std::{collections::BTreeSet, os::unix::net::UnixStream};

use nix::sys::signal::Signal;
use protocol::wire::NodeRole;

use crate::{
    daemon::{Daemon, Place, eventually},
    fleet::{attentive, await_exactly, await_nodes, cut_power, lasting, processes, processes_on},
    swarm::{self, Swarm, persist},
};

/// Waits until a node is a worker, and nothing is left of the manager that it was.
fn await_demotion(daemon: &Daemon) {
    eventually("a manager that is a worker", || {
        let role = swarm::certificate(daemon).subject.role;
        let kept = daemon.state().join("raft").exists();
        let (socket, is_open) = (daemon.socket(), UnixStream::connect(daemon.socket()).is_ok());
        if role == NodeRole::Worker && !kept && !socket.exists() && !is_open {
            Ok(())
        } else {
            let found = format!("{role:?}, a log: {kept}, a socket: {is_open}");
            Err(format!("{found}\n{}", daemon.log()))
        }
    });
}

fn create(manager: &Daemon, argument: u32, replicas: usize) {
    manager.swarmctl(&format!(
        "service create --name web --image host --command sleep --args {argument} \
         --replicas {replicas}"
    ));
    await_exactly(manager, "web", argument, replicas);
}

#[test]
fn nodes_change_their_roles_and_leave_while_services_run() {
    let argument = 100_621;
    let mut swarm = attentive();
    let [one, two, mut dead] = ["w1", "w2", "w3"].map(|name| swarm.worker(lasting(name)));
    create(&swarm.managers[0], argument, 8);
    let lived = [&swarm.managers[0], &one, &two].map(|node| processes_on(node, argument));
    assert!(lived.iter().all(|processes| processes.len() == 2), "spread evenly: {lived:?}");
    let pids = |daemons: [&Daemon; 3]| daemons.map(Daemon::pid);
    let daemons = pids([&swarm.managers[0], &one, &two]);

    let first = &swarm.managers[0];
    assert!(!one.socket().exists() && !one.state().join("raft").exists(), "it is a worker");
    for name in ["w1", "w2"] {
        first.swarmctl(&format!("node promote {name}"));
    }
    swarm.managers.extend([one, two]);
    swarm.await_reachable(3);
    let every = |swarm: &Swarm| {
        let nodes = swarm.managers.iter().map(|node| processes_on(node, argument));
        nodes.collect::<Vec<_>>()
    };
    assert_eq!(every(&swarm), lived, "promoted, and no task of theirs started again");
    assert!(swarm.managers[1].state().join("raft").exists());

    let second = &swarm.managers[1];
    persist(second, "node demote m1");
    let demoted = swarm.managers.remove(0);
    await_demotion(&demoted);
    swarm.await_reachable(2);
    let manager = &swarm.managers[0];
    await_nodes(manager, &[("m1", "READY"), ("w1", "READY"), ("w2", "READY"), ("w3", "READY")]);
    let everywhere = || [&demoted, &swarm.managers[0], &swarm.managers[1]];
    assert_eq!(everywhere().map(|node| processes_on(node, argument)), lived, "demoted");
    await_exactly(manager, "web", argument, 8);

    let said = manager.refused("node remove w3");
    let id = swarm::node_id(&dead);
    assert!(said.contains(&format!("node {id} is not down and can't be removed")), "{said}");
    cut_power(&mut dead);
    await_nodes(manager, &[("w3", "DOWN")]);
    manager.swarmctl("node remove w3");
    assert!(!swarm::knows(manager, "w3"));
    await_exactly(manager, "web", argument, 8);
    let now = everywhere().map(|node| processes_on(node, argument));
    for (before, now) in lived.iter().zip(&now) {
        assert!(before.is_subset(now), "{before:?} are not in {now:?}");
    }
    assert_eq!(pids(everywhere()), daemons, "no daemon was started again");

    // Whatever it was told before: as a worker it is given tasks, and stops them.
    manager.swarmctl("service update web --replicas 12");
    await_exactly(manager, "web", argument, 12);
    assert_eq!(processes_on(&demoted, argument).len(), 4);
    manager.swarmctl("service remove web");
    eventually("the end of every process", || match &processes(argument)[..] {
        [] => Ok(()),
        left => Err(format!("{left:?}\n{}", demoted.log())),
    });
}

/// A service of twice as many tasks as there are nodes, and the nodes.
struct Spread<'a> {
    manager: &'a Daemon,
    nodes: [(&'a str, &'a Daemon); 3],
    argument: u32,
}

impl Spread<'_> {
    fn of(&self, name: &str) -> BTreeSet<i32> {
        let (_, daemon) = self.nodes.iter().find(|(known, _)| *known == name).expect("a node");
        processes_on(daemon, self.argument)
    }

    fn scale(&self, count: usize) {
        self.manager.swarmctl(&format!("service update web --replicas {count}"));
        self.is_exactly(count);
    }

    fn is_exactly(&self, count: usize) {
        await_exactly(self.manager, "web", self.argument, count);
    }

    /// A node gets nothing new while it is paused, nothing at all while it is drained, and the
    /// others keep what they have.
    fn vary_availability_of(&self, name: &str) {
        self.scale(6);
        let before = self.of(name);
        self.manager.swarmctl(&format!("node pause {name}"));
        let said = self.manager.refused(&format!("node pause {name}"));
        assert_eq!(said, format!("Error: Node {name} was already paused"));
        self.scale(10);
        assert_eq!(self.of(name), before, "{name} is paused: nothing new, nothing less");
        let others = self.nodes.iter().filter(|(other, _)| *other != name);
        let others: Vec<_> = others.map(|(other, _)| (other, self.of(other))).collect();

        self.manager.swarmctl(&format!("node drain {name}"));
        let said = self.manager.refused(&format!("node drain {name}"));
        assert_eq!(said, format!("Error: Node {name} was already drained"));
        eventually("a node without a task", || match self.of(name).len() {
            0 => Ok(()),
            left => Err(format!("{left} are left")),
        });
        self.is_exactly(10);
        for (other, before) in others {
            let now = self.of(other);
            assert!(before.is_subset(&now), "{other}: {before:?} are not in {now:?}");
        }
        self.manager.swarmctl(&format!("node activate {name}"));
        let said = self.manager.refused(&format!("node activate {name}"));
        assert_eq!(said, format!("Error: Node {name} is already active"));
        self.scale(15);
        assert_eq!(self.of(name).len(), 5, "{name} takes tasks again: as many as the others");
    }
}

#[test]
fn nodes_are_paused_drained_labelled_and_removed_while_services_run() {
    let swarm = attentive();
    let [one, mut two] = ["w1", "w2"].map(|name| swarm.worker(Place::here(name)));
    let manager = &swarm.managers[0];
    let argument = 100_622;
    create(manager, argument, 3);
    let nodes = [("m1", manager), ("w1", &one), ("w2", &two)];
    let spread = Spread { manager, nodes, argument };
    spread.vary_availability_of("w1");
    spread.vary_availability_of("m1");
    spread.scale(6);

    let before = processes(argument);
    manager.swarmctl("node update w2 --label zone=a --label disk=fast");
    let page = manager.swarmctl("node inspect w2");
    assert!(page.contains("zone=a") && page.contains("disk=fast"), "{page}");
    let there = 100_623;
    manager.swarmctl(&format!(
        "service create --name there --image host --command sleep --args {there} --replicas 3 \
         --constraint node.labels.zone==a"
    ));
    await_exactly(manager, "there", there, 3);
    assert_eq!(processes_on(&two, there).len(), 3, "all where the label is");
    manager.swarmctl("node update w2 --label disk=fast");
    manager.swarmctl("node update w1 --label zone=a");
    manager.swarmctl("service update there --replicas 5");
    eventually("new ones where the label is now", || match processes_on(&one, there).len() {
        2 => Ok(()),
        count => Err(format!("{count}\n{}", manager.swarmctl("task ls"))),
    });
    manager.swarmctl("service remove there");
    assert_eq!(processes(argument), before, "labels touch no task");

    let id = swarm::node_id(&two);
    assert_eq!(two.end(Signal::SIGTERM).code(), Some(0));
    let left = processes_on(&two, argument);
    assert!(!left.is_empty(), "tasks outlive their daemon");
    await_nodes(manager, &[("w2", "DOWN")]);
    manager.swarmctl(&format!("node remove {id}"));
    assert!(!swarm::knows(manager, "w2"));
    manager.await_replicas("web", "6/6");
    two.spawn();
    let removed = format!("node {id} was removed from swarm");
    eventually("a node that hears why nobody wants it", || {
        let log = two.log();
        if log.contains(&removed) { Ok(()) } else { Err(log) }
    });
    assert!(!swarm::knows(manager, "w2"), "it is not taken in again");
    // Nobody is there any more to tell it what to stop.
    assert_eq!(processes_on(&two, argument), left);
    cut_power(&mut two);
    await_exactly(manager, "web", argument, 6);
}
