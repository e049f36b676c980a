//! The process executor with real processes and the real shim: a world in which daemons come and go.
#![allow(clippy::tests_outside_test_module, reason = "the whole file is tests")]
#![allow(clippy::print_stderr, reason = "what was not run is said")]

mod health;
mod isolation;
mod life;
mod limits;
mod signals;
mod survival;

use std::{
    cell::RefCell,
    env, fs,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use actors::agent::port::{Controller, Executor, ExecutorError};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use node::{
    executor::{Config, ProcessExecutor},
    shim::{Claim, Instructions, Started, TaskDirectory},
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
        self.executor().controller(&self.task(id, script)).expect("it can run here")
    }

    /// Prepares and starts what `task` made, changed as a test needs it.
    async fn start(&self, task: &wire::Task) -> Rc<dyn Controller> {
        let controller = self.executor().controller(task).expect("it can run here");
        controller.prepare().await.expect("prepared");
        controller.start().await.expect("started");
        controller
    }

    /// Prepares and starts a task.
    async fn run(&self, id: &str, script: &str) -> Rc<dyn Controller> {
        self.start(&self.task(id, script)).await
    }

    /// The id of a task. No other world has it: processes are looked for by their task's id.
    fn id(&self, name: &str) -> String {
        let world = self.folder.path().file_name().expect("a name").to_string_lossy();
        format!("{name}{world}")
    }

    fn task(&self, name: &str, script: &str) -> wire::Task {
        task(&self.id(name), script)
    }

    fn directory(&self, name: &str) -> TaskDirectory {
        TaskDirectory::new(self.folder.path().join(self.id(name)))
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
            let instructions = directory.read::<Instructions>().ok().flatten();
            for group in instructions.unwrap_or_default().control_groups {
                group.kill();
                group.remove().ok();
            }
        }
    }
}

fn config(folder: &Path) -> Config {
    let program = env!("CARGO_BIN_EXE_swarmd").into();
    Config {
        program,
        output_file_bytes_max: 4096,
        control_group_parent: "swarm-test".to_owned(),
        ..Config::new(folder.to_owned())
    }
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

fn container(task: &mut wire::Task) -> &mut wire::ContainerSpec {
    let Some(Runtime::Container(container)) = &mut task.spec.as_mut().expect("a spec").runtime
    else {
        panic!("it is a container")
    };
    container
}

/// Whether this process may become another user. CI has to.
fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        assert_ne!(env::var("CI").as_deref(), Ok("true"), "CI needs root for this test");
        eprintln!("not run: only root may become another user");
    }
    is_root
}

/// Changes the last byte of a record.
fn damage(world: &World, record: &str) {
    let path = world.directory("a").path().join(record);
    let mut bytes = fs::read(&path).expect("written");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(&path, bytes).expect("written");
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("sent");
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
