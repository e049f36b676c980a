//! The process executor with real processes and the real shim.
#![allow(clippy::tests_outside_test_module, reason = "the whole file is tests")]

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use actors::agent::port::{Controller, Executor, ExecutorError};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use node::{
    executor::{Config, ProcessExecutor},
    shim::{Claim, Started, TaskDirectory},
};
use protocol::wire::{self, task_spec::Runtime};
use tokio::time::{sleep, timeout};

/// How long anything may take on a slow, busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node's folder of tasks, and the daemons that come and go over it.
struct World {
    folder: tempfile::TempDir,
    executor: RefCell<Rc<ProcessExecutor>>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let executor = RefCell::new(Rc::new(ProcessExecutor::new(config(folder.path()))));
        Self { folder, executor }
    }

    /// The daemon is gone, and another one has come.
    fn restart(&self) {
        *self.executor.borrow_mut() = Rc::new(ProcessExecutor::new(config(self.folder.path())));
    }

    fn executor(&self) -> Rc<ProcessExecutor> {
        self.executor.borrow().clone()
    }

    fn controller(&self, id: &str, script: &str) -> Rc<dyn Controller> {
        self.executor().controller(&task(id, script)).expect("it can run here")
    }

    /// Prepares and starts a task.
    async fn run(&self, id: &str, script: &str) -> Rc<dyn Controller> {
        let controller = self.controller(id, script);
        controller.prepare().await.expect("prepared");
        controller.start().await.expect("started");
        controller
    }

    fn directory(&self, id: &str) -> TaskDirectory {
        TaskDirectory::new(self.folder.path().join(id))
    }

    /// The process ids of a task's shim and of its main process.
    fn processes(&self, id: &str) -> (i32, i32) {
        let directory = self.directory(id);
        let claim = directory.read::<Claim>().expect("readable").expect("claimed");
        let started = directory.read::<Started>().expect("readable").expect("started");
        (claim.shim.expect("a shim").pid, started.main.expect("a process").pid)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for World {
    /// A failed test leaves nothing behind.
    fn drop(&mut self) {
        for entry in fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            let directory = TaskDirectory::new(entry.path());
            if let Ok(Some(Claim { shim: Some(shim) })) = directory.read()
                && shim.open().is_ok_and(|found| found.is_some())
            {
                kill(Pid::from_raw(shim.pid), Signal::SIGKILL).ok();
            }
        }
    }
}

fn config(folder: &Path) -> Config {
    let program = env!("CARGO_BIN_EXE_swarmd").into();
    Config { program, output_file_bytes_max: 4096, ..Config::new(folder.to_owned()) }
}

fn task(id: &str, script: &str) -> wire::Task {
    let container = wire::ContainerSpec {
        image: "host".to_owned(),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        stop_grace_period: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..Default::default()
    };
    let spec =
        wire::TaskSpec { runtime: Some(Runtime::Container(container)), ..Default::default() };
    wire::Task { id: id.to_owned(), spec: Some(spec), ..Default::default() }
}

fn lives(pid: i32) -> bool {
    // A zombie is dead.
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status
        .rsplit(')')
        .next()
        .is_some_and(|rest| !matches!(rest.trim().chars().next(), None | Some('Z')))
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waited = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(PATIENCE, waited).await.is_ok(), "{what}");
}

async fn end(controller: &Rc<dyn Controller>) -> Result<(), ExecutorError> {
    timeout(PATIENCE, controller.wait()).await.expect("it ends")
}

fn exit(code: i32) -> Result<(), ExecutorError> {
    Err(ExecutorError::Exit { code, reason: None })
}

#[tokio::test]
async fn exit_codes_are_those_of_a_shell() {
    let world = World::new();
    for (id, script, expected) in [
        ("zero", "exit 0", Ok(())),
        ("three", "exit 3", exit(3)),
        ("killed", "kill -9 $$", exit(137)),
        ("asked", "kill $$", exit(143)),
    ] {
        let task = world.run(id, script).await;
        assert_eq!(end(&task).await, expected, "{id}");
        let code = match expected {
            Err(ExecutorError::Exit { code, .. }) => code,
            Ok(()) | Err(_) => 0,
        };
        assert_eq!(task.container_status().expect("known").exit_code, code, "{id}");
    }
}

