//! A manager that says what a test tells it to, and an agent that knows no other.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use prost_types::Timestamp;
use protocol::{
    id::TaskId,
    wire::{self, TaskState, assignment::Item, assignments_message::Type},
};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use crate::{
    agent::{
        Ports,
        port::{Answer, Manager, ManagerError, Managers, Messages, News},
        simulated::{Machine, MemoryDatabase},
        start,
    },
    environment::{Clock, Entropy, Environment},
    supervision::{Budget, Census, Tree},
};

/// Clones are the same manager.
#[derive(Clone)]
pub(super) struct Scripted(Arc<Inner>);

struct Inner {
    /// The complete list for every stream that is opened, and again whenever it changes.
    assigned: watch::Sender<Vec<wire::Task>>,
    reported: watch::Sender<Vec<wire::update_task_status_request::TaskStatusUpdate>>,
    /// Whether anybody answers.
    reachable: AtomicBool,
    /// Whether the node has another certificate since it was called last.
    is_outdated: AtomicBool,
    /// Tells open streams that the manager is gone.
    cut: Notify,
    sessions: watch::Sender<Vec<wire::SessionRequest>>,
    heartbeats: AtomicU32,
    /// How often it wants to hear from a node.
    period_seconds: AtomicI64,
    heard: watch::Sender<Vec<News>>,
}

impl Default for Scripted {
    fn default() -> Self {
        Self(Arc::new(Inner {
            assigned: watch::Sender::default(),
            reported: watch::Sender::default(),
            reachable: AtomicBool::new(true),
            is_outdated: AtomicBool::default(),
            cut: Notify::new(),
            sessions: watch::Sender::default(),
            heartbeats: AtomicU32::new(0),
            period_seconds: AtomicI64::new(5),
            heard: watch::Sender::default(),
        }))
    }
}

impl Scripted {
    /// Assigns these tasks and no others.
    pub(super) fn assign(&self, tasks: &[wire::Task]) {
        self.0.assigned.send_replace(tasks.to_vec());
    }

    /// Goes away, and takes every session with it.
    pub(super) fn leave(&self) {
        self.0.reachable.store(false, Ordering::Relaxed);
        self.0.cut.notify_waiters();
    }

    pub(super) fn come_back(&self) {
        self.0.reachable.store(true, Ordering::Relaxed);
    }

    /// The states that were reported of a task, in order.
    pub(super) fn reported(&self, task: &TaskId) -> Vec<TaskState> {
        self.statuses(task).iter().map(wire::TaskStatus::state).collect()
    }

    pub(super) fn statuses(&self, task: &TaskId) -> Vec<wire::TaskStatus> {
        let reported = self.0.reported.borrow();
        let of_task = reported.iter().filter(|update| update.task_id == task.as_str());
        of_task.filter_map(|update| update.status.clone()).collect()
    }

    /// The node has another certificate from now on.
    pub(super) fn is_behind(&self) {
        self.0.is_outdated.store(true, Ordering::Relaxed);
    }

    /// What was asked for every session so far.
    pub(super) fn sessions(&self) -> Vec<wire::SessionRequest> {
        self.0.sessions.borrow().clone()
    }

    pub(super) fn beat_every(&self, seconds: i64) {
        self.0.period_seconds.store(seconds, Ordering::Relaxed);
    }

    pub(super) fn heartbeats(&self) -> u32 {
        self.0.heartbeats.load(Ordering::Relaxed)
    }

    /// What the agent has passed on.
    pub(super) fn heard(&self) -> Vec<News> {
        self.0.heard.borrow().clone()
    }

    fn check(&self) -> Result<(), ManagerError> {
        let reachable = self.0.reachable.load(Ordering::Relaxed);
        if reachable { Ok(()) } else { Err(ManagerError::Failed("nobody there".to_owned())) }
    }

    /// Ends a stream when the manager leaves.
    async fn left<T>(self) -> Result<T, ManagerError> {
        self.0.cut.notified().await;
        Err(ManagerError::Failed("gone".to_owned()))
    }
}

impl Managers for Scripted {
    fn choose(&self) -> Answer<Arc<dyn Manager>> {
        let manager = self.clone();
        Box::pin(async move { manager.check().map(|()| Arc::new(manager) as Arc<dyn Manager>) })
    }

    fn hear(&self, news: News) {
        self.0.heard.send_modify(|heard| heard.push(news));
    }
}

