//! A real Docker Engine in one cluster with these daemons: as a worker, as a manager, and as the one
//! that leads. Needs root and Debian's `docker.io`, and is built only with the feature `engine`.

use std::{
    fs,
    io::Write,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{
    daemon::{Daemon, Place, eventually},
    fleet::lasting,
    swarm::{self, Swarm, nodes},
    writer::Writer,
};

/// What its tasks run: nothing can be pulled, so it is made of one file.
const IMAGE: &str = "pause:1";

/// The bridge that an engine makes on this machine once it is in a cluster.
const BRIDGE: &str = "docker_gwbridge";

/// A `dockerd` with its own folders and socket. Dropping it ends it, and what it runs.
struct Engine {
    folder: TempDir,
    child: Option<Child>,
    /// Where its managers listen.
    address: String,
}

impl Engine {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("dk").tempdir().expect("a temporary folder");
        let mut engine = Self { folder, child: None, address: lasting("docker").address };
        engine.launch();
        engine.import();
        engine
    }

    fn launch(&mut self) {
        let path = |name: &str| self.folder.path().join(name);
        let log = fs::File::create(path("log")).expect("the log can be written");
        let child = Command::new("dockerd")
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .args(["--host", &self.host(), "--iptables=false", "--bridge=none"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("dockerd, of Debian's docker.io, starts");
        self.child = Some(child);
        eventually("an engine that answers", || self.try_docker("info"));
    }

    fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("s").display())
    }

    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command.args(["--host", &self.host()]);
        command
    }

    fn try_docker(&self, line: &str) -> Result<String, String> {
        let output = self.command().args(line.split_whitespace()).output().expect("docker starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    #[track_caller]
    fn docker(&self, line: &str) -> String {
        self.try_docker(line).unwrap_or_else(|error| panic!("docker {line}: {error}"))
    }

    /// Makes an image of a program that is linked with everything it needs.
    fn import(&self) {
        let busybox = fs::read("/bin/busybox").expect("busybox-static is installed");
        let root = self.folder.path().join("image");
        fs::create_dir(&root).expect("a folder");
        let program = root.join("sleep");
        fs::write(&program, busybox).expect("a file");
        let packed = Command::new("tar")
            .args(["--mode=0755", "-C"])
            .arg(&root)
            .args(["-c", "sleep"])
            .output()
            .expect("tar runs");
        let mut import = self
            .command()
            .args(["import", "-", IMAGE])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("docker starts");
        let mut input = import.stdin.take().expect("it was asked for");
        input.write_all(&packed.stdout).expect("it reads");
        drop(input);
        assert!(import.wait().expect("it ends").success(), "the image is imported");
    }

    /// Joins the cluster of a manager, and returns the id of its node.
    fn join(&self, manager: &Daemon, role: &str) -> String {
        let (token, there) = (swarm::token(manager, role), swarm::address(manager));
        let here = &self.address;
        self.docker(&format!(
            "swarm join --token {token} --listen-addr {here} --advertise-addr {here} {there}"
        ));
        self.node_id()
    }

    /// Founds a cluster that writes a snapshot after every few entries.
    fn found(&self) {
        let here = &self.address;
        self.docker(&format!(
            "swarm init --listen-addr {here} --advertise-addr {here} --snapshot-interval 10"
        ));
    }

    fn node_id(&self) -> String {
        self.docker("info --format {{.Swarm.NodeID}}")
    }

    /// How a daemon is told to join through this engine.
    fn invitation(&self, role: &str) -> [String; 4] {
        let token = self.docker(&format!("swarm join-token --quiet {role}"));
        ["--join-addr".to_owned(), self.address.clone(), "--join-token".to_owned(), token]
    }

    fn containers(&self) -> Vec<String> {
        let mut ids: Vec<_> =
            self.docker("ps --quiet").split_whitespace().map(str::to_owned).collect();
        ids.sort_unstable();
        ids
    }

    fn leads(&self) -> bool {
        self.docker("node inspect self --format {{.ManagerStatus.Leader}}") == "true"
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else { return };
        let pid = i32::try_from(child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("it runs");
        child.wait().expect("it can be waited for");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.try_docker("swarm leave --force").ok();
            let containers = self.try_docker("ps --quiet --all").unwrap_or_default();
            for container in containers.split_whitespace() {
                self.try_docker(&format!("rm --force {container}")).ok();
            }
        }
        self.end(Signal::SIGTERM);
        // An engine mounts its folder on itself, which would keep it from being removed.
        Command::new("umount").arg(self.folder.path().join("data")).status().ok();
        Command::new("ip").args(["link", "del", BRIDGE]).status().ok();
    }
}

/// Waits until a manager says of a node what it should.
#[track_caller]
fn await_node(manager: &Daemon, engine: &Engine, id: &str, state: &str, reachability: &str) {
    eventually(&format!("a node that is {state} and {reachability}"), || {
        let all = nodes(manager)?;
        let node = all.iter().find(|node| node["id"] == id).ok_or_else(|| format!("{all:?}"))?;
        let reached = node["manager_status"]["reachability"].as_str().unwrap_or("no manager");
        let is_so = node["status"]["state"] == state && reached == reachability;
        if is_so { Ok(()) } else { Err(format!("{node}\n{}\n{}", manager.log(), engine.log())) }
    });
}

/// Waits until an engine runs so many containers.
#[track_caller]
fn await_containers(engine: &Engine, count: usize) -> Vec<String> {
    eventually(&format!("{count} containers"), || {
        let found = engine.containers();
        if found.len() == count { Ok(found) } else { Err(format!("{found:?}")) }
    })
}

/// Has an engine that leads exchange its root: all get certificates of another, and trust no other.
#[track_caller]
fn exchange_root(engine: &Engine, daemons: &[Daemon]) {
    engine.docker("swarm ca --rotate --quiet");
    let root = engine.docker("swarm ca");
    for daemon in daemons {
        eventually("a node of the new root", || {
            let trusted = fs::read_to_string(daemon.state().join("certificates/swarm-root-ca.crt"));
            let trusted = trusted.map_err(|error| error.to_string())?;
            if trusted.trim() == root { Ok(()) } else { Err(trusted + &daemon.log()) }
        });
    }
}

/// Sessions with an engine last, and so does its leadership: half a minute is longer than they did when
/// something was wrong.
#[track_caller]
fn check_lasting(daemons: &[Daemon]) {
    let sessions = |daemon: &Daemon| daemon.log().matches("registered with a manager").count();
    let before: Vec<_> = daemons.iter().map(sessions).collect();
    thread::sleep(Duration::from_secs(30));
    let after: Vec<_> = daemons.iter().map(sessions).collect();
    assert_eq!(before, after, "{}", daemons[0].log());
}

#[test]
fn docker_is_a_worker_then_a_manager_and_then_leads() {
    let engine = Engine::start();
    let mut swarm = Swarm::on(vec![lasting("m1")]);
    let docker = engine.join(&swarm.managers[0], "worker");
    await_node(&swarm.managers[0], &engine, &docker, "READY", "no manager");
    swarm.managers[0].swarmctl(&format!(
        "service create --name web --image {IMAGE} --command /sleep --args 1000 --replicas 2 \
         --constraint node.id=={docker}"
    ));
    let first = await_containers(&engine, 2);
    swarm.managers[0].await_replicas("web", "2/2");

    // A manager: its raft agrees with ours, and both command lines reach whoever leads.
    swarm.managers[0].swarmctl(&format!("node promote {docker}"));
    await_node(&swarm.managers[0], &engine, &docker, "READY", "REACHABLE");
    eventually("an engine that is a manager", || engine.try_docker("node ls"));
    engine.docker("service scale --detach web=3");
    await_containers(&engine, 3);
    let mut second = Daemon::at(lasting("m2"));
    second.launch_with(&engine.invitation("manager"));
    swarm.managers.push(second);
    await_node(&swarm.managers[1], &engine, &docker, "READY", "REACHABLE");

    // One of the three is lost.
    swarm.managers[0].kill();
    eventually("a group that has a leader", || {
        swarm.managers[1].try_swarmctl("service update web --replicas 4")
    });
    await_containers(&engine, 4);
    swarm.managers[0].launch();
    let ids: Vec<_> = swarm.managers.iter().map(swarm::node_id).collect();
    for id in &ids {
        await_node(&swarm.managers[1], &engine, id, "READY", "REACHABLE");
    }

    // It leads, once there is nobody else, and takes ours as workers and as managers.
    for id in &ids {
        eventually("a demotion", || engine.try_docker(&format!("node demote {id}")));
    }
    eventually("an engine that leads", || if engine.leads() { Ok(()) } else { Err(engine.log()) });
    eventually("workers of an engine", || {
        let listed = engine.try_docker("node ls --format {{.Status}}/{{.ManagerStatus}}")?;
        let workers = listed.lines().filter(|line| *line == "Ready/").count();
        if workers == 2 { Ok(()) } else { Err(listed) }
    });
    let argument = 100_901;
    engine.docker(&format!(
        "service create --detach --no-resolve-image --name here --constraint node.id=={} \
         --replicas 2 host sleep {argument}",
        ids[0]
    ));
    swarm.managers[0].await_processes(&argument.to_string(), 2);
    for id in &ids {
        engine.docker(&format!("node promote {id}"));
    }
    eventually("a manager under an engine", || swarm.managers[1].try_swarmctl("node ls"));
    for id in &ids {
        await_node(&swarm.managers[1], &engine, id, "READY", "REACHABLE");
    }

    exchange_root(&engine, &swarm.managers);
    check_lasting(&swarm.managers);

    // And gives it back.
    swarm.managers[1].swarmctl(&format!("node demote {docker}"));
    await_node(&swarm.managers[1], &engine, &docker, "READY", "no manager");
    swarm.await_reachable(2);
    let last = await_containers(&engine, 4);
    assert!(first.iter().all(|id| last.contains(id)), "{first:?} ran all the time: {last:?}");
}

/// The engine alone could not let go of a second member that is not there.
#[test]
fn a_manager_that_ends_before_its_log_has_begun_is_the_same_member() {
    let engine = Engine::start();
    engine.found();
    let mut daemon = Daemon::at(lasting("m1"));
    // The first file of its log cannot be made.
    let in_the_way = daemon.state().join("raft/0000000000000001.log.new");
    fs::create_dir_all(&in_the_way).expect("a folder");
    let invitation = engine.invitation("manager");
    daemon.spawn_with_words(&invitation);
    assert!(!daemon.wait().success(), "{}", daemon.log());
    let members = || engine.docker("node ls --filter role=manager --quiet").lines().count();
    assert_eq!(members(), 2, "it was let in");
    fs::remove_dir(&in_the_way).expect("it is there");
    eventually("an engine that leads no more", || match engine.try_docker("node ls") {
        Err(error) if error.contains("does not have a leader") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    daemon.launch_with(&invitation);
    let id = swarm::node_id(&daemon);
    await_node(&daemon, &engine, &id, "READY", "REACHABLE");
    assert_eq!(members(), 2);
    daemon.swarmctl("service create --name web --image host --command sleep --args 1 --replicas 0");
}

#[test]
fn a_manager_joins_a_group_of_docker_whose_log_is_cut() {
    let mut engine = Engine::start();
    engine.found();
    let metered = |name: &str| Place { metrics: true, ..lasting(name) };
    let mut first = Daemon::at(metered("m1"));
    first.launch_with(&engine.invitation("manager"));
    // More than a leader of SwarmKit's keeps for those who are behind.
    let writer = Writer::start("s", [&first]);
    for _ in 0..8 {
        writer.await_more(100);
    }
    let told = writer.end();
    let snapshots = engine.folder.path().join("data/swarm/raft/snap-v3-encrypted");
    assert!(fs::read_dir(snapshots).is_ok_and(|mut files| files.next().is_some()));

    let mut second = Daemon::at(metered("m2"));
    second.launch_with(&engine.invitation("manager"));
    let swarm = Swarm { managers: vec![first, second] };
    told.check_all(&swarm);

    // The engine is lost, and comes back.
    engine.end(Signal::SIGKILL);
    swarm.await_reachable(2);
    let more = Writer::start("t", swarm.running());
    more.await_more(100);
    let told = more.end();
    engine.launch();
    swarm.await_reachable(3);
    told.check_all(&swarm);
    let listed = engine.docker("service ls --quiet");
    assert!(listed.lines().count() >= 900, "{}", listed.lines().count());
}
