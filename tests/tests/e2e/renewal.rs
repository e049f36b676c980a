//! A node whose certificate is due when it starts.

use std::{fs, os::unix::fs::DirBuilderExt};

use actors::environment::Clock;
use node::{
    clock::SystemClock,
    identity::{Identity, certificate_expiry},
};
use prost_types::Timestamp;

use crate::daemon::{Daemon, eventually};

const DAY: i64 = 24 * 60 * 60;

#[test]
fn a_certificate_that_is_due_is_renewed_while_tasks_run() {
    let mut daemon = Daemon::idle();
    let folder = daemon.state().join("certificates");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).unwrap();
    let now = SystemClock.now().seconds;
    let long_ago = Timestamp { seconds: now - 80 * DAY, nanos: 0 };
    let before = Identity::open(&folder, &long_ago).unwrap();
    let node_id = before.node_id().to_string();
    daemon.launch();
    daemon.swarmctl("service create --name web --image host --command sleep --args 100204");
    let processes = daemon.await_processes("100204", 1);
    let path = folder.join("swarm-node.crt");
    eventually("a certificate of ninety more days", || {
        let expiry = certificate_expiry(&fs::read(&path).unwrap()).expect("a certificate").seconds;
        let left = (expiry - now) / DAY;
        if left >= 89 { Ok(()) } else { Err(format!("{left} days\n{}", daemon.log())) }
    });
    eventually("a line in the log", || {
        let log = daemon.log();
        if log.contains("certificate renewed") { Ok(()) } else { Err(log) }
    });
    assert!(daemon.swarmctl("node ls -q").contains(&node_id), "the same node");
    // The next daemon takes key and certificate for what they are.
    daemon.kill();
    daemon.launch();
    daemon.await_replicas("web", "1/1");
    assert_eq!(daemon.await_processes("100204", 1), processes);
}