#[tokio::test]
async fn a_program_that_does_not_exist_says_so() {
    let world = World::new();
    let mut nothing = task("a", "");
    if let Some(Runtime::Container(container)) = &mut nothing.spec.as_mut().expect("a spec").runtime
    {
        container.command = vec!["/nope".to_owned()];
    }
    let controller = world.executor().controller(&nothing).expect("it may exist");
    controller.prepare().await.expect("prepared");
    let refused = controller.start().await.expect_err("there is none");
    assert!(
        refused.to_string().starts_with("starting container failed: exec: \"/nope\""),
        "{refused}"
    );
    assert_eq!(controller.container_status().expect("known").exit_code, 127);
}

#[tokio::test]
async fn stopping_asks_first_and_kills_after_the_grace_period() {
    let world = World::new();
    let polite = world.run("polite", "trap 'exit 7' TERM; while :; do sleep 0.05; done").await;
    timeout(PATIENCE, polite.shutdown()).await.expect("in time").expect("stopped");
    assert_eq!(end(&polite).await, exit(7));
    let stubborn = world.run("stubborn", "trap '' TERM; while :; do sleep 0.05; done").await;
    timeout(PATIENCE, stubborn.shutdown()).await.expect("in time").expect("stopped");
    assert_eq!(end(&stubborn).await, exit(137));
}

#[tokio::test]
async fn nothing_below_a_task_outlives_it() {
    let world = World::new();
    let pids = world.file("pids");
    let script = format!(
        "sleep 1000 & echo $! >> {0}; setsid sh -c 'sleep 1000 & echo $! >> {0}; wait' & sleep 0.3; exit 5",
        pids.display()
    );
    let task = world.run("parent", &script).await;
    assert_eq!(end(&task).await, exit(5));
    let children: Vec<i32> = fs::read_to_string(&pids)
        .expect("written")
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    assert_eq!(children.len(), 2);
    eventually("the children end", || children.iter().all(|pid| !lives(*pid))).await;
}

#[tokio::test]
async fn a_task_survives_the_daemon_and_is_adopted() {
    let world = World::new();
    let go = world.file("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.02; done; exit 4", go.display());
    let task = world.run("a", &script).await;
    let processes = world.processes("a");
    drop(task);
    world.restart();
    let adopted = world.controller("a", &script);
    assert_eq!(adopted.prepare().await, Err(ExecutorError::AlreadyPrepared));
    assert_eq!(adopted.start().await, Err(ExecutorError::AlreadyStarted));
    assert_eq!(world.processes("a"), processes, "it was not started again");
    assert!(lives(processes.1));
    fs::write(&go, "").expect("written");
    assert_eq!(end(&adopted).await, exit(4));
}

#[tokio::test]
async fn an_exit_code_waits_for_the_next_daemon() {
    let world = World::new();
    let task = world.run("a", "sleep 0.2; exit 9").await;
    let (shim, _) = world.processes("a");
    drop(task);
    world.restart();
    eventually("the shim ends", || !lives(shim)).await;
    let adopted = world.controller("a", "sleep 0.2; exit 9");
    assert_eq!(adopted.start().await, Err(ExecutorError::AlreadyStarted));
    assert_eq!(end(&adopted).await, exit(9));
}

#[tokio::test]
async fn a_killed_shim_takes_its_task_with_it() {
    let world = World::new();
    let script = "sleep 1000 & sleep 1000";
    let task = world.run("a", script).await;
    let (shim, main) = world.processes("a");
    kill(Pid::from_raw(shim), Signal::SIGKILL).expect("killed");
    let outcome = end(&task).await;
    let Err(ExecutorError::Failed(reason)) = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains(&format!("shim (process {shim}) was killed")), "{reason}");
    eventually("the task ends", || !lives(main)).await;
    task.remove().await.expect("removed");
    assert!(!world.directory("a").exists());
}

