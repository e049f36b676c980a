//! What the agent needs of the world: managers to talk to, an executor for its tasks, and a small
//! database.
//!
//! Tasks cross these ports in their wire form: it is what a manager sends and the database keeps.

use std::{collections::BTreeSet, rc::Rc, sync::Arc};

use bytes::Bytes;
use futures_util::{future::LocalBoxFuture, stream::LocalBoxStream};
use protocol::{id::TaskId, wire};

/// What a manager answers to one question. Dropping it gives the question up.
pub type Answer<T> = LocalBoxFuture<'static, Result<T, ManagerError>>;

/// What a manager sends over time. One message is on the way at most: the next is fetched when it
/// is asked for. The end of the stream means that the manager has nothing more to say; dropping it
/// tells the manager to stop.
pub type Messages<T> = LocalBoxStream<'static, Result<T, ManagerError>>;

/// Why a manager did not do what it was asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ManagerError {
    /// The node, the session or the task is unknown to the manager.
    #[error("{0}")]
    NotFound(String),
    /// No manager could be reached, none leads, or the one that answered said no.
    #[error("{0}")]
    Failed(String),
}

/// The managers that a node knows.
pub trait Managers: 'static {
    /// Chooses one of them and connects to it. It is dropped when the session over it ends.
    fn choose(&self) -> Answer<Arc<dyn Manager>>;

    /// Takes what a manager has said of the cluster and of this node.
    fn hear(&self, news: News);

    /// Keeps a session alive where nothing else that this node does can hold it up. Here that is
    /// this very thread, unless there is another.
    fn aside(&self, beating: Beating) -> LocalBoxFuture<'static, ManagerError> {
        beating()
    }
}

/// Sends heartbeats until one fails, and returns why. It may be begun on any thread.
pub type Beating = Box<dyn FnOnce() -> LocalBoxFuture<'static, ManagerError> + Send>;

/// What a manager says to a node beside its tasks.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// Who the managers are, whether or not that has changed.
    Managers(Vec<wire::WeightedPeer>),
    /// The node is another than before: its role, its availability, its certificate. Without the
    /// parts that change all the time, `meta` and `status`.
    Node(Box<wire::Node>),
    /// The root to trust, in PEM.
    Root(Bytes),
    /// The keys of the cluster's networks.
    Keys(Vec<wire::EncryptionKey>),
}

/// One manager, as the node with our certificate sees it (cluster-security-dispatch §10 to §12).
pub trait Manager: Send + Sync + 'static {
    /// Whether it knows this node by a certificate that the node has replaced since: it would be cut off
    /// when that ends.
    fn is_outdated(&self) -> bool {
        false
    }

    /// The session is about to end through no fault of the manager's.
    fn let_go(&self) {}

    /// Registers the node. The first message means that it is registered and carries the session's
    /// id.
    fn session(&self, request: wire::SessionRequest) -> Messages<wire::SessionMessage>;

    /// Says that the node lives. The answer carries the time until the next one is due.
    fn heartbeat(&self, request: wire::HeartbeatRequest) -> Answer<wire::HeartbeatResponse>;

    /// What the node has to run: a complete list first, changes to it afterwards.
    fn assignments(&self, request: wire::AssignmentsRequest) -> Messages<wire::AssignmentsMessage>;

    /// Reports what has become of tasks. `NotFound` means that nobody wants to know any more.
    fn update_task_status(
        &self,
        request: wire::UpdateTaskStatusRequest,
    ) -> Answer<wire::UpdateTaskStatusResponse>;
}

/// What runs tasks on this machine. Lives on the agent's thread.
pub trait Executor: 'static {
    /// What the machine offers, without the parts that the agent adds itself (certificate, FIPS).
    fn describe(&self) -> LocalBoxFuture<'static, Result<wire::NodeDescription, ExecutorError>>;

    /// Whoever carries out one task. Fails when the task can never run here.
    ///
    /// What an earlier life of the daemon has started for the same task id is adopted, never
    /// started again.
    fn controller(&self, task: &wire::Task) -> Result<Rc<dyn Controller>, ExecutorError>;

    /// Stops and removes what an earlier life of the daemon has left of tasks that are not among
    /// these. What there is now counts: a task that comes later is left alone.
    fn retain(&self, known: BTreeSet<TaskId>)
    -> LocalBoxFuture<'static, Result<(), ExecutorError>>;
}

