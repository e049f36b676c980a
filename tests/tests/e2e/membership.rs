//! Managers come and go while somebody writes.

use std::{fs, os::unix::net::UnixStream};

use nix::{sys::signal::kill, unistd::Pid};
use protocol::wire::NodeRole;

use crate::{
    daemon::{Daemon, Place, eventually},
    swarm::{self, Swarm, persist},
    writer::Writer,
};

/// Waits until a node is a worker in what its own files say, without a trace of a manager.
fn await_demotion(daemon: &Daemon) {
    eventually("a manager that is a worker", || {
        let role = swarm::certificate(daemon).subject.role;
        let log = fs::read_dir(daemon.state().join("raft")).map_or(0, Iterator::count);
        let is_open = UnixStream::connect(daemon.socket()).is_ok();
        if role == NodeRole::Worker && log == 0 && !is_open {
            Ok(())
        } else {
            Err(format!("{role:?}, {log} files, socket {is_open}\n{}", daemon.log()))
        }
    });
    kill(Pid::from_raw(daemon.pid()), None).expect("its process lives on");
}

#[test]
fn managers_are_added_and_removed_while_somebody_writes() {
    let mut swarm = Swarm::of(3);
    let writer = Writer::start("s", swarm.running());
    writer.await_more(20);
    for name in ["m4", "m5"] {
        swarm.add(Place { metrics: true, ..Place::here(name) });
        writer.await_more(10);
    }
    let leader = swarm.await_reachable(5);

    // The leader, which goes on as a worker.
    let mut demoted = swarm.managers.remove(leader);
    let id = swarm::node_id(&demoted);
    let manager = &swarm.managers[0];
    let said = manager.refused(&format!("node rm {id}"));
    assert!(said.contains("It must be demoted to worker before removal"), "{said}");
    persist(manager, &format!("node demote {id}"));
    swarm.await_reachable(4);
    await_demotion(&demoted);
    writer.await_more(20);
    eventually("a worker that is ready", || {
        let nodes = swarm::nodes(manager)?;
        let node = nodes.iter().find(|node| node["id"] == *id).expect("it is still there");
        let is_worker = node["role"] == "WORKER" && node["manager_status"].is_null();
        let is_ready = node["status"]["state"] == "READY";
        if is_worker && is_ready { Ok(()) } else { Err(format!("{node}\n{}", demoted.log())) }
    });
    let said = manager.refused(&format!("node rm {id}"));
    assert!(said.contains("is not down and can't be removed"), "{said}");
    manager.swarmctl(&format!("node rm --force {id}"));
    demoted.kill();

    // One that is dead.
    let dead = (swarm.await_reachable(4) + 1) % 4;
    swarm.managers[dead].kill();
    let dead = swarm.managers.remove(dead);
    let id = swarm::node_id(&dead);
    let manager = &swarm.managers[0];
    persist(manager, &format!("node demote {id}"));
    persist(manager, &format!("node rm --force {id}"));
    swarm.await_reachable(3);
    writer.await_more(20);

    eventually("the nodes that are left", || match swarm::nodes(&swarm.managers[0])?.len() {
        3 => Ok(()),
        count => Err(format!("{count}")),
    });
    let told = writer.end();
    told.check_all(&swarm);
    assert!(told.acknowledged.len() >= 80);
}

#[test]
fn a_demoted_manager_becomes_one_again() {
    let swarm = Swarm::of(3);
    let leader = swarm.await_reachable(3);
    let (manager, other) = (&swarm.managers[leader], &swarm.managers[(leader + 1) % 3]);
    let id = swarm::node_id(other);
    persist(manager, &format!("node demote {id}"));
    await_demotion(other);
    manager.swarmctl("service create --name web --image host --command true --replicas 0");
    manager.swarmctl(&format!("node promote {id}"));
    swarm.await_reachable(3);
    assert!(other.swarmctl("service ls").contains("web"));
    eventually("a store with all there is", || match swarm::services_here(other) {
        1 => Ok(()),
        count => Err(format!("{count} services")),
    });
}

/// It has forgotten what it had promised, and may not go on as the same member.
#[test]
fn a_manager_whose_log_is_gone_joins_anew() {
    let mut swarm = Swarm::of(3);
    let writer = Writer::start("s", swarm.running());
    writer.await_more(20);
    let leader = swarm.await_reachable(3);
    let lost = (leader + 1) % 3;
    let raft_id = |manager: &Daemon, id: &str| {
        let nodes = eventually("a list of nodes", || swarm::nodes(manager));
        let node = nodes.iter().find(|node| node["id"] == *id).expect("it is there");
        node["manager_status"]["raft_id"].as_str().expect("it is a manager").to_owned()
    };
    let id = swarm::node_id(&swarm.managers[lost]);
    let before = raft_id(&swarm.managers[leader], &id);
    swarm.managers[lost].kill();
    fs::remove_dir_all(swarm.managers[lost].state().join("raft")).expect("it has one");
    swarm.managers[lost].launch();
    let leader = swarm.await_reachable(3);
    assert_ne!(raft_id(&swarm.managers[leader], &id), before);
    writer.await_more(20);
    writer.end().check_all(&swarm);
}