#[tokio::test]
async fn a_shim_killed_while_no_daemon_ran_leaves_no_orphan() {
    let world = World::new();
    let pids = world.file("pids");
    let script = format!("sleep 1000 & echo $! > {}; wait", pids.display());
    drop(world.run("a", &script).await);
    eventually("the child starts", || {
        fs::read_to_string(&pids).is_ok_and(|text| text.ends_with('\n'))
    })
    .await;
    let child: i32 = fs::read_to_string(&pids).expect("written").trim().parse().expect("a number");
    let (shim, main) = world.processes("a");
    kill(Pid::from_raw(shim), Signal::SIGKILL).expect("killed");
    eventually("the main process ends", || !lives(main)).await;
    world.restart();
    let adopted = world.controller("a", &script);
    let outcome = end(&adopted).await;
    assert!(matches!(outcome, Err(ExecutorError::Failed(_))), "{outcome:?}");
    eventually("the child ends", || !lives(child)).await;
}

#[tokio::test]
async fn a_task_that_was_stopped_before_it_started_never_starts() {
    let world = World::new();
    let ran = world.file("ran");
    let script = format!("touch {}", ran.display());
    let task = world.controller("a", &script);
    task.prepare().await.expect("prepared");
    task.shutdown().await.expect("stopped");
    let refused = timeout(PATIENCE, task.start()).await.expect("in time");
    assert!(refused.is_err());
    assert!(!ran.exists());
}

#[tokio::test]
async fn what_nobody_knows_is_stopped_and_removed() {
    let world = World::new();
    let known = world.run("known", "sleep 1000").await;
    drop(world.run("unknown", "sleep 1000").await);
    let ((_, kept), (_, ended)) = (world.processes("known"), world.processes("unknown"));
    world.restart();
    let keep = BTreeSet::from(["known".to_owned()]);
    world.executor().remove_unknown(&keep).await.expect("removed");
    assert!(lives(kept) && !lives(ended));
    assert!(world.directory("known").exists() && !world.directory("unknown").exists());
    known.remove().await.expect("removed");
}

#[tokio::test]
async fn output_is_kept_within_bounds() {
    let world = World::new();
    let task =
        world.run("a", "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done").await;
    assert_eq!(end(&task).await, Ok(()));
    let (shim, _) = world.processes("a");
    eventually("the shim ends", || !lives(shim)).await;
    let files: Vec<_> = fs::read_dir(world.directory("a").output())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").metadata().expect("a file").len())
        .collect();
    assert!((1..=3).contains(&files.len()), "{files:?}");
    assert!(files.iter().sum::<u64>() <= 3 * (4096 + 128), "{files:?}");
    let newest: Vec<u8> = fs::read_dir(world.directory("a").output())
        .expect("a folder")
        .flat_map(|entry| fs::read(entry.expect("an entry").path()).expect("readable"))
        .collect();
    let newest = String::from_utf8_lossy(&newest).into_owned();
    assert!(newest.contains("line 1999") && !newest.contains("line 0\n"), "the newest are kept");
}

#[tokio::test]
async fn neither_secrets_nor_descriptors_of_the_daemon_reach_a_task() {
    let world = World::new();
    let seen = world.file("seen");
    let script = format!("(env; ls /proc/self/fd) > {}", seen.display());
    let task = world.run("a", &script).await;
    assert_eq!(end(&task).await, Ok(()));
    let seen = fs::read_to_string(&seen).expect("written");
    assert!(seen.contains("SWARM_TASK_ID=a"), "{seen}");
    assert!(!seen.contains("CARGO"), "{seen}");
    let command_line = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cmdline"));
    let long = world.run("b", "sleep 1000 # a secret").await;
    let shim = command_line(world.processes("b").0).expect("it runs");
    assert!(!shim.contains("secret"), "{shim}");
    long.remove().await.expect("removed");
}
