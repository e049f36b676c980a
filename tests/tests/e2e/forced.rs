//! A cluster that has lost most of its managers for good goes on with the one that is left.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;

use crate::{
    daemon::{Daemon, Place, eventually},
    swarm::{self, Swarm},
    writer::Writer,
};

/// Waits until a manager says that nobody leads.
fn await_no_leader(manager: &Daemon) {
    eventually("a manager without a leader", || match manager.try_swarmctl("service ls") {
        Err(said) if said.contains("The swarm does not have a leader") => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// The nodes that a manager lists.
fn node_ids(manager: &Daemon) -> BTreeSet<String> {
    let listed = manager.swarmctl("node ls -q");
    listed.lines().map(str::to_owned).collect()
}

/// Writes through every manager that runs.
fn write_through_each(swarm: &Swarm, prefix: &str) {
    for (number, manager) in swarm.running().enumerate() {
        let writer = Writer::start(&format!("{prefix}{number}-"), [manager]);
        writer.await_more(5);
        writer.end().check_all(swarm);
    }
}

#[test]
fn the_last_manager_goes_on_alone_with_all_that_was_acknowledged() {
    let mut swarm = Swarm::of(3);
    let writer = Writer::start("s", swarm.running());
    writer.await_more(40);
    let told = writer.end();
    // What the last one has is all that there will be.
    told.check_all(&swarm);
    let last = (swarm.await_reachable(3) + 1) % 3;
    let last = swarm.managers.remove(last);
    let lost: Vec<_> = swarm.managers.iter().map(swarm::node_id).collect();
    // The machines of the others are gone, with all that was on them.
    swarm.managers = vec![last];
    await_no_leader(&swarm.managers[0]);

    assert!(swarm.managers[0].end(Signal::SIGTERM).success());
    swarm.managers[0].launch_with(&["--force-new-cluster"]);
    assert_eq!(swarm.await_reachable(1), 0);
    told.check_all(&swarm);
    for id in &lost {
        let line = format!("node rm {id}");
        // Whoever leads first takes them for what they were.
        eventually("a lost node that is removed", || swarm.managers[0].try_swarmctl(&line));
    }
    write_through_each(&swarm, "alone");

    for name in ["m4", "m5"] {
        swarm.add(Place { metrics: true, ..Place::here(name) });
    }
    swarm.await_reachable(3);
    write_through_each(&swarm, "joined");
    let before = node_ids(&swarm.managers[0]);
    assert_eq!(before.len(), 3, "the lost ones are gone from the list: {before:?}");

    // Without the flag it is a manager among others.
    swarm.managers[0].kill();
    swarm.await_reachable(2);
    swarm.managers[0].launch();
    swarm.await_reachable(3);
    assert_eq!(node_ids(&swarm.managers[0]), before);
    write_through_each(&swarm, "again");
    told.check_all(&swarm);
}
