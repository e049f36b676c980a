//! A machine and a disk that exist only in memory, for tests of everything that runs tasks.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use futures_util::future::{LocalBoxFuture, join_all};
use protocol::{id::TaskId, wire};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use super::port::{
    Controller, DatabaseChange, DatabaseError, Executor, ExecutorError, StoredTask, TaskDatabase,
};

/// What a killed process leaves behind as its exit code.
const KILLED: i32 = 137;

/// What is known of the certificate of a node that has none.
pub fn no_certificate() -> watch::Receiver<wire::NodeTlsInfo> {
    watch::Sender::default().subscribe()
}

/// A machine. Clones are the same machine; its processes outlive the daemon that started them.
#[derive(Clone, Default)]
pub struct Machine(Rc<State>);

#[derive(Default)]
struct State {
    description: RefCell<wire::NodeDescription>,
    /// Whether it cannot say what it is.
    is_mute: Cell<bool>,
    /// How often it was asked.
    looks: Cell<u32>,
    /// How long every operation takes.
    latency: Cell<Duration>,
    processes: RefCell<BTreeMap<TaskId, Process>>,
    /// Something about a process has changed.
    changed: Notify,
    /// What each operation of a task shall come to; the last one stays.
    refusals: RefCell<BTreeMap<TaskId, ExecutorError>>,
    /// Tasks whose operations panic.
    cursed: RefCell<BTreeMap<TaskId, ()>>,
    /// The operations that were begun, in order.
    journal: RefCell<Vec<(TaskId, &'static str)>>,
    at_work: RefCell<BTreeMap<TaskId, u32>>,
    overlapped: Cell<bool>,
}

#[derive(Clone, Debug, Default)]
struct Process {
    prepared: bool,
    /// How often it was started.
    starts: u32,
    /// How it ended, once it has.
    exit_code: Option<i32>,
}

impl Process {
    fn is_running(&self) -> bool {
        self.starts > 0 && self.exit_code.is_none()
    }
}

impl Machine {
    /// A machine on which every operation takes some time.
    pub fn slow(latency: Duration) -> Self {
        let machine = Self::default();
        machine.0.latency.set(latency);
        machine
    }

    /// Changes what the machine says of itself.
    pub fn describe_as(&self, description: wire::NodeDescription) {
        *self.0.description.borrow_mut() = description;
    }

    /// From now on the machine cannot say what it is.
    pub fn be_mute(&self) {
        self.0.is_mute.set(true);
    }

    /// How often the machine was asked what it is.
    pub fn looks(&self) -> u32 {
        self.0.looks.get()
    }

    /// The tasks that run.
    pub fn running(&self) -> Vec<TaskId> {
        let processes = self.0.processes.borrow();
        let running = processes.iter().filter(|(_, process)| process.is_running());
        running.map(|(task, _)| task.clone()).collect()
    }

    /// The tasks of which anything is left.
    pub fn present(&self) -> Vec<TaskId> {
        self.0.processes.borrow().keys().cloned().collect()
    }

    /// How often a task's process was started.
    pub fn starts(&self, task: &TaskId) -> u32 {
        self.0.processes.borrow().get(task).map_or(0, |process| process.starts)
    }

    /// Ends a running process.
    pub fn exit(&self, task: &TaskId, code: i32) {
        self.0.change(task, |process| process.exit_code = Some(code));
    }

    /// Lets every later operation of a task fail.
    pub fn refuse(&self, task: &TaskId, error: ExecutorError) {
        self.0.refusals.borrow_mut().insert(task.clone(), error);
    }

    /// Ends what `refuse` has begun.
    pub fn allow(&self, task: &TaskId) {
        self.0.refusals.borrow_mut().remove(task);
    }

    /// Lets every later operation of a task panic.
    pub fn curse(&self, task: &TaskId) {
        self.0.cursed.borrow_mut().insert(task.clone(), ());
    }

    /// Ends what `curse` has begun.
    pub fn bless(&self, task: &TaskId) {
        self.0.cursed.borrow_mut().remove(task);
    }