impl Manager for Scripted {
    fn is_outdated(&self) -> bool {
        self.0.is_outdated.load(Ordering::Relaxed)
    }

    fn session(&self, request: wire::SessionRequest) -> Messages<wire::SessionMessage> {
        let kept = request.session_id.clone();
        let session_id = if kept.is_empty() { "s1".to_owned() } else { kept };
        self.0.sessions.send_modify(|sessions| sessions.push(request));
        self.0.is_outdated.store(false, Ordering::Relaxed);
        let root_ca = "root".into();
        let first = wire::SessionMessage { session_id, root_ca, ..wire::SessionMessage::default() };
        let first = stream::iter([self.check().map(|()| first)]);
        Box::pin(first.chain(stream::once(self.clone().left())))
    }

    fn heartbeat(&self, _: wire::HeartbeatRequest) -> Answer<wire::HeartbeatResponse> {
        self.0.heartbeats.fetch_add(1, Ordering::Relaxed);
        let seconds = self.0.period_seconds.load(Ordering::Relaxed);
        let period = Some(prost_types::Duration { seconds, nanos: 0 });
        let answer = self.check().map(|()| wire::HeartbeatResponse { period });
        Box::pin(async { answer })
    }

    fn assignments(&self, _: wire::AssignmentsRequest) -> Messages<wire::AssignmentsMessage> {
        let mut lists = self.0.assigned.subscribe();
        lists.mark_changed();
        Box::pin(stream::unfold(lists, |mut lists| async {
            lists.changed().await.ok()?;
            let tasks = lists.borrow_and_update().clone();
            let changes = tasks.into_iter().map(|task| wire::AssignmentChange {
                assignment: Some(wire::Assignment { item: Some(Item::Task(task)) }),
                action: wire::assignment_change::AssignmentAction::Update.into(),
            });
            let message = wire::AssignmentsMessage {
                r#type: Type::Complete.into(),
                applies_to: String::new(),
                results_in: "1".to_owned(),
                changes: changes.collect(),
            };
            Some((Ok(message), lists))
        }))
    }

    fn update_task_status(
        &self,
        request: wire::UpdateTaskStatusRequest,
    ) -> Answer<wire::UpdateTaskStatusResponse> {
        let answer = self.check().map(|()| {
            self.0.reported.send_modify(|reported| reported.extend(request.updates));
            wire::UpdateTaskStatusResponse {}
        });
        Box::pin(async { answer })
    }
}

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp { seconds: 1, nanos: 0 }
    }
}

/// A node on which an agent runs, dies and runs again.
#[derive(Clone, Default)]
pub(super) struct Node {
    pub(super) manager: Scripted,
    pub(super) machine: Machine,
    pub(super) database: MemoryDatabase,
    pub(super) tls_info: watch::Sender<wire::NodeTlsInfo>,
    pub(super) census: Census,
}

impl Node {
    /// Starts the daemon's agent. Aborting the tree kills it.
    pub(super) fn boot(&self) -> Tree {
        let budget = Budget { restarts: 5, within: Duration::from_secs(60) };
        let tree = Tree::root("agent", budget, self.census.clone(), |lost| panic!("{lost}"));
        let ports = Ports {
            managers: Rc::new(self.manager.clone()),
            executor: Rc::new(self.machine.clone()),
            database: Rc::new(self.database.clone()),
            tls_info: self.tls_info.subscribe(),
        };
        let environment = Environment { clock: Arc::new(Fixed), entropy: Entropy::new(1) };
        start(&tree, self.census.clone(), ports, environment);
        tree
    }

    pub(super) async fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let reached = async {
            while !reached(self) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let bound = Duration::from_secs(120);
        assert!(timeout(bound, reached).await.is_ok(), "it never came to this: {what}");
    }

    /// Waits until the manager has heard that the task is in this state.
    pub(super) async fn until_reported(&self, task: &TaskId, state: TaskState) {
        let last = |node: &Self| node.manager.reported(task).last() == Some(&state);
        self.until(state.as_str_name(), last).await;
    }
}

pub(super) fn task(id: &TaskId, desired: TaskState) -> wire::Task {
    wire::Task {
        id: id.to_string(),
        desired_state: desired.into(),
        status: Some(wire::TaskStatus {
            state: TaskState::Assigned.into(),
            ..wire::TaskStatus::default()
        }),
        ..wire::Task::default()
    }
}
