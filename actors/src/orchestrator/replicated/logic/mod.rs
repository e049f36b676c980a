//! How many tasks a replicated service needs, in which slots (`orchestration` §5.4, §6).

pub(super) mod step;
pub(super) mod survey;

use std::{collections::BTreeSet, iter, sync::Arc};

use protocol::{
    id::{Id, ServiceId, TaskId},
    objects::{Node, Service, Task, TaskState},
};

use super::super::{
    policy::should_restart,
    task::{is_dirty, made},
};
use crate::store::{CHANGES_PER_TRANSACTION, Changes, Touched, View};

/// How many tasks are asked for at once, since `replicas` may be any number. Far more than one
/// transaction takes: all tasks of the service are gone through for that many.
pub(super) const CREATED_MAX: usize = 50 * CHANGES_PER_TRANSACTION;

/// One step that brings the tasks closer to the spec. What makes room comes before what takes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// A task is to go, whatever becomes of its slot.
    Remove(TaskId),
    /// A task is to stop, since another one is right in its slot.
    Shutdown {
        /// The slot.
        slot: u64,
        /// The task that is to stop.
        task: TaskId,
    },
    /// A new task in a slot whose tasks are not what the service asks for; it starts when they
    /// have stopped.
    Replace {
        /// The slot.
        slot: u64,
        /// Its tasks that are to stop.
        old: Vec<TaskId>,
    },
    /// A new task in a slot that has none.
    Create(u64),
}

/// The services that a change may concern.
pub(super) fn touched(view: &View, changes: &Changes) -> BTreeSet<ServiceId> {
    let services = changes.services.keys().cloned();
    let tasks = changes.tasks.values().filter(|task| is_counted_anew(task));
    let tasks = tasks.filter_map(|Touched { before, after }| after.as_ref().or(before.as_ref()));
    let nodes = changes.nodes.iter().filter(|(_, node)| is_other_node(node));
    let on_nodes = nodes.flat_map(|(id, _)| view.tasks_on_node(id));
    let of_tasks = tasks.chain(on_nodes).map(|task| task.service_id.clone());
    services.chain(of_tasks).collect()
}

/// The services behind an id, as many as are asked for, by id: those there are, and those that are
/// gone but have tasks left.
pub(super) fn services(view: &View, after: Option<&Id>, count: usize) -> Vec<ServiceId> {
    let first = view.service_after(after.map(|id| id.clone().into()).as_ref());
    iter::successors(first, |last| view.service_after(Some(last))).take(count).collect()
}

/// Whether a task may count otherwise than before: most reports of nodes leave that as it is.
fn is_counted_anew(Touched { before, after }: &Touched<Task>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return true };
    before.desired_state != after.desired_state
        || (before.status.state <= TaskState::RUNNING && after.status.state > TaskState::RUNNING)
}

/// Whether a task with an older spec may fit the node otherwise than before.
fn is_other_node(Touched { before, after }: &Touched<Node>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return true };
    before.spec != after.spec || before.description != after.description
}

pub(super) fn removed(task: &Arc<Task>) -> Option<Change> {
    (task.desired_state < TaskState::REMOVE).then(|| Change::Remove(task.id.clone()))
}

/// The tasks that stand for a slot: those that should run, else the last one if it has ended for
/// good. A slot without any is free.
pub(super) fn updatable<'t>(tasks: &[&'t Arc<Task>]) -> Vec<&'t Arc<Task>> {
    let wanted: Vec<_> =
        tasks.iter().filter(|task| task.desired_state <= TaskState::RUNNING).copied().collect();
    if !wanted.is_empty() {
        return wanted;
    }
    let ended = tasks.iter().filter(|task| task.desired_state < TaskState::REMOVE);
    let last = ended.max_by_key(|task| made(task));
    last.filter(|task| !should_restart(task, tasks.iter().copied())).into_iter().copied().collect()
}

/// The version of a service; none if it is gone.
pub(super) fn version(view: &View, id: &ServiceId) -> Option<u64> {
    view.service(id).map(|service| service.meta.version)
}

pub(super) fn is_running(task: &Task) -> bool {
    task.status.state == TaskState::RUNNING
}

/// Leaves one task in a slot that is what the service asks for.
pub(super) fn updated(
    head: &View,
    service: &Service,
    slot: u64,
    tasks: &[&Arc<Task>],
) -> Vec<Change> {
    let clean = tasks
        .iter()
        .filter(|task| !is_dirty(task, service, head.node(&task.node_id)))
        .min_by_key(|task| {
            let has_ended = task.status.state > TaskState::RUNNING;
            (task.desired_state != TaskState::RUNNING, has_ended, &task.id)
        });
    let others = tasks.iter().filter(|task| {
        task.desired_state <= TaskState::RUNNING && clean.is_none_or(|clean| clean.id != task.id)
    });
    let others = others.map(|task| task.id.clone());
    match clean {
        Some(_) => others.map(|task| Change::Shutdown { slot, task }).collect(),
        None => vec![Change::Replace { slot, old: others.collect() }],
    }
}
