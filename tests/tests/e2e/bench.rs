//! `swarmd bench`: the load of many nodes on a cluster, of which nothing is left.

use std::{fs, process::Command};

use serde_json::Value;

use crate::daemon::{Daemon, binary, ends, error_line};

/// Runs it with words, and returns whether it measured everything, and what it printed.
fn bench(daemon: &Daemon, words: &str) -> (bool, String) {
    let mut command = Command::new(binary("swarmd"));
    command.args(["--log-level", "warn", "bench", "--settle", "0s"]).args(words.split(' '));
    let output = command.output().expect("swarmd starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned() + &daemon.log())
}

#[test]
fn agents_join_run_their_tasks_and_are_gone() {
    let daemon = Daemon::start();
    let socket = format!("--socket {}", daemon.socket().display());
    let words = "--agents 20 --tasks 100 --singles 2 --start-delay 50ms --heartbeats 6s";
    let (is_done, said) = bench(&daemon, &format!("{socket} {words}"));
    assert!(is_done, "{said}");
    let manager = format!("manager {}: ", daemon.pid());
    for expected in [
        "20 agents joined: ",
        "2 tasks, one after the other: ",
        "100 tasks at once: ",
        "sessions lost: 0",
        "nodes of agents that the cluster takes for lost: 0",
        manager.as_str(),
    ] {
        assert!(said.contains(expected), "{expected} in:\n{said}");
    }
    let (_, after) = said.split_once("all running: ").expect("it came to that");
    let answered = after.split_once("heartbeats answered: ").expect("they were counted").1;
    let answered: u32 = answered.split(',').next().and_then(|it| it.parse().ok()).expect("a count");
    assert!(answered >= 20, "each agent had time for one:\n{said}");
    assert_eq!(daemon.swarmctl("node ls -q").lines().count(), 1, "the manager's own");
    assert_eq!(daemon.swarmctl("service ls -q"), "");
    assert_eq!(daemon.swarmctl("task ls -a -q"), "");
}

/// Over the port for nodes, as it has to be with a manager of another machine.
#[test]
fn what_is_to_be_kept_is_kept() {
    let daemon = Daemon::start();
    let text = fs::read(daemon.state().join("addresses.json")).expect("it listens");
    let addresses: Value = serde_json::from_slice(&text).expect("it is JSON");
    let (manager, state) = (addresses["remote_api"].as_str(), daemon.state());
    let control = format!(
        "--manager {} --certificates {}",
        manager.expect("a manager listens"),
        state.join("certificates").display()
    );
    let words = "--agents 2 --tasks 3 --singles 0 --heartbeats 0s --keep";
    let (is_done, said) = bench(&daemon, &format!("{words} {control}"));
    assert!(is_done, "{said}");
    assert_eq!(daemon.swarmctl("node ls -q").lines().count(), 3);
    assert_eq!(daemon.swarmctl("task ls -q").lines().count(), 3);
}

#[test]
fn who_cannot_be_measured_says_why() {
    let daemon = Daemon::start();
    let socket = daemon.socket().display().to_string();
    let token = format!("SWMTKN-1-{}-{}", "0".repeat(50), "1".repeat(25));
    for (words, expected) in [
        (vec![], "give a manager's control socket with --socket"),
        (vec!["--socket", "/nowhere.sock"], "no manager listens on /nowhere.sock"),
        (vec!["--socket", &socket, "--worker-token", "x"], "invalid value 'x'"),
        (vec!["--socket", &socket, "--agents", "100000"], "open files, and this process may have"),
        (
            vec!["--socket", &socket, "--worker-token", &token],
            "remote CA does not match fingerprint",
        ),
    ] {
        // As on a machine that was set up for nothing like it.
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -Hn 20000 && exec \"$0\" bench \"$@\""]);
        let (status, said) = ends(command.arg(binary("swarmd")).args(words));
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(error_line(&said).contains(expected), "{said}");
    }
    assert_eq!(daemon.swarmctl("node ls -q").lines().count(), 1, "nobody got in");
}
