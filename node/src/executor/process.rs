//! One task as a process: the verbs of a controller, over the records that the task's shim writes.
//!
//! What is true of a task lies in its directory; here is only what makes waiting possible. So
//! a new value for a task that runs, or ran, takes over where the last one stopped.

use std::{cell::RefCell, future::pending, io, rc::Rc, sync::Arc, time::Duration};

use actors::agent::port::ExecutorError;
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::Pid,
};
use protocol::wire;
use tokio::{net::unix::pipe, sync::Mutex, task::spawn_blocking, time::timeout};

use super::{
    Config, failed, instructions::GRACE_PERIOD_MS, leftovers::Leftovers, removal::Removal,
    running_shim::RunningShim, unable,
};
use crate::shim::{
    self, Claim, ControlGroup, Exit, Healthy, Instructions, NotStarted, Outcome, Record, Started,
    TaskDirectory, Ulimit, boot_id, chain,
};

/// How much longer than the grace period a shim may take, before it is taken to hang.
const HANG: Duration = Duration::from_secs(10);

/// The exit code of a program whose libraries cannot be loaded, and the one above which are those
/// of programs that a signal has ended.
const CANNOT_LOAD: i32 = 127;
const SIGNALS: i32 = 128;

/// Who may start the task, as far as that can be told.
enum Claimed {
    By(Claim),
    /// Somebody; the record is damaged in this way.
    Unreadable(String),
}

/// One task as a process.
pub(super) struct Process {
    directory: TaskDirectory,
    instructions: Instructions,
    config: Rc<Config>,
    removal: Removal,
    /// The shim, while it is known to run: spawned here, or adopted.
    shim: RefCell<Option<Rc<RunningShim>>>,
    /// Work on the directory goes on when whoever asked for it is gone; the next waits for it.
    working: Arc<Mutex<()>>,
}

impl Process {
    pub(super) fn new(
        directory: TaskDirectory,
        instructions: Instructions,
        config: Rc<Config>,
        removal: Removal,
    ) -> Self {
        let (shim, working) = (RefCell::default(), Arc::default());
        Self { directory, instructions, config, removal, shim, working }
    }

    /// A task of which nothing is known but its directory.
    pub(super) fn found(directory: TaskDirectory, config: Rc<Config>, removal: Removal) -> Self {
        let name = directory.path().file_name().unwrap_or_default();
        let unknown = Instructions {
            task_id: name.to_string_lossy().into_owned(),
            grace_period_ms: GRACE_PERIOD_MS,
            ..Default::default()
        };
        let instructions = directory.read().ok().flatten().unwrap_or(unknown);
        Self::new(directory, instructions, config, removal)
    }

    pub(super) async fn prepare(&self) -> Result<(), ExecutorError> {
        let instructions = self.instructions.clone();
        let fresh = self
            .work(move |directory| {
                if matches!(directory.read::<Instructions>(), Ok(Some(_))) {
                    return Ok(false);
                }
                directory.create()?;
                directory.write(&instructions)?;
                Ok(true)
            })
            .await?;
        if fresh { Ok(()) } else { Err(ExecutorError::AlreadyPrepared) }
    }

    pub(super) async fn start(&self) -> Result<(), ExecutorError> {
        // Opened before the records are looked at: its end cannot be missed.
        let mut starting = Some(
            pipe::OpenOptions::new()
                .open_receiver(self.directory.starting())
                .map_err(|error| not_prepared(&error))?,
        );
        let again = self.claimed()?.is_some() || self.shim.borrow().is_some();
        if !again {
            self.spawn()?;
        }
        loop {
            // In this order: what a shim that is gone has not recorded, it never will.
            let shim = self.running_shim()?;
            match self.start_outcome()? {
                Some(Ok(())) if again => return Err(ExecutorError::AlreadyStarted),
                Some(outcome) => return outcome,
                None => {}
            }
            let Some(shim) = shim else { return Err(self.lost(true).await) };
            tokio::select! {
                biased;
                () = decided(&mut starting) => starting = None,
                () = self.ended(&shim) => {}
            }
        }
    }

    /// Sees to it that a task which has failed does not run on: nobody would stop it any more.
    pub(super) async fn end_failed(
        &self,
        result: Result<(), ExecutorError>,
    ) -> Result<(), ExecutorError> {
        if matches!(result, Err(ExecutorError::Failed(_))) {
            self.shutdown().await?;
        }
        result
    }

    pub(super) async fn wait(&self) -> Result<(), ExecutorError> {
        let mut watched = false;
        while let Some(shim) = self.running_shim()? {
            self.ended(&shim).await;
            watched = true;
        }
        let exit = self.exit()?;
        if exit.is_some() {
            self.tell_operator();
            // The shim may have been killed after it wrote the record.
            self.kill_leftovers(watched).await;
        }
        match exit {
            Some(Outcome::Code(0)) => Ok(()),
            Some(Outcome::Code(code)) => Err(self.bad_exit(code)),
            Some(Outcome::NotStarted(failure)) => Err(start_failed(&failure)),
            Some(Outcome::Unhealthy(_)) => Err(unhealthy()),
            None => Err(self.lost(watched).await),
        }
    }