    /// The operations of a task that were begun, in order.
    pub fn journal(&self, task: &TaskId) -> Vec<&'static str> {
        let journal = self.0.journal.borrow();
        journal.iter().filter(|(of, _)| of == task).map(|(_, operation)| *operation).collect()
    }

    /// Whether two operations of one task were ever at work at the same time.
    pub fn overlapped(&self) -> bool {
        self.0.overlapped.get()
    }
}

impl State {
    fn change(&self, task: &TaskId, change: impl FnOnce(&mut Process)) {
        change(self.processes.borrow_mut().entry(task.clone()).or_default());
        self.changed.notify_waiters();
    }

    fn process(&self, task: &TaskId) -> Process {
        self.processes.borrow().get(task).cloned().unwrap_or_default()
    }

    /// Begins an operation: notes it, lets its time pass, and fails when it shall.
    async fn begin(
        self: Rc<Self>,
        task: TaskId,
        operation: &'static str,
    ) -> Result<AtWork, ExecutorError> {
        self.journal.borrow_mut().push((task.clone(), operation));
        let at_work = AtWork::enter(self.clone(), task.clone());
        sleep(self.latency.get()).await;
        assert!(!self.cursed.borrow().contains_key(&task), "the task is cursed");
        let refused = self.refusals.borrow().get(&task).cloned();
        refused.map_or(Ok(at_work), Err)
    }
}

/// One operation at work, until it ends or is dropped.
struct AtWork {
    state: Rc<State>,
    task: TaskId,
}

impl AtWork {
    fn enter(state: Rc<State>, task: TaskId) -> Self {
        let mut at_work = state.at_work.borrow_mut();
        let count = at_work.entry(task.clone()).or_default();
        *count += 1;
        if *count > 1 {
            state.overlapped.set(true);
        }
        drop(at_work);
        Self { state, task }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        *self.state.at_work.borrow_mut().entry(self.task.clone()).or_default() -= 1;
    }
}

impl Executor for Machine {
    fn describe(&self) -> LocalBoxFuture<'static, Result<wire::NodeDescription, ExecutorError>> {
        self.0.looks.set(self.0.looks.get() + 1);
        let described = match self.0.is_mute.get() {
            true => Err(ExecutorError::Failed("it is mute".to_owned())),
            false => Ok(self.0.description.borrow().clone()),
        };
        Box::pin(async { described })
    }

    fn controller(&self, task: &wire::Task) -> Result<Rc<dyn Controller>, ExecutorError> {
        let task = TaskId::from(task.id.as_str());
        self.0.journal.borrow_mut().push((task.clone(), "resolve"));
        Ok(Rc::new(SimulatedController { state: self.0.clone(), task }))
    }

    fn retain(
        &self,
        known: BTreeSet<TaskId>,
    ) -> LocalBoxFuture<'static, Result<(), ExecutorError>> {
        let mut unknown = self.present();
        unknown.retain(|task| !known.contains(task));
        let removals = unknown
            .into_iter()
            .map(|task| SimulatedController { state: self.0.clone(), task }.remove());
        let removals = join_all(removals.collect::<Vec<_>>());
        Box::pin(async move { removals.await.into_iter().collect() })
    }
}

struct SimulatedController {
    state: Rc<State>,
    task: TaskId,
}

type Outcome = LocalBoxFuture<'static, Result<(), ExecutorError>>;

impl SimulatedController {
    fn operate(
        &self,
        operation: &'static str,
        then: impl FnOnce(&State, &TaskId) -> Result<(), ExecutorError> + 'static,
    ) -> Outcome {
        let (state, task) = (self.state.clone(), self.task.clone());
        Box::pin(async move {
            let _at_work = state.clone().begin(task.clone(), operation).await?;
            then(&state, &task)
        })
    }
}

impl Controller for SimulatedController {
    fn update(&self, _: &wire::Task) -> Outcome {
        self.operate("update", |_, _| Ok(()))
    }

