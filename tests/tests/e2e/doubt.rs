//! Many workers that fall silent together: the leader doubts, and somebody has to say what is true.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    daemon::{Daemon, Place, eventually},
    fleet::{attentive, await_exactly, await_nodes, processes_on},
};

/// What a manager says of the doubts of the leader.
fn doubt(manager: &Daemon) -> Result<Value, String> {
    let page = manager.try_swarmctl("cluster inspect default --format json")?;
    let page: Value = serde_json::from_str(&page).map_err(|error| error.to_string())?;
    Ok(page["doubt"].clone())
}

fn signal(daemon: &Daemon, signal: Signal) {
    kill(Pid::from_raw(daemon.pid()), signal).expect("it runs");
}

#[test]
fn nothing_is_replaced_while_the_leader_doubts_until_somebody_says_so() {
    let argument = 100_641;
    let swarm = attentive();
    let workers = ["w1", "w2", "w3"].map(|name| swarm.worker(Place::here(name)));
    let manager = &swarm.managers[0];
    manager.swarmctl(&format!(
        "service create --name web --image host --command sleep --args {argument} --replicas 4"
    ));
    await_exactly(manager, "web", argument, 4);
    assert!(doubt(manager).expect("it answers").is_null());

    workers.iter().for_each(|worker| signal(worker, Signal::SIGSTOP));
    let silent = |state| [("m1", "READY"), ("w1", state), ("w2", state), ("w3", state)];
    await_nodes(manager, &silent("UNKNOWN"));
    let told = eventually("a leader that doubts", || {
        let told = doubt(manager)?;
        if told.is_null() { Err(manager.log()) } else { Ok(told) }
    });
    assert_eq!((&told["ready_nodes"], &told["present_nodes"]), (&4.into(), &1.into()), "{told}");
    let page = manager.swarmctl("cluster inspect default");
    assert!(page.contains("Nodes that answer: 1 of 4 since "), "{page}");
    assert_eq!(processes_on(manager, argument).len(), 1, "nothing is replaced");

    manager.swarmctl("cluster update default --replace-silent");
    await_nodes(manager, &silent("DOWN"));
    assert!(doubt(manager).expect("it answers").is_null());
    eventually("what stands in for three", || match processes_on(manager, argument).len() {
        4 => Ok(()),
        count => Err(format!("{count}\n{}", manager.log())),
    });
    workers.iter().for_each(|worker| signal(worker, Signal::SIGCONT));
    await_nodes(manager, &silent("READY"));
    await_exactly(manager, "web", argument, 4);
}
