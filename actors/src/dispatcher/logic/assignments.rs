//! What one node is told to run: everything at first, then what changed
//! (cluster-security-dispatch §12).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{
    id::{NodeId, TaskId},
    objects::{Task, TaskState},
    wire::{
        self, assignment::Item, assignment_change::AssignmentAction, assignments_message::Type,
    },
};

use crate::store::View;

/// How long after a message a change waits for others to go with it. One that comes later than that
/// waits for nothing: on a quiet cluster a node knows at once what it has to run.
const QUIET: Duration = Duration::from_millis(100);
/// So many changes do not wait for more, and no message has more.
const CHANGES_MAX: usize = 100;

/// One stream of assignments to a node.
#[derive(Debug)]
pub(crate) struct Stream {
    node: NodeId,
    /// The tasks that the node was told, as they were then or have become since without the node
    /// having to know.
    known: BTreeMap<TaskId, Arc<Task>>,
    /// What may have changed since the last message.
    changed: BTreeSet<TaskId>,
    began: Instant,
    /// When the last message was sent, or would have been if there had been anything to say.
    spoke: Instant,
    /// How many messages were sent; the number of the last one.
    sent: u64,
}

impl Stream {
    /// A stream on which nothing was sent yet.
    pub(crate) fn new(node: NodeId, now: Instant) -> Self {
        let (known, changed, began, spoke) = (BTreeMap::new(), BTreeSet::new(), now, now);
        Self { node, known, changed, began, spoke, sent: 0 }
    }

    /// Notes that a task of the node may have changed.
    pub(crate) fn touch(&mut self, task: TaskId) {
        self.changed.insert(task);
    }

    /// Notes that anything may have changed.
    pub(crate) fn touch_all(&mut self, view: &View) {
        self.changed.extend(self.known.keys().cloned());
        self.changed.extend(view.tasks_on_node(&self.node).map(|task| task.id.clone()));
    }

    /// When the next message is due; none while nothing has changed.
    pub(crate) fn due(&self) -> Option<Instant> {
        let at_once = self.sent == 0 || self.changed.len() >= CHANGES_MAX;
        if at_once {
            return Some(self.began);
        }
        (!self.changed.is_empty()).then(|| self.spoke + QUIET)
    }

    /// The next message; none when what may have changed is nothing to the node.
    pub(crate) fn next(&mut self, view: &View, now: Instant) -> Option<wire::AssignmentsMessage> {
        self.spoke = now;
        let (kind, changes) = if self.sent == 0 {
            (Type::Complete, self.complete(view))
        } else {
            (Type::Incremental, self.increment(view))
        };
        if kind == Type::Incremental && changes.is_empty() {
            return None;
        }
        let applies_to = if self.sent == 0 { String::new() } else { self.sent.to_string() };
        self.sent += 1;
        Some(wire::AssignmentsMessage {
            r#type: kind.into(),
            applies_to,
            results_in: self.sent.to_string(),
            changes,
        })
    }

    /// Everything that was assigned to the node and is still in the store, whatever its state.
    fn complete(&mut self, view: &View) -> Vec<wire::AssignmentChange> {
        self.changed.clear();
        let tasks = view.tasks_on_node(&self.node).filter(|task| is_assigned(task));
        self.known = tasks.map(|task| (task.id.clone(), task.clone())).collect();
        self.known.values().map(|task| update(task)).collect()
    }

    fn increment(&mut self, view: &View) -> Vec<wire::AssignmentChange> {
        let mut changes = Vec::new();
        for _ in 0..CHANGES_MAX {
            let Some(id) = self.changed.pop_first() else { break };
            let task = view.task(&id).filter(|task| task.node_id == self.node);
            match task.filter(|task| is_assigned(task)) {
                Some(task) => {
                    let known = self.known.insert(id, task.clone());
                    if !known.is_some_and(|known| is_no_news(&known, task)) {
                        changes.push(update(task));
                    }
                }
                None if self.known.remove(&id).is_some() => changes.push(removal(&id)),
                None => {}
            }
        }
        changes
    }
}

fn is_assigned(task: &Task) -> bool {
    task.status.state >= TaskState::ASSIGNED
}

/// Whether the node need not hear of the task again. While a task is only assigned, the node has
/// not said that it took it, so it is told every time.
fn is_no_news(known: &Task, task: &Task) -> bool {
    let stops = task.desired_state > TaskState::RUNNING;
    let is_known = asks_the_same(known, task) || stops && planted!(StopsUntold);
    task.status.state > TaskState::ASSIGNED && is_known
}

/// Whether two versions of a task ask for the same: everything but status and bookkeeping.
fn asks_the_same(one: &Task, other: &Task) -> bool {
    let Task {
        id,
        meta: _,
        spec,
        spec_version,
        service_id,
        slot,
        node_id,
        annotations,
        service_annotations,
        status: _,
        desired_state,
        networks,
        endpoint,
        log_driver,
        assigned_generic_resources,
        job_iteration,
        volumes,
    } = one;
    *id == other.id
        && *desired_state == other.desired_state
        && *spec_version == other.spec_version
        && *service_id == other.service_id
        && *slot == other.slot
        && *node_id == other.node_id
        && *job_iteration == other.job_iteration
        && *annotations == other.annotations
        && *service_annotations == other.service_annotations
        && *networks == other.networks
        && *endpoint == other.endpoint
        && *log_driver == other.log_driver
        && *assigned_generic_resources == other.assigned_generic_resources
        && *volumes == other.volumes
        && (Arc::ptr_eq(spec, &other.spec) || *spec == other.spec)
}

fn update(task: &Task) -> wire::AssignmentChange {
    change(AssignmentAction::Update, task.into())
}

/// A node needs no more than the id to forget a task.
fn removal(id: &TaskId) -> wire::AssignmentChange {
    let task = wire::Task { id: id.to_string(), ..wire::Task::default() };
    change(AssignmentAction::Remove, task)
}

fn change(action: AssignmentAction, task: wire::Task) -> wire::AssignmentChange {
    let assignment = wire::Assignment { item: Some(Item::Task(task)) };
    wire::AssignmentChange { assignment: Some(assignment), action: action.into() }
}