    fn prepare(&self) -> Outcome {
        self.operate("prepare", |state, task| {
            if state.process(task).prepared {
                return Err(ExecutorError::AlreadyPrepared);
            }
            state.change(task, |process| process.prepared = true);
            Ok(())
        })
    }

    fn start(&self) -> Outcome {
        self.operate("start", |state, task| {
            if state.process(task).starts > 0 {
                return Err(ExecutorError::AlreadyStarted);
            }
            state.change(task, |process| process.starts += 1);
            Ok(())
        })
    }

    fn wait(&self) -> Outcome {
        let (state, task) = (self.state.clone(), self.task.clone());
        Box::pin(async move {
            let _at_work = state.clone().begin(task.clone(), "wait").await?;
            loop {
                let changed = state.changed.notified();
                match state.process(&task).exit_code {
                    None => changed.await,
                    Some(0) => return Ok(()),
                    Some(code) => return Err(ExecutorError::Exit { code, reason: None }),
                }
            }
        })
    }

    fn shutdown(&self) -> Outcome {
        self.operate("shutdown", |state, task| {
            if state.process(task).is_running() {
                state.change(task, |process| process.exit_code = Some(KILLED));
            }
            Ok(())
        })
    }

    fn remove(&self) -> Outcome {
        self.operate("remove", |state, task| {
            state.processes.borrow_mut().remove(task);
            Ok(())
        })
    }

    fn container_status(&self) -> Option<wire::ContainerStatus> {
        let process = self.state.process(&self.task);
        (process.starts > 0).then(|| wire::ContainerStatus {
            container_id: self.task.to_string(),
            pid: if process.is_running() { 1 } else { 0 },
            exit_code: process.exit_code.unwrap_or_default(),
        })
    }

    fn port_status(&self) -> Option<wire::PortStatus> {
        None
    }
}

/// A task database. Clones are the same database.
#[derive(Clone, Default)]
pub struct MemoryDatabase {
    tasks: Rc<RefCell<BTreeMap<TaskId, StoredTask>>>,
    full: Rc<Cell<bool>>,
}

impl MemoryDatabase {
    /// Lets every later write fail, or succeed again.
    pub fn set_full(&self, full: bool) {
        self.full.set(full);
    }

    /// What it keeps of a task.
    pub fn stored(&self, task: &TaskId) -> Option<StoredTask> {
        self.tasks.borrow().get(task).cloned()
    }
}

impl TaskDatabase for MemoryDatabase {
    fn load(&self) -> LocalBoxFuture<'static, Result<Vec<StoredTask>, DatabaseError>> {
        let stored = self.tasks.borrow().values().cloned().collect();
        Box::pin(async { Ok(stored) })
    }

    fn write(
        &self,
        changes: Vec<DatabaseChange>,
    ) -> LocalBoxFuture<'static, Result<(), DatabaseError>> {
        let database = self.clone();
        Box::pin(async move {
            if database.full.get() {
                return Err(DatabaseError("no space left".to_owned()));
            }
            let mut tasks = database.tasks.borrow_mut();
            for change in changes {
                change_tasks(&mut tasks, change);
            }
            Ok(())
        })
    }
}

fn change_tasks(tasks: &mut BTreeMap<TaskId, StoredTask>, change: DatabaseChange) {
    let mut entry = |id: TaskId, change: &dyn Fn(&mut StoredTask)| {
        let empty = StoredTask { id: id.clone(), task: None, status: None, assigned: false };
        change(tasks.entry(id).or_insert(empty));
    };
    match change {
        DatabaseChange::PutTask(task) => {
            let id = TaskId::from(task.id.as_str());
            entry(id, &move |stored| stored.task = Some(task.clone()));
        }
        DatabaseChange::PutStatus(id, status) => {
            entry(id, &move |stored| stored.status = Some(status.clone()));
        }
        DatabaseChange::PutAssigned(id, assigned) => {
            entry(id, &move |stored| stored.assigned = assigned);
        }
        DatabaseChange::Remove(id) => drop(tasks.remove(&id)),
    }
}
