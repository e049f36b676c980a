//! Killing the daemon, its shims and its tasks, in any order.

use std::process::Stdio;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::daemon::{Daemon, eventually};

fn kill_all(pids: &[i32]) {
    for pid in pids {
        // Some may be gone already: what they belonged to was killed before them.
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
}

/// The id of the cluster and those of the services.
fn identity(daemon: &Daemon) -> (String, String) {
    (daemon.swarmctl("cluster ls -q"), daemon.swarmctl("service ls -q"))
}

/// Kills what `victims` names, in that order, and wants everything as it was.
#[track_caller]
fn survives(argument: &str, victims: &str) {
    let mut daemon = Daemon::start();
    daemon.swarmctl(&format!(
        "service create --name web --image host --command sleep --args {argument} --replicas 2 \
         --restart-delay 0s"
    ));
    let processes = daemon.await_processes(argument, 2);
    let before = identity(&daemon);
    for victim in victims.split_whitespace() {
        match victim {
            "daemon" => daemon.kill(),
            "shims" => {
                let shims = daemon.shims();
                assert_eq!(shims.len(), 2, "one per task");
                kill_all(&shims);
            }
            "tasks" => kill_all(&daemon.processes(argument)),
            other => panic!("nobody is called {other}"),
        }
    }
    let is_untouched = !victims.contains("shims") && !victims.contains("tasks");
    if !is_untouched {
        // A service has its replicas for as long as nobody has seen them end.
        eventually("the end of the tasks", || {
            let mut left = daemon.processes(argument);
            left.retain(|pid| processes.contains(pid));
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
    }
    if victims.contains("daemon") {
        daemon.launch();
    }
    let is_untouched = !victims.contains("shims") && !victims.contains("tasks");
    if !is_untouched {
        // Until the manager has heard of it, everything looks as it was.
        eventually("the end of what was killed", || {
            let left = daemon.processes(argument);
            let is_gone = left.iter().all(|pid| !processes.contains(pid));
            if is_gone { Ok(()) } else { Err(format!("{left:?} of {processes:?}")) }
        });
    }
    daemon.await_replicas("web", "2/2");
    let after = daemon.await_processes(argument, 2);
    assert_eq!(after == processes, is_untouched, "only what was killed is started again");
    assert_eq!(identity(&daemon), before, "the same cluster with the same services");
    daemon.swarmctl("service remove web");
    daemon.await_processes(argument, 0);
    eventually("the end of every shim and of its records", || {
        let (shims, records) = (daemon.shims(), daemon.task_records());
        if shims.is_empty() && records == 0 { Ok(()) } else { Err(format!("{shims:?} {records}")) }
    });
}

#[test]
fn the_daemon() {
    survives("100101", "daemon");
}

#[test]
fn the_tasks() {
    survives("100102", "tasks");
}

#[test]
fn the_shims() {
    survives("100103", "shims");
}

#[test]
fn the_daemon_then_the_tasks() {
    survives("100104", "daemon tasks");
}

#[test]
fn the_daemon_then_the_shims() {
    survives("100105", "daemon shims");
}

#[test]
fn the_shims_then_the_daemon() {
    survives("100106", "shims daemon");
}

#[test]
fn the_tasks_then_the_daemon() {
    survives("100107", "tasks daemon");
}

#[test]
fn the_shims_then_the_tasks_then_the_daemon() {
    survives("100108", "shims tasks daemon");
}

/// A task that ends while no daemon runs: its exit code must not be lost.
#[test]
fn an_exit_code_outlives_the_daemon() {
    let mut daemon = Daemon::start();
    // It ends when the gate is there, which is after the daemon has been killed.
    let gate = daemon.state().with_extension("gate");
    let script = format!("until [ -e {} ]; do sleep 0.05; done; exit 7", gate.display());
    let create = ["service", "create", "--name", "job", "--image", "host", "--command", "sh"];
    let arguments = ["--args", "-c", "--args", &script, "--restart-condition", "none"];
    let output = daemon.run_words(&[&create[..], &arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    daemon.await_replicas("job", "1/1");
    assert_eq!(daemon.shims().len(), 1);
    daemon.kill();
    assert_eq!(daemon.shims().len(), 1, "the task goes on without the daemon");
    std::fs::write(&gate, "").unwrap();
    eventually("the end of the task", || {
        let shims = daemon.shims();
        if shims.is_empty() { Ok(()) } else { Err(format!("{shims:?}")) }
    });
    daemon.launch();
    let page = eventually("a task that has failed", || {
        let ids = daemon.swarmctl("task ls -a -q");
        let page = daemon.swarmctl(&format!("task inspect {}", ids.trim()));
        if page.contains("Last State           : FAILED") { Ok(page) } else { Err(page) }
    });
    assert!(page.contains("task: non-zero exit (7)"), "{page}");
}

/// Everything acknowledged before a kill is there after it, however often that happens.
#[test]
fn nothing_acknowledged_is_lost() {
    let mut daemon = Daemon::start();
    for round in 0..5 {
        for service in 0..4 {
            daemon.swarmctl(&format!(
                "service create --name s{round}-{service} --image host --command true --replicas 0"
            ));
        }
        daemon.kill();
        daemon.launch();
        let services = daemon.swarmctl("service ls -q").lines().count();
        assert_eq!(services, (round + 1) * 4, "after kill number {round}");
    }
}

#[test]
fn a_daemon_whose_log_nobody_reads_runs_on() {
    let mut daemon = Daemon::idle();
    daemon.launch_unheard();
    daemon.swarmctl("service create --name web --image host --command sleep --args 100115");
    daemon.await_processes("100115", 1);
    assert_eq!(daemon.end(Signal::SIGTERM).code(), Some(0));
    // Nor does it matter to its last words.
    let mut command = daemon.command();
    let wrong = command.arg("--nonsense").stderr(Stdio::piped());
    let mut child = wrong.spawn().expect("swarmd starts");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
}
