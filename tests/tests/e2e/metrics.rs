//! What a daemon tells programs of itself: where it listens, its metrics, its log as objects.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    process::Stdio,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::daemon::{Daemon, ends, error_line, eventually};

/// Where the daemon says that it listens.
pub(crate) fn addresses(daemon: &Daemon) -> Value {
    let path = daemon.state().join("addresses.json");
    eventually("a file of addresses", || {
        let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        Ok(serde_json::from_str(&text).expect("it is whole whenever it is there"))
    })
}

/// Asks once over HTTP, and returns the whole answer.
pub(crate) fn ask(address: &str, question: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "{question} HTTP/1.1\r\nhost: node\r\n\r\n").expect("taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers in text");
    answer
}

/// The value of one series.
pub(crate) fn value(page: &str, series: &str) -> Option<f64> {
    let mut lines = page.lines().filter_map(|line| line.rsplit_once(' '));
    lines.find(|(found, _)| *found == series).and_then(|(_, value)| value.parse().ok())
}

#[test]
fn metrics_follow_what_happens() {
    let mut daemon = Daemon::idle();
    daemon.launch_with(&["--listen-metrics", "127.0.0.1:0"]);
    let told = addresses(&daemon);
    assert_eq!(told["control_api"], daemon.socket().display().to_string());
    let mode = fs::metadata(daemon.state().join("addresses.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    let address = told["metrics"].as_str().expect("metrics are served").to_owned();
    daemon.swarmctl(
        "service create --name web --image host --command sleep --args 100321 --replicas 3 --wait",
    );
    let page = eventually("three tasks that run", || {
        let page = ask(&address, "GET /metrics");
        let running = value(&page, r#"swarm_manager_tasks_total{state="running"}"#);
        if running == Some(3.0) { Ok(page) } else { Err(page) }
    });
    for (series, expected) in [
        ("swarm_node_manager", 1.0),
        ("swarm_manager_leader", 1.0),
        ("swarm_raft_voters", 1.0),
        ("swarm_manager_services_total", 1.0),
        (r#"swarm_manager_nodes{state="ready"}"#, 1.0),
        ("swarm_dispatcher_sessions", 1.0),
        (r#"swarm_actors{actor="agent/task"}"#, 3.0),
        (r#"swarm_actor_restarts_total{actor="manager/core/raft"}"#, 0.0),
    ] {
        assert_eq!(value(&page, series), Some(expected), "{series} in:\n{page}");
    }
    assert!(value(&page, "process_resident_memory_bytes") > Some(1e6), "{page}");
    assert!(ask(&address, "POST /metrics").starts_with("HTTP/1.1 405 "));
    assert!(ask(&address, "GET /").starts_with("HTTP/1.1 404 "));
    // Who has that port already is named, and keeps it.
    let other = Daemon::idle();
    let (status, said) = ends(other.command().args(["--listen-metrics", &address]));
    assert_eq!(status.code(), Some(1));
    assert!(
        error_line(&said).contains(&format!("metrics cannot be served on {address}")),
        "{said}"
    );
    assert!(ask(&address, "GET /metrics").starts_with("HTTP/1.1 200 "));
    // The next one serves none, and says nothing of where an earlier one did.
    daemon.kill();
    daemon.launch();
    assert_eq!(addresses(&daemon)["metrics"], Value::Null);
    TcpStream::connect(&address).expect_err("nobody listens");
}

#[test]
fn a_log_of_objects_is_one_object_in_each_line() {
    let daemon = Daemon::idle();
    let mut command = daemon.command();
    command.args(["--log-format", "json", "--raft-tick", "10ms", "--election-tick", "5"]);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("swarmd starts");
    eventually("a daemon that answers", || daemon.try_swarmctl("node ls"));
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    kill(pid, Signal::SIGTERM).expect("it can be signalled");
    let mut said = String::new();
    child.stderr.take().expect("it was asked for").read_to_string(&mut said).expect("text");
    assert!(child.wait().expect("it ends").success(), "{said}");
    let events: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let is_ready = |event: &Value| {
        event["fields"]["message"] == "node is ready"
            && event["level"] == "INFO"
            && event["timestamp"].is_string()
    };
    assert!(events.iter().any(is_ready), "{said}");
}
