//! Runs tasks as processes of this machine, each behind a shim that outlives the daemon
//! (executor.md §3 and §4).
//!
//! An engine for images is another executor; this one knows the image `host`, which means the
//! host's own file system.

mod controller;
mod description;
mod environment;
mod hierarchies;
mod instructions;
mod leftovers;
mod limits;
mod open_files;
mod ports;
mod process;
mod removal;
mod running_shim;
mod stop_signal;

use std::{cell::OnceCell, collections::BTreeSet, fs, io, path::PathBuf, rc::Rc};

use actors::agent::port::{Controller, Executor, ExecutorError};
use futures_util::future::{LocalBoxFuture, join_all};
use protocol::{id::TaskId, wire};

use self::{
    controller::ProcessController, hierarchies::Hierarchies, instructions::Refused, limits::Limits,
    process::Process, removal::Removal,
};
use crate::shim::{self, Instructions, TaskDirectory, Ulimit, chain};

pub use open_files::raise as raise_open_files;

/// How the executor works, and what it says about the machine.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder with a directory per task; absolute, and for its owner alone.
    pub folder: PathBuf,
    /// The daemon's own program, which becomes the shims.
    pub program: PathBuf,
    /// The name to announce instead of the machine's own.
    pub hostname: Option<String>,
    /// What to announce besides processors and memory.
    pub generic_resources: Vec<wire::GenericResource>,
    /// How long one file of a task's output may become, in bytes.
    pub output_file_bytes_max: u64,
    /// How many files of a task's output are kept.
    pub output_files_max: u32,
    /// The control group, below the top of each hierarchy, under which each task has its own.
    pub control_group_parent: String,
    /// How many files a task may have open when its spec does not say; none for the daemon's own
    /// limit.
    pub open_files: Option<Ulimit>,
}

impl Config {
    /// Returns what holds when nothing is said but where tasks live.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            program: "/proc/self/exe".into(),
            hostname: None,
            generic_resources: Vec::new(),
            output_file_bytes_max: 10 * 1024 * 1024,
            output_files_max: 3,
            control_group_parent: "swarm".into(),
            open_files: None,
        }
    }
}

/// Runs tasks as processes. Must live where a tokio runtime with I/O and time runs.
#[derive(Debug)]
pub struct ProcessExecutor {
    config: Rc<Config>,
    hierarchies: OnceCell<Rc<Hierarchies>>,
    removal: Removal,
}

impl ProcessExecutor {
    /// Makes an executor; nothing is read or started yet.
    pub fn new(config: Config) -> Self {
        Self { config: Rc::new(config), hierarchies: OnceCell::new(), removal: Removal::default() }
    }

    fn instructions(&self, task: &wire::Task) -> Result<Instructions, ExecutorError> {
        let hierarchies = self.hierarchies();
        let node =
            description::describe(&self.config, &hierarchies).map_err(|error| unable(&error))?;
        let unmet = Limits::of(task).unmet(&hierarchies);
        if !unmet.is_empty() {
            tracing::warn!(task.id, limits = unmet.join(", "), "a task runs without its limits");
        }
        instructions::instructions(task, &node, &hierarchies, &self.config)
            .map_err(|error| refused(&error))
    }

    /// What the machine lets us limit, looked at once.
    fn hierarchies(&self) -> Rc<Hierarchies> {
        let find = || {
            let found = Hierarchies::find(&self.config.control_group_parent);
            for (controller, reason) in &found.missing {
                tracing::warn!(controller = controller.name(), reason, "tasks cannot be limited");
            }
            Rc::new(found)
        };
        self.hierarchies.get_or_init(find).clone()
    }

    fn folder_names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.config.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            // Files that somebody put here are no tasks.
            if entry.file_type()?.is_dir() {
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }

    fn unreadable(&self, error: &io::Error) -> ExecutorError {
        let folder = self.config.folder.display();
        ExecutorError::Failed(format!("{folder} cannot be read: {error}"))
    }
}

impl Executor for ProcessExecutor {
    fn describe(&self) -> LocalBoxFuture<'static, Result<wire::NodeDescription, ExecutorError>> {
        let (config, hierarchies) = (self.config.clone(), self.hierarchies());
        Box::pin(async move {
            description::describe(&config, &hierarchies).map_err(|error| unable(&error))
        })
    }

    fn controller(&self, task: &wire::Task) -> Result<Rc<dyn Controller>, ExecutorError> {
        if !instructions::is_name(&task.id) {
            return Err(refused(&Refused::TaskId(task.id.clone())));
        }
        let directory = TaskDirectory::new(self.config.folder.join(&task.id));
        let instructions = match directory.read() {
            // Prepared by an earlier daemon, which may have been of another mind.
            Ok(Some(recorded)) => recorded,
            Ok(None) | Err(shim::Error::Damaged { .. }) => self.instructions(task)?,
            Err(error) => return Err(failed(&error)),
        };
        let process =
            Process::new(directory, instructions, self.config.clone(), self.removal.clone());
        Ok(Rc::new(ProcessController::new(process, ports::host_ports(task))))
    }

    /// Every task is tried; the first failure is returned.
    fn retain(
        &self,
        known: BTreeSet<TaskId>,
    ) -> LocalBoxFuture<'static, Result<(), ExecutorError>> {
        let names = self.folder_names().map_err(|error| self.unreadable(&error));
        let (config, removal) = (self.config.clone(), self.removal.clone());
        Box::pin(async move {
            let unknown = names?.into_iter().filter(|name| !known.contains(&TaskId::from(&**name)));
            let processes: Vec<_> = unknown
                .map(|name| {
                    let directory = TaskDirectory::new(config.folder.join(name));
                    Process::found(directory, config.clone(), removal.clone())
                })
                .collect();
            // All at once: each may take its grace period.
            join_all(processes.iter().map(Process::remove)).await.into_iter().collect()
        })
    }
}

/// What the machine refuses now it may grant in a moment, and says nothing about the task; what
/// its records say stays so.
fn failed(error: &shim::Error) -> ExecutorError {
    match error {
        shim::Error::Damaged { .. } => ExecutorError::Failed(chain(error)),
        shim::Error::Failed { .. } | shim::Error::System { .. } => {
            ExecutorError::Temporary(chain(error))
        }
    }
}

fn unable(error: &io::Error) -> ExecutorError {
    ExecutorError::Temporary(error.to_string())
}

fn refused(error: &Refused) -> ExecutorError {
    ExecutorError::Failed(error.to_string())
}
