//! What goes wrong outside, and the one clear error that it leads to.

use std::{
    fs,
    io::Write,
    os::unix::{fs::PermissionsExt, net::UnixStream},
};

use crate::daemon::{Daemon, ends, error_line};

#[test]
fn a_second_daemon_on_the_same_directory() {
    let daemon = Daemon::start();
    let mut second = daemon.command();
    second.arg("--listen-control-api").arg(daemon.state().with_extension("other"));
    let (status, said) = ends(&mut second);
    assert_eq!(status.code(), Some(1));
    let line = error_line(&said);
    assert!(line.contains(&daemon.state().display().to_string()), "{line}");
    assert!(line.contains("another swarmd"), "{line}");
    daemon.swarmctl("node ls");
}

#[test]
fn a_state_directory_of_swarmkit() {
    let mut daemon = Daemon::start();
    daemon.kill();
    fs::remove_dir_all(daemon.state()).unwrap();
    fs::create_dir_all(daemon.state().join("raft/wal-v3-encrypted")).unwrap();
    let (status, said) = ends(&mut daemon.command());
    assert_eq!(status.code(), Some(1));
    assert!(error_line(&said).contains("SwarmKit"), "{said}");
}

#[test]
fn a_state_directory_that_is_a_file() {
    let mut daemon = Daemon::start();
    daemon.kill();
    fs::remove_dir_all(daemon.state()).unwrap();
    fs::write(daemon.state(), "not a directory").unwrap();
    let (status, said) = ends(&mut daemon.command());
    assert_eq!(status.code(), Some(1));
    assert!(error_line(&said).contains(&daemon.state().display().to_string()), "{said}");
}

#[test]
fn a_command_line_that_makes_no_sense() {
    let daemon = Daemon::idle();
    for (arguments, expected) in [
        (&["--nonsense"][..], "unexpected argument '--nonsense'"),
        (&["--listen-remote-api", "here"], "invalid value 'here'"),
        (&["--log-level", "loud"], "must be one of"),
        (&["--join-addr", "10.0.0.1:4242", "--join-token", "SWMTKN-1-x"], "invalid join token"),
        (&["--listen-metrics", "here"], "invalid value 'here'"),
        (&["--raft-tick", "1ms"], "it must be a time from 10ms to 10s"),
        (&["--heartbeat-tick", "0"], "there must be at least one tick between heartbeats"),
        (&["--election-tick", "1"], "--heartbeat-tick is 1 and --election-tick is 1"),
        (&["--log-format", "xml"], "invalid value 'xml'"),
        (&["--advertise-remote-api", "here"], "it must be a host with a port"),
    ] {
        let mut command = daemon.command();
        let (status, said) = ends(command.args(arguments));
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(error_line(&said).contains(expected), "{said}");
    }
    assert!(!daemon.state().exists(), "nothing was touched");
}

#[test]
fn garbage_on_the_socket() {
    let daemon = Daemon::start();
    for garbage in [&[0x16; 4096][..], b"GET / HTTP/1.1\r\n\r\n", &[0; 64]] {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        // The daemon may close its end before everything is written.
        let _ = stream.write_all(garbage);
    }
    daemon.swarmctl("node ls");
}

#[test]
fn a_hundred_megabytes_on_the_socket() {
    let daemon = Daemon::start();
    let block = vec![0x50; 1 << 20];
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    let sent = (0..100).take_while(|_| stream.write_all(&block).is_ok()).count();
    assert!(sent < 100, "the daemon swallowed everything");
    daemon.swarmctl("node ls");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 300_000, "{kilobytes} kB at the peak");
}

#[test]
fn the_socket_is_for_its_owner_alone() {
    let daemon = Daemon::start();
    let mode = fs::metadata(daemon.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn wrong_requests_change_nothing() {
    let daemon = Daemon::start();
    let check = |line: &str, error: &str| assert_eq!(daemon.refused(line), error, "{line}");
    let create = "service create --image host --command true";
    check(&format!("{create} --name -x"), "Error: name must be valid as a DNS name component");
    check(
        &format!("{create} --name x --memory-limit 1m"),
        "Error: invalid memory value 1048576: Must be at least 4MiB",
    );
    check(
        &format!("{create} --name x --constraint nonsense"),
        "Error: constraint expected one operator from ==, !=",
    );
    check("service inspect nobody", "Error: service nobody not found");
    check("service remove nobody", "Error: service nobody not found");
    check("task inspect nobody", "Error: task nobody not found");
    assert_eq!(daemon.swarmctl("service ls -q"), "");
    daemon.swarmctl(&format!("{create} --name taken --replicas 0"));
    check(
        &format!("{create} --name TAKEN"),
        "Error: name conflicts with an existing object: service TAKEN already exists",
    );
    check("service update taken", "Error: no changes detected");
    check("service update taken --name other", "Error: renaming services is not supported");
    assert_eq!(daemon.swarmctl("service ls -q").lines().count(), 1);
}
