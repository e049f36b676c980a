//! `swarmd dev`: a swarm to try things on, of which nothing is left.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::daemon::{binary, eventually};

/// Ends the swarm also when the test fails.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGINT).ok();
            self.0.wait().ok();
        }
    }
}

#[test]
fn a_sample_runs_and_nothing_is_left_afterwards() {
    let child = Command::new(binary("swarmd"))
        .args(["--log-level", "warn", "dev"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("swarmd starts");
    let mut swarm = Guarded(child);
    let said = BufReader::new(swarm.0.stdout.take().expect("it was asked for")).lines();
    let lines = said.map(|line| line.expect("text"));
    // The last line says how it ends.
    let mut welcome = Vec::new();
    for line in lines {
        let is_last = line.contains("Ctrl-C");
        welcome.push(line);
        if is_last {
            break;
        }
    }
    let welcome = welcome.join("\n");
    let socket = welcome.split("SWARM_SOCKET=").nth(1).expect("it says where it listens");
    let socket = socket.lines().next().expect("a path").trim().to_owned();
    let swarmctl = |line: &str| {
        let mut swarmctl = Command::new(binary("swarmctl"));
        let output = swarmctl.args(line.split_whitespace()).env("SWARM_SOCKET", &socket).output();
        String::from_utf8_lossy(&output.expect("swarmctl starts").stdout).into_owned()
    };
    let until = |service: &str, replicas: &str| {
        eventually("a service that runs", || {
            let listing = swarmctl("service ls");
            let mut lines = listing.lines();
            let runs = lines.any(|line| line.contains(service) && line.contains(replicas));
            if runs { Ok(()) } else { Err(listing) }
        });
    };
    until("sample", "2/2");
    let before = swarmctl("task ls -q");
    // As the welcome suggests.
    swarmctl("service update sample --replicas 5");
    until("sample", "5/5");
    let after = swarmctl("task ls -q");
    assert!(before.lines().all(|task| after.contains(task)), "scaling replaces no task");
    swarmctl("service create --name mine --image host --command sleep --args 100201");
    until("mine", "1/1");
    assert_eq!(crate::daemon::processes_with("100201").len(), 1);
    let pid = Pid::from_raw(i32::try_from(swarm.0.id()).expect("a process id"));
    kill(pid, Signal::SIGINT).expect("it can be signalled");
    let status = eventually("the end of the swarm", || {
        let status = swarm.0.try_wait().map_err(|error| error.to_string())?;
        status.ok_or_else(|| "it runs".to_owned())
    });
    assert_eq!(status.code(), Some(0));
    assert!(!Path::new(&socket).parent().expect("a folder").exists(), "its folder is gone");
    assert_eq!(crate::daemon::processes_with("100201"), Vec::<i32>::new());
}
