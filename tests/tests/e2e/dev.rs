//! `swarmd dev`: a swarm to try things on, of which nothing is left.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::daemon::{binary, eventually};

#[test]
fn a_sample_runs_and_nothing_is_left_afterwards() {
    let mut child = Command::new(binary("swarmd"))
        .args(["--log-level", "warn", "dev"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("swarmd starts");
    let said = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
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
    eventually("a sample that runs", || {
        let listing = swarmctl("service ls");
        let runs = listing.lines().any(|line| line.contains("sample") && line.contains("2/2"));
        if runs { Ok(()) } else { Err(listing) }
    });
    swarmctl("service create --name mine --image host --command sleep --args 100201");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    kill(pid, Signal::SIGINT).expect("it can be signalled");
    let status = eventually("the end of the swarm", || {
        let status = child.try_wait().map_err(|error| error.to_string())?;
        status.ok_or_else(|| "it runs".to_owned())
    });
    assert_eq!(status.code(), Some(0));
    assert!(!Path::new(&socket).parent().expect("a folder").exists(), "its folder is gone");
    assert_eq!(crate::daemon::processes_with("100201"), Vec::<i32>::new());
}