/// Carries out one task. Every method may be called again after it succeeded, failed, or was
/// dropped half way; the agent runs one at a time.
pub trait Controller: 'static {
    /// Takes over a changed task. Called between operations, with everything but the status.
    fn update(&self, task: &wire::Task) -> LocalBoxFuture<'static, Result<(), ExecutorError>>;

    /// Gets everything in place that does not run yet.
    fn prepare(&self) -> LocalBoxFuture<'static, Result<(), ExecutorError>>;

    /// Starts it, and returns when it runs (and is healthy, where that can be told).
    fn start(&self) -> LocalBoxFuture<'static, Result<(), ExecutorError>>;

    /// Returns when it has ended: `Ok` for success, `ExecutorError::Exit` for an exit code that is
    /// not 0.
    fn wait(&self) -> LocalBoxFuture<'static, Result<(), ExecutorError>>;

    /// Asks it to stop and kills it when the grace period is over. Nothing running is success.
    fn shutdown(&self) -> LocalBoxFuture<'static, Result<(), ExecutorError>>;

    /// Stops it if need be, and leaves nothing behind.
    fn remove(&self) -> LocalBoxFuture<'static, Result<(), ExecutorError>>;

    /// What is known of the running or ended container: process id, exit code.
    fn container_status(&self) -> Option<wire::ContainerStatus>;

    /// The ports that the task has on this host.
    fn port_status(&self) -> Option<wire::PortStatus>;
}

/// Why an operation on a task did not succeed. The text becomes the `err` of the task's status.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ExecutorError {
    /// It may work the next time; reported, and tried again.
    #[error("{0}")]
    Temporary(String),
    /// Time ran out, which says nothing about the task; tried again, not reported.
    #[error("{0}")]
    TimedOut(String),
    /// It ran, and ended with a code that is not 0.
    #[error("task: non-zero exit ({code}){}", after_colon(.reason.as_deref()))]
    Exit {
        /// As a shell shows it: 128 plus the signal when one ended it.
        code: i32,
        /// What more the engine knows.
        reason: Option<String>,
    },
    /// It cannot work, however often it is tried.
    #[error("{0}")]
    Failed(String),
    /// Prepared by an earlier call: the same as success.
    #[error("task already prepared")]
    AlreadyPrepared,
    /// Started by an earlier call: the same as success.
    #[error("task already started")]
    AlreadyStarted,
}

fn after_colon(reason: Option<&str>) -> String {
    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// What the node must still know after its daemon has been killed: its tasks and how far they got
/// (cluster-security-dispatch §14). A machine may lose it: the managers send the tasks again.
pub trait TaskDatabase: 'static {
    /// Everything that is kept, in the order of ids.
    fn load(&self) -> LocalBoxFuture<'static, Result<Vec<StoredTask>, DatabaseError>>;

    /// Writes in order, all or nothing. When it returns, the successor of a killed daemon will
    /// read it.
    fn write(
        &self,
        changes: Vec<DatabaseChange>,
    ) -> LocalBoxFuture<'static, Result<(), DatabaseError>>;
}

/// What the database keeps of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTask {
    /// Its id.
    pub id: TaskId,
    /// The task without its status. None when only a status was ever written.
    pub task: Option<Arc<wire::Task>>,
    /// How far it got on this node.
    pub status: Option<wire::TaskStatus>,
    /// Whether a manager still wants it here.
    pub assigned: bool,
}

/// One change to the database.
#[derive(Clone, Debug, PartialEq)]
pub enum DatabaseChange {
    /// Keeps the task; its status is not part of it.
    PutTask(Arc<wire::Task>),
    /// Keeps how far it got.
    PutStatus(TaskId, wire::TaskStatus),
    /// Keeps whether a manager wants it here.
    PutAssigned(TaskId, bool),
    /// Forgets everything about it.
    Remove(TaskId),
}

/// The database could not be read or written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct DatabaseError(pub String);