    pub(super) async fn shutdown(&self) -> Result<(), ExecutorError> {
        let mut watched = false;
        loop {
            if let Some(shim) = self.running_shim()? {
                self.stop(&shim).await;
                watched = true;
            } else if self.claimed()?.is_some() {
                break;
            } else if !self.directory.exists() {
                return Ok(());
            } else {
                // So that no shim on its way here starts the task any more.
                self.work(|directory| directory.claim(&Claim { shim: None })).await?;
            }
        }
        self.kill_leftovers(watched).await;
        Ok(())
    }

    pub(super) async fn remove(&self) -> Result<(), ExecutorError> {
        self.shutdown().await?;
        let (groups, removal) = (self.control_groups(), self.removal.clone());
        // Before it leaves something itself: that has only just been tried.
        self.removal.try_again().await;
        self.work(move |directory| removal.remove(directory, groups)).await
    }

    /// The groups that the task was started in; another daemon may have chosen other ones.
    fn control_groups(&self) -> Vec<ControlGroup> {
        let recorded = self.directory.read::<Instructions>().ok().flatten();
        recorded.map_or_else(
            || self.instructions.control_groups.clone(),
            |recorded| recorded.control_groups,
        )
    }

    /// What the records say now. One that cannot be read says nothing.
    pub(super) fn status(&self) -> wire::ContainerStatus {
        let started = self.directory.read::<Started>().ok().flatten();
        let exit_code = match self.exit() {
            Ok(Some(Outcome::Code(code) | Outcome::Unhealthy(code))) => code,
            Ok(Some(Outcome::NotStarted(failure))) => failure.code,
            Ok(None) | Err(_) => 0,
        };
        wire::ContainerStatus {
            container_id: self.instructions.task_id.clone(),
            pid: started.and_then(|started| started.main).map_or(0, |main| main.pid),
            exit_code,
        }
    }

    /// Spawns the shim. Nothing is awaited between that and remembering it.
    fn spawn(&self) -> Result<(), ExecutorError> {
        let trouble = self.directory.open_trouble().map_err(|error| failed(&error))?;
        let unable = |error: io::Error| {
            ExecutorError::Temporary(format!("the task's shim cannot be started: {error}"))
        };
        let pid = shim::spawn(&self.config.program, &self.directory, &trouble).map_err(unable)?;
        let shim = RunningShim::spawned(pid).map_err(|error| {
            // One that nobody can watch must not start the task.
            let child = Pid::from_raw(pid);
            kill(child, Signal::SIGKILL).ok();
            // It may hang in the kernel for a while; nothing waits for that.
            spawn_blocking(move || waitpid(child, None));
            unable(error)
        })?;
        *self.shim.borrow_mut() = Some(Rc::new(shim));
        Ok(())
    }

    /// The shim that was spawned here, or else the one that has claimed the task.
    fn running_shim(&self) -> Result<Option<Rc<RunningShim>>, ExecutorError> {
        if self.shim.borrow().is_none() {
            let found = match self.claimed()? {
                Some(Claimed::By(Claim { shim: Some(identity) })) => RunningShim::adopt(&identity),
                Some(Claimed::Unreadable(_)) => RunningShim::find(self.directory.path()),
                Some(Claimed::By(Claim { shim: None })) | None => Ok(None),
            };
            *self.shim.borrow_mut() = found.map_err(|error| unable(&error))?.map(Rc::new);
        }
        Ok(self.shim.borrow().clone())
    }

    /// Returns when the shim has ended, and forgets it.
    async fn ended(&self, shim: &RunningShim) {
        shim.ended().await.ok();
        *self.shim.borrow_mut() = None;
    }

    /// Asks the shim to stop its task, and kills it when it does not.
    async fn stop(&self, shim: &RunningShim) {
        shim.request_stop();
        let grace_period = Duration::from_millis(self.instructions.grace_period_ms);
        if timeout(grace_period.saturating_add(HANG), self.ended(shim)).await.is_err() {
            shim.kill();
            self.ended(shim).await;
        }
    }

    /// Why a task has no exit record and never will. Ends what may be left of it.
    async fn lost(&self, watched: bool) -> ExecutorError {
        let claim = match self.claimed() {
            Ok(claim) => claim,
            Err(error) => return error,
        };
        self.kill_leftovers(watched).await;
        if !self.directory.exists() {
            return ExecutorError::Failed("dockerexec: container destroyed".into());
        }
        let trouble = self.directory.trouble().map(|text| format!(": {text}")).unwrap_or_default();
        ExecutorError::Failed(match claim {
            Some(Claimed::By(Claim { shim: Some(shim) }))
                if boot_id().is_ok_and(|id| id != shim.boot_id) =>
            {
                "the machine was restarted while the task ran; its exit code is unknown".into()
            }
            Some(Claimed::By(Claim { shim: Some(shim) })) => format!(
                "the task's shim (process {}) was killed; its exit code is unknown{trouble}",
                shim.pid
            ),
            Some(Claimed::Unreadable(reason)) => reason,
            Some(Claimed::By(Claim { shim: None })) => {
                "the task was stopped before it started".into()
            }
            None => format!("the task has not been started on this node{trouble}"),
        })
    }

