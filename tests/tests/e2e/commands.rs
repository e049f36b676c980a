//! What commands do beyond the walk-through: nodes, the cluster, JSON, advice, waiting.

use std::{
    fs::File,
    io::Read,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::daemon::{Daemon, binary, eventually, swarmctl};

fn json(daemon: &Daemon, line: &str) -> Value {
    let text = daemon.swarmctl(&format!("{line} --format json"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error} in\n{text}"))
}

fn ready() -> Daemon {
    let daemon = Daemon::start();
    eventually("a node that is ready", || {
        let listing = daemon.swarmctl("node ls");
        if listing.contains("READY") { Ok(()) } else { Err(listing) }
    });
    daemon
}

#[test]
fn a_node_is_paused_explained_and_activated() {
    let daemon = ready();
    daemon.swarmctl("node update node-1 --label disk=ssd,rack=1");
    let node = json(&daemon, "node inspect node-1");
    assert_eq!(node["node"]["spec"]["annotations"]["labels"]["disk"], "ssd");
    daemon.swarmctl("node pause node-1");
    assert_eq!(json(&daemon, "node ls")[0]["spec"]["availability"], "PAUSE");
    daemon.swarmctl("service create --name web --image host --command sleep --args 100311");
    let page = eventually("a task that waits", || {
        let page = daemon.swarmctl("service explain web");
        if page.contains("no suitable node") { Ok(page) } else { Err(page) }
    });
    for part in ["0 of 1", "Nearest", "node-1", "its availability is PAUSE; activate the node"] {
        assert!(page.contains(part), "no {part} in:\n{page}");
    }
    let told = json(&daemon, "service explain web");
    let task = told["tasks"][0]["task_id"].as_str().expect("an id").to_owned();
    assert_eq!(told["tasks"][0]["failed"][0]["filter"], "ready");
    assert!(daemon.swarmctl(&format!("task explain {task}")).contains(&task));
    daemon.swarmctl("node activate node-1");
    daemon.await_replicas("web", "1/1");
    assert_eq!(json(&daemon, "service explain web")["tasks"], Value::Array(Vec::new()));
}

#[test]
fn filters_narrow_listings() {
    let daemon = ready();
    for name in ["a", "b"] {
        daemon.swarmctl(&format!(
            "service create --name {name} --image host --command true --replicas 0 --label x={name}"
        ));
    }
    let names = |line: &str| -> Vec<String> {
        let listed = json(&daemon, line);
        let listed = listed.as_array().expect("a list");
        let name = |one: &Value| one["spec"]["annotations"]["name"].as_str().map(str::to_owned);
        listed.iter().filter_map(name).collect()
    };
    assert_eq!(names("service ls --filter name=b"), ["b"]);
    assert_eq!(names("service ls --filter label=x=a"), ["a"]);
    assert_eq!(names("service ls --filter label=y"), Vec::<String>::new());
    assert_eq!(names("cluster ls --filter name=default"), ["default"]);
    assert_eq!(json(&daemon, "node ls --filter role=worker"), Value::Array(Vec::new()));
    assert_eq!(daemon.swarmctl("node ls -q --filter role=manager").lines().count(), 1);
}

#[test]
fn settings_of_the_cluster_change_one_at_a_time() {
    let daemon = ready();
    let key = daemon.swarmctl("cluster unlock-key default");
    assert_eq!(key, "Managers not auto-locked\n");
    let before = json(&daemon, "cluster inspect default");
    let id = daemon.swarmctl("cluster update default --taskhistory 3 --log-driver json-file");
    assert_eq!(id.trim(), before["cluster"]["id"]);
    daemon.swarmctl("cluster update default --rotate-join-token worker");
    let after = json(&daemon, "cluster inspect default");
    let (before, after) = (&before["cluster"], &after["cluster"]);
    assert_eq!(after["spec"]["orchestration"]["task_history_retention_limit"], 3);
    assert_eq!(after["spec"]["task_defaults"]["log_driver"]["name"], "json-file");
    let tokens = |cluster: &Value, role: &str| cluster["root_ca"]["join_tokens"][role].clone();
    assert_ne!(tokens(after, "worker"), tokens(before, "worker"));
    assert_eq!(tokens(after, "manager"), tokens(before, "manager"));
    assert_eq!(after["root_ca"]["ca_key"], "", "no key is shown");
    // In a page as in the seed, with what was changed in its place.
    daemon.swarmctl("cluster update default --certexpiry 30m --heartbeatperiod 2s");
    daemon.swarmctl("cluster update default --rotate-join-token Manager");
    let page = daemon.swarmctl("cluster inspect default");
    let lines: Vec<_> = page.lines().collect();
    assert_eq!(lines[1], "Name        : default");
    assert_eq!(lines[3], "  Task history entries: 3");
    assert_eq!(lines[5], "  Dispatcher heartbeat period: 2s");
    assert_eq!(lines[7], "  Certificate Validity Duration: 30m0s");
    let (worker, manager) = (tokens(after, "worker"), tokens(before, "manager"));
    let of = |token: &Value| token.as_str().expect("a token").to_owned();
    assert_eq!(lines[9], format!("    Worker: {}", of(&worker)), "it is not rotated again");
    assert_ne!(lines[10], format!("    Manager: {}", of(&manager)));
    let digest = |line: &str| line.split('-').nth(2).expect("a digest").to_owned();
    assert_eq!(digest(lines[10]), digest(&of(&manager)), "the root is the same");
}

#[test]
fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let daemon = ready();
    let create = "service create --name web --image host --command sleep --args 100302";
    let page = daemon.swarmctl(&format!("{create} --replicas 2 --dry-run"));
    assert_eq!(page.matches("CREATE  node-1").count(), 2, "{page}");
    assert_eq!(daemon.swarmctl("service ls -q"), "");
    daemon.swarmctl(&format!("{create} --wait"));
    let before = json(&daemon, "service inspect web");
    let page = daemon.swarmctl("service update web --replicas 3 --dry-run");
    assert!(page.contains("replicated.replicas: 1 -> 3"), "{page}");
    assert!(page.contains("Tasks that stay: 1"), "{page}");
    let page = daemon.swarmctl("service update web --args 100303 --dry-run");
    assert!(page.contains("REPLACE"), "{page}");
    let plan = json(&daemon, "service update web --replicas 0 --dry-run");
    assert_eq!(plan["plan"]["tasks"][0]["action"], "STOP");
    assert_eq!(json(&daemon, "service inspect web")["service"], before["service"]);
}

#[test]
fn waiting_ends_with_the_last_task_or_with_the_reason() {
    let daemon = ready();
    daemon.swarmctl(
        "service create --name web --image host --command sleep --args 100304 --replicas 3 --wait",
    );
    assert!(daemon.swarmctl("service ls").contains("3/3"), "all tasks run when it returns");
    daemon.swarmctl("service update web --replicas 1 --wait");
    assert!(daemon.swarmctl("service ls").contains("1/1"));
    let create = |rest: &str| {
        let line = format!("service create --image host {rest} --wait");
        let output = daemon.run_words(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(255), "{line}");
        assert_eq!(output.stdout.len(), 26, "the service is there, and its id was printed");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = create("--name far --command true --constraint node.labels.disk==none");
    assert!(said.starts_with("Error: task ") && said.contains("no suitable node"), "{said}");
    assert!(said.contains("`swarmctl service explain far` tells more"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let said = create("--name once --command /nowhere/at/all --restart-condition none");
    assert!(said.contains("does not come back"), "{said}");
    let said = create("--name loop --command true --restart-delay 300ms");
    assert!(said.contains("task after task ends in slot 1: COMPLETE"), "{said}");
    let said = create("--name late --command true --restart-delay 1h --wait-timeout 1s");
    assert!(said.contains("still waiting after 1 s"), "{said}");
}

#[test]
fn a_wait_is_for_what_has_not_ended_before_it() {
    let daemon = ready();
    let create = "service create --name web --image host --command sleep --args 100312 --wait";
    let created = json(&daemon, &format!("{create} --restart-condition none"));
    assert_eq!(created["id"].as_str().map(str::len), Some(25), "{created}");
    let nothing = daemon.swarmctl("service update web --replicas 1 --wait");
    assert_eq!(nothing.trim(), created["id"], "with nothing to change it waits");
    let pid = daemon.await_processes("100312", 1)[0];
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it can be killed");
    eventually("a task that has ended", || {
        let tasks = json(&daemon, "task ls --all");
        if tasks[0]["desired_state"] == "SHUTDOWN" { Ok(()) } else { Err(tasks.to_string()) }
    });
    let updated = json(&daemon, "service update web --replicas 3 --wait");
    assert_eq!(updated, created);
    daemon.await_processes("100312", 2);
    daemon.swarmctl("service update web --args 100313 --wait");
    daemon.await_processes("100313", 3);
    assert_eq!(daemon.refused("service update web --replicas 3"), "Error: no changes detected");
}

#[test]
fn a_wait_outlives_the_daemon() {
    let mut daemon = ready();
    daemon.swarmctl("node pause node-1");
    let line = "service create --name web --image host --command sleep --args 100314 --wait";
    let words: Vec<_> = line.split_whitespace().collect();
    let mut command = swarmctl(&daemon.socket(), &words);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    eventually("a task that waits", || {
        let page = daemon.swarmctl("task ls");
        if page.contains("PENDING") { Ok(()) } else { Err(page) }
    });
    daemon.kill();
    daemon.launch();
    eventually("a node that can be activated", || daemon.try_swarmctl("node activate node-1"));
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    daemon.await_replicas("web", "1/1");
}

#[test]
fn a_task_that_is_removed_is_made_anew() {
    let daemon = ready();
    daemon.swarmctl("service create --name web --image host --command sleep --args 100305 --wait");
    let task = daemon.swarmctl("task ls -q").trim().to_owned();
    assert_eq!(daemon.swarmctl(&format!("task rm {task}")), format!("{task}\n"));
    eventually("another task that runs", || {
        let tasks = json(&daemon, "task ls");
        let other = tasks[0]["id"] != task.as_str() && tasks[0]["status"]["state"] == "RUNNING";
        if other { Ok(()) } else { Err(tasks.to_string()) }
    });
}

#[test]
fn shells_and_readers_have_what_they_need() {
    let daemon = Daemon::idle();
    for shell in ["bash", "fish", "zsh"] {
        let script = daemon.swarmctl(&format!("completion {shell}"));
        assert!(script.contains("swarmctl") && script.contains("unlock-key"), "{shell}");
    }
    let folder = tempfile::tempdir().unwrap();
    daemon.swarmctl(&format!("man {}", folder.path().display()));
    for page in ["swarmctl.1", "swarmctl-service-create.1", "swarmctl-node-drain.1"] {
        assert!(folder.path().join(page).exists(), "{page}");
    }
}

/// Runs `swarmctl` with its standard error on a terminal, its standard output too unless it is piped,
/// and returns what stood there.
fn on_terminal(daemon: &Daemon, line: &str, no_color: &str, is_piped: bool) -> String {
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    // An end that stays open here would keep the terminal from ending.
    let output = match is_piped {
        true => Stdio::null(),
        false => terminal.slave.try_clone().expect("another end").into(),
    };
    let mut child = Command::new(binary("swarmctl"))
        .args(line.split_whitespace())
        .env("SWARM_SOCKET", daemon.socket())
        .env("NO_COLOR", no_color)
        .stdout(output)
        .stderr(terminal.slave)
        .spawn()
        .expect("swarmctl starts");
    let mut said = Vec::new();
    // A terminal without anybody on its other side ends with an error.
    let _ = File::from(terminal.master).read_to_end(&mut said);
    assert!(child.wait().expect("it ends").success(), "swarmctl {line}");
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn bars_are_drawn_on_a_terminal_in_colours_that_can_be_refused() {
    let daemon = ready();
    let create = "service create --image host --command sleep --args 100306 --replicas 2";
    let said = on_terminal(&daemon, &format!("{create} --name a"), "", false);
    assert!(daemon.swarmctl("service ls").contains("2/2"), "it waits on a terminal");
    for bar in ["     1 [====================]", "     2 [====================]"] {
        assert!(said.contains(bar), "no {bar} in:\n{said}");
    }
    assert!(said.contains("\u{1b}[32mRUNNING"), "{said}");
    let said = on_terminal(&daemon, &format!("{create} --name b"), "1", false);
    assert!(said.contains("RUNNING") && !said.contains("\u{1b}[32m"), "{said}");
    let said = on_terminal(&daemon, &format!("{create} --name c --wait=false"), "", false);
    assert_eq!(said.trim().len(), 25, "it need not wait, and tells the id alone: {said}");
    let said = on_terminal(&daemon, &format!("{create} --name d"), "", true);
    assert_eq!(said, "", "who reads the id from a pipe has it at once");
}

#[test]
fn waiting_can_be_interrupted() {
    let daemon = ready();
    daemon.swarmctl("node pause node-1");
    let child = Command::new(binary("swarmctl"))
        .args(["service", "create", "--name", "web", "--image", "host", "--wait"])
        .env("SWARM_SOCKET", daemon.socket())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("swarmctl starts");
    eventually("a service that waits", || {
        let page = daemon.swarmctl("task ls");
        if page.contains("PENDING") { Ok(()) } else { Err(page) }
    });
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    eventually("a process that catches the signal", || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap_or("0").trim(), 16).unwrap_or_default();
        if caught & 2 != 0 { Ok(()) } else { Err(status) }
    });
    kill(pid, Signal::SIGINT).expect("it can be signalled");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(255), "{said}");
    assert!(said.contains("`swarmctl service inspect web` shows how far it is"), "{said}");
    assert_eq!(daemon.swarmctl("service ls -q").lines().count(), 1, "the service goes on");
}
