//! Runs tasks as processes of this machine, each behind a shim that outlives the daemon
//! (executor.md §3 and §4).
//!
//! An engine for images is another executor; this one knows the image `host`, which means the
//! host's own file system.

mod controller;
mod description;
mod instructions;
mod leftovers;
mod process;
mod running_shim;

use std::{collections::BTreeSet, fs, io, path::PathBuf, rc::Rc};

use actors::agent::port::{Controller, Executor, ExecutorError};
use futures_util::future::{LocalBoxFuture, join_all};
use protocol::wire;

use self::{controller::ProcessController, process::Process};
use crate::shim::{TaskDirectory, chain};

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
        }
    }
}

/// Runs tasks as processes. Must live where a tokio runtime with I/O and time runs.
#[derive(Debug)]
pub struct ProcessExecutor {
    config: Rc<Config>,
}

impl ProcessExecutor {
    /// Makes an executor; nothing is read or started yet.
    pub fn new(config: Config) -> Self {
        Self { config: Rc::new(config) }
    }

    /// Stops and removes the tasks in the folder that are not among `known`: the daemon may have
    /// died after it forgot a task and before the task was gone.
    ///
    /// Every task is tried; the first failure is returned.
    pub async fn remove_unknown(&self, known: &BTreeSet<String>) -> Result<(), ExecutorError> {
        let names = self.folder_names().map_err(|error| self.unreadable(&error))?;
        let unknown = names.into_iter().filter(|name| !known.contains(name));
        let processes: Vec<_> = unknown
            .map(|name| {
                let directory = TaskDirectory::new(self.config.folder.join(name));
                Process::found(directory, self.config.clone())
            })
            .collect();
        // All at once: each may take its grace period.
        join_all(processes.iter().map(Process::remove)).await.into_iter().collect()
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
        let config = self.config.clone();
        Box::pin(async move { description::describe(&config).map_err(|error| failed(&error)) })
    }

    fn controller(&self, task: &wire::Task) -> Result<Rc<dyn Controller>, ExecutorError> {
        let instructions = instructions::instructions(task, &self.config)
            .map_err(|refused| ExecutorError::Failed(refused.to_string()))?;
        let directory = TaskDirectory::new(self.config.folder.join(&task.id));
        Ok(Rc::new(ProcessController::new(Process::new(
            directory,
            instructions,
            self.config.clone(),
        ))))
    }
}

/// An error with its causes, as the text of a task's status.
fn failed(error: &dyn std::error::Error) -> ExecutorError {
    ExecutorError::Failed(chain(error))
}