    /// Ends what a shim that is gone has not ended. No record is trusted to say that nothing runs,
    /// so damage does not keep a task from being stopped.
    async fn kill_leftovers(&self, fresh: bool) {
        if self.directory.is_swept() {
            return;
        }
        let started = self.directory.read::<Started>().ok().flatten();
        let leftovers = Leftovers {
            task_id: self.instructions.task_id.clone(),
            control_groups: self.control_groups(),
            main: started.and_then(|started| started.main),
            fresh,
        };
        // While nobody has claimed it, a shim may be on its way.
        let claimed = matches!(self.claimed(), Ok(Some(_)));
        let killed = self.work(move |directory| {
            let killed = leftovers.kill();
            if claimed && matches!(killed, Ok(true)) {
                directory.mark_swept();
            }
            Ok(killed)
        });
        if let Ok(Err(error)) = killed.await {
            tracing::warn!(task.id = self.instructions.task_id, %error, "processes of a task may be left");
        }
    }

    fn claimed(&self) -> Result<Option<Claimed>, ExecutorError> {
        match self.directory.read() {
            Ok(claim) => Ok(claim.map(Claimed::By)),
            Err(error @ shim::Error::Damaged { .. }) => {
                Ok(Some(Claimed::Unreadable(chain(&error))))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// A program that cannot even be loaded says nothing itself, so what keeps it is said here.
    fn bad_exit(&self, code: i32) -> ExecutorError {
        let could_not_load = code == CANNOT_LOAD || code > SIGNALS;
        let reason = could_not_load.then(|| Ulimit::tiny(&self.instructions.ulimits)).flatten();
        ExecutorError::Exit { code, reason }
    }

    fn exit(&self) -> Result<Option<Outcome>, ExecutorError> {
        match self.directory.read::<Exit>().map_err(|error| failed(&error))? {
            Some(Exit { outcome: None, .. }) => {
                Err(ExecutorError::Failed("the exit record is of a later release".into()))
            }
            exit => Ok(exit.and_then(|exit| exit.outcome)),
        }
    }

    /// Logs what the status of a task that has ended does not say.
    fn tell_operator(&self) {
        let id = &self.instructions.task_id;
        if let Ok(Some(Exit { out_of_memory: true, .. })) = self.directory.read() {
            tracing::warn!(task.id = id, "a task used all the memory that it may");
        }
        if let Some(trouble) = self.directory.trouble() {
            tracing::warn!(task.id = id, trouble, "a task's shim had trouble");
        }
    }

    /// What came of the start, once that is decided.
    fn start_outcome(&self) -> Result<Option<Result<(), ExecutorError>>, ExecutorError> {
        let checked = self.instructions.health_check.is_some();
        if if checked { self.has::<Healthy>()? } else { self.has::<Started>()? } {
            return Ok(Some(Ok(())));
        }
        Ok(self.exit()?.map(|outcome| match outcome {
            Outcome::NotStarted(failure) => Err(start_failed(&failure)),
            Outcome::Unhealthy(_) => Err(unhealthy()),
            // A task that nobody has seen healthy never ran.
            Outcome::Code(code) if checked && code != 0 => Err(self.bad_exit(code)),
            Outcome::Code(_) => Ok(()),
        }))
    }

    fn has<R: Record>(&self) -> Result<bool, ExecutorError> {
        match self.directory.read::<R>() {
            Ok(found) => Ok(found.is_some()),
            // It was written once, and that is what it says.
            Err(shim::Error::Damaged { .. }) => Ok(true),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Does work that blocks, after all that was begun before.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&TaskDirectory) -> Result<T, shim::Error> + Send + 'static,
    ) -> Result<T, ExecutorError> {
        let working = self.working.clone().lock_owned().await;
        let directory = self.directory.clone();
        let done = spawn_blocking(move || {
            let result = work(&directory);
            drop(working);
            result
        });
        done.await
            .map_err(|error| ExecutorError::Temporary(error.to_string()))?
            .map_err(|error| failed(&error))
    }
}

/// Returns when the pipe's other end is closed; never when there is none to wait for.
async fn decided(starting: &mut Option<pipe::Receiver>) {
    match starting {
        Some(pipe) => {
            pipe.readable().await.ok();
        }
        None => pending().await,
    }
}

fn not_prepared(error: &io::Error) -> ExecutorError {
    if error.kind() != io::ErrorKind::NotFound {
        return unable(error);
    }
    ExecutorError::Failed(format!("the task has not been prepared on this node: {error}"))
}

fn unhealthy() -> ExecutorError {
    ExecutorError::Failed("dockerexec: unhealthy container".into())
}

/// In the words of executor.md §3.
fn start_failed(failure: &NotStarted) -> ExecutorError {
    ExecutorError::Failed(format!("starting container failed: {}", failure.reason))
}
