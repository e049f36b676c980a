//! The process executor with real processes and the real shim: a world in which daemons come and go.
#![allow(clippy::tests_outside_test_module, reason = "the whole file is tests")]

mod isolation;
mod life;
mod survival;

use std::{
    cell::RefCell,
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
        self.executor().controller(&self.task(id, script)).expect("it can run here")
    }

    /// Runs a task as another user.
    async fn run_as(&self, name: &str, user: &str, script: &str) -> Rc<dyn Controller> {
        let mut task = self.task(name, script);
        container(&mut task).user = user.to_owned();
        let controller = self.executor().controller(&task).expect("it can run here");
        controller.prepare().await.expect("prepared");
        controller.start().await.expect("started");
        controller
    }

    /// Prepares and starts a task.
    async fn run(&self, id: &str, script: &str) -> Rc<dyn Controller> {
        let controller = self.controller(id, script);
        controller.prepare().await.expect("prepared");
        controller.start().await.expect("started");
        controller
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

fn container(task: &mut wire::Task) -> &mut wire::ContainerSpec {
    let Some(Runtime::Container(container)) = &mut task.spec.as_mut().expect("a spec").runtime
    else {
        panic!("it is a container")
    };
    container
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
