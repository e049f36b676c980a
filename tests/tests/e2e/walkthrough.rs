//! The walk-through of the README on one machine.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, eventually, now};

#[test]
fn a_service_is_created_scaled_and_removed() {
    let daemon = Daemon::start();
    let id =
        daemon.swarmctl("service create --name redis --image host --command sleep --args 100001");
    assert_eq!(id.trim().len(), 25, "the answer is the id alone: {id:?}");
    daemon.await_replicas("redis", "1/1");
    daemon.await_processes("100001", 1);

    assert_eq!(daemon.swarmctl("service update redis --replicas 6"), id);
    daemon.await_replicas("redis", "6/6");
    daemon.await_processes("100001", 6);

    daemon.swarmctl("service update redis --replicas 2");
    daemon.await_replicas("redis", "2/2");
    daemon.await_processes("100001", 2);

    assert_eq!(daemon.swarmctl("service remove redis"), "redis\n");
    daemon.await_processes("100001", 0);
    eventually("no task is left", || {
        let tasks = daemon.swarmctl("task ls -a");
        if tasks.lines().count() == 2 { Ok(()) } else { Err(tasks) }
    });
    eventually("no shim is left", || {
        let shims = daemon.shims();
        if shims.is_empty() { Ok(()) } else { Err(format!("{shims:?}")) }
    });
}

#[test]
fn the_cluster_and_the_node_are_shown_as_in_the_seed() {
    let daemon = Daemon::start();
    let page = daemon.swarmctl("cluster inspect default");
    for line in [
        "Name        : default",
        "Orchestration settings:",
        "  Task history entries: 5",
        "Dispatcher settings:",
        "  Dispatcher heartbeat period: 5s",
        "Certificate Authority settings:",
        "  Certificate Validity Duration: 2160h0m0s",
        "  Join Tokens:",
    ] {
        assert!(page.lines().any(|found| found == line), "no line {line:?} in:\n{page}");
    }
    for role in ["Worker", "Manager"] {
        let start = format!("    {role}: SWMTKN-1-");
        let token = page.lines().find(|line| line.starts_with(&start)).expect("a join token");
        assert_eq!(token.len(), start.len() + 50 + 1 + 25, "{token}");
    }
    let listing = eventually("a node that is ready", || {
        let listing = daemon.swarmctl("node ls");
        if listing.contains("READY") { Ok(listing) } else { Err(listing) }
    });
    let node: Vec<_> = listing.lines().nth(2).expect("one node").split_whitespace().collect();
    assert_eq!(node[1..], ["node-1", "ACCEPTED", "READY", "ACTIVE", "REACHABLE", "*"]);
    let page = daemon.swarmctl("node inspect node-1");
    assert!(page.contains(": node-1") && page.contains("Operating System"), "{page}");
    let actors = daemon.swarmctl("node inspect --actors");
    for actor in ["raft", "store", "scheduler", "replicated", "dispatcher", "agent"] {
        assert!(actors.contains(actor), "no actor {actor} in:\n{actors}");
    }
}

#[test]
fn a_killed_process_comes_back_after_the_restart_delay() {
    let daemon = Daemon::start();
    daemon.swarmctl(
        "service create --name web --image host --command sleep --args 100002 --restart-delay 2s",
    );
    daemon.await_processes("100002", 1);
    daemon.swarmctl("service update web --replicas 2");
    let before = daemon.await_processes("100002", 2);
    let killed = now();
    // The first task is of an earlier version of the service: that changes nothing.
    let oldest = nix::unistd::Pid::from_raw(before[0]);
    nix::sys::signal::kill(oldest, Signal::SIGKILL).unwrap();
    eventually("another process", || {
        let found = daemon.processes("100002");
        let is_back = found.len() == 2 && found != before;
        if is_back { Ok(()) } else { Err(format!("{found:?}")) }
    });
    assert!(killed.elapsed() >= Duration::from_secs(2), "the restart delay");
    daemon.await_replicas("web", "2/2");
    let tasks = daemon.swarmctl("task ls -a");
    let failed = tasks.lines().find(|line| line.contains("FAILED")).expect("the killed task");
    let id = failed.split_whitespace().next().expect("an id");
    let page = daemon.swarmctl(&format!("task inspect {id}"));
    assert!(page.contains(": task: non-zero exit (137)"), "{page}");
    assert!(
        page.lines().any(|line| line.contains("ExitCode") && line.ends_with(": 137")),
        "{page}"
    );
}

#[test]
fn a_changed_command_replaces_the_process() {
    let daemon = Daemon::start();
    daemon.swarmctl("service create --name web --image host --command sleep --args 100003");
    daemon.await_processes("100003", 1);
    daemon.swarmctl("service update web --args 100004");
    daemon.await_processes("100004", 1);
    daemon.await_processes("100003", 0);
    daemon.await_replicas("web", "1/1");
}

#[test]
fn signals_end_the_daemon_and_leave_its_tasks_to_the_next() {
    let mut daemon = Daemon::start();
    daemon.swarmctl("service create --name web --image host --command sleep --args 100005");
    let before = daemon.await_processes("100005", 1);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        assert_eq!(daemon.end(signal).code(), Some(0), "{signal} is a clean end");
        assert!(!daemon.socket().exists(), "the socket goes with the daemon");
        daemon.launch();
        daemon.await_replicas("web", "1/1");
        assert_eq!(daemon.await_processes("100005", 1), before, "the task was left alone");
    }
}
