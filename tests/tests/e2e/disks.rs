//! Disks that take nothing any more. These tests mount file systems, and need the right to.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::daemon::{Daemon, ends, error_line, eventually};

/// A file system in memory in place of a daemon's state directory.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: &Path) -> Self {
        fs::create_dir_all(at).expect("the folder can be made");
        mount(&["-t", "tmpfs", "-o", "size=40m,mode=700", "tmpfs"], at);
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Tasks that are being killed may still hold it.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "it can be unmounted");
    }
}

fn mount(options: &[&str], at: &Path) {
    let mounted = Command::new("mount").args(options).arg(at).status();
    assert!(mounted.is_ok_and(|status| status.success()), "it can be mounted");
}

/// Whether this process may mount, which in a container not even root always may. CI has to.
fn may_mount() -> bool {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(folder.path()).output();
    if mounted.is_ok_and(|mounted| mounted.status.success()) {
        drop(Mounted(folder.path().to_owned()));
        return true;
    }
    assert_ne!(env::var("CI").as_deref(), Ok("true"), "CI must be allowed to mount for this test");
    #[expect(clippy::print_stdout, reason = "what did not run is listed")]
    {
        println!("not run: needs the right to mount");
    }
    false
}

#[test]
fn a_disk_that_is_full_ends_the_daemon_and_loses_nothing() {
    if !may_mount() {
        return;
    }
    let mut daemon = Daemon::idle();
    let mounted = Mounted::new(&daemon.state());
    daemon.launch();
    let filler = daemon.state().join("filler");
    let free = fill(&filler);
    assert!(free.is_err(), "the disk is full");
    // An entry of the log holds each; the next segment finds no room.
    let label = format!("x={}", "y".repeat(100_000));
    let create = |number: u32| {
        format!(
            "service create --name s{number} --image host --command true --replicas 0 --label {label}"
        )
    };
    let acknowledged = (0..400).take_while(|number| daemon.try_swarmctl(&create(*number)).is_ok());
    let acknowledged = acknowledged.count();
    assert!((10..400).contains(&acknowledged), "{acknowledged} writes were taken");
    let status = daemon.wait();
    assert_eq!(status.code(), Some(1));
    let log = daemon.log();
    let line = error_line(&log);
    assert!(line.contains("the log is closed") && line.contains("No space left"), "{line}");
    fs::remove_file(&filler).expect("the filler can be removed");
    daemon.launch();
    let services = daemon.swarmctl("service ls -q").lines().count();
    assert!((acknowledged..=acknowledged + 1).contains(&services), "{services} services");
    daemon.swarmctl(&create(1_000));
    daemon.kill();
    drop(mounted);
}

#[test]
fn a_disk_that_is_full_for_a_while_stops_no_task() {
    if !may_mount() {
        return;
    }
    const ARGUMENT: &str = "100301";
    let mut daemon = Daemon::idle();
    let mounted = Mounted::new(&daemon.state());
    daemon.launch();
    daemon.swarmctl(&format!(
        "service create --name web --image host --command sleep --args {ARGUMENT} --replicas 2"
    ));
    daemon.await_replicas("web", "2/2");
    let running = daemon.await_processes(ARGUMENT, 2);
    let filler = daemon.state().join("filler");
    fill(&filler).expect_err("the disk is full");
    // The log has room of its own for this; what the node must remember has not.
    daemon.swarmctl("service update web --replicas 3");
    eventually("a database that cannot be written", || {
        let log = daemon.log();
        if log.contains("the task database was not written") { Ok(()) } else { Err(log) }
    });
    fs::remove_file(&filler).expect("the filler can be removed");
    daemon.await_replicas("web", "3/3");
    fill(&filler).expect_err("the disk is full");
    daemon.kill();
    for _ in 0..2 {
        let (status, said) = ends(&mut daemon.command());
        assert_eq!(status.code(), Some(1));
        let line = error_line(&said);
        assert!(line.contains("No space left") || line.contains("StorageFull"), "{line}");
    }
    fs::remove_file(&filler).expect("the filler can be removed");
    daemon.launch();
    daemon.await_replicas("web", "3/3");
    let still = daemon.processes(ARGUMENT);
    assert!(running.iter().all(|pid| still.contains(pid)), "{running:?} became {still:?}");
    daemon.swarmctl("service remove web");
    daemon.await_processes(ARGUMENT, 0);
    daemon.kill();
    drop(mounted);
}

/// Writes until the disk takes no more.
fn fill(path: &Path) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = fs::File::create(path)?;
    for _ in 0..100 {
        file.write_all(&[0; 1 << 20])?;
    }
    file.sync_all()
}

#[test]
fn a_disk_that_is_read_only() {
    if !may_mount() {
        return;
    }
    let daemon = Daemon::idle();
    let mounted = Mounted::new(&daemon.state());
    mount(&["-o", "remount,ro"], &daemon.state());
    let (status, said) = ends(&mut daemon.command());
    assert_eq!(status.code(), Some(1));
    let line = error_line(&said);
    assert!(line.contains(&daemon.state().display().to_string()), "{line}");
    assert!(line.contains("Read-only file system"), "{line}");
    drop(mounted);
}
