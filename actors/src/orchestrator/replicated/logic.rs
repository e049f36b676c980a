//! How many tasks a replicated service needs, in which slots (`orchestration` §5.4, §6).

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
    sync::Arc,
};

use protocol::{
    id::{Id, NodeId, ServiceId, TaskId},
    objects::{Node, Service, Task, TaskState},
};

use super::super::{
    policy::should_restart,
    task::{is_dirty, made, replicas},
};
use crate::store::{CHANGES_PER_TRANSACTION, Changes, Touched, View};

/// How many tasks are asked for at once, since `replicas` may be any number. Far more than one
/// transaction takes: all tasks of the service are walked for each such step.
pub(super) const CREATED_MAX: usize = 50 * CHANGES_PER_TRANSACTION;

/// One step that brings the tasks closer to the spec. What makes room comes before what takes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// A task is to go further than it should so far.
    Raise(TaskId, TaskState),
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

/// Returns what must change for a service to have as many slots as it has replicas.
///
/// Carrying the result out and asking again returns nothing, unless more than [`CREATED_MAX`]
/// slots were missing. It walks all tasks of the service, so it is asked of committed views, away
/// from the store's thread.
pub(super) fn reconcile(head: &View, id: &ServiceId) -> Vec<Change> {
    if id.is_empty() {
        return Vec::new();
    }
    let Some(service) = head.service(id).filter(|service| !service.pending_delete) else {
        return head.tasks_of_service(id).filter_map(removed).collect();
    };
    let Some(replicas) = replicas(service) else { return Vec::new() };
    let mut slots: BTreeMap<u64, Vec<&Arc<Task>>> = BTreeMap::new();
    for task in head.tasks_of_service(id) {
        slots.entry(task.slot).or_default().push(task);
    }
    let live: BTreeMap<u64, Vec<_>> = slots
        .iter()
        .map(|(slot, tasks)| (*slot, updatable(tasks)))
        .filter(|(_, tasks)| !tasks.is_empty())
        .collect();
    let missing = replicas.saturating_sub(live.len() as u64);
    let missing = usize::try_from(missing).unwrap_or(usize::MAX).min(CREATED_MAX);
    let created: BTreeSet<_> =
        (1..=u64::MAX).filter(|slot| !live.contains_key(slot)).take(missing).collect();
    let kept = kept(&live, replicas);
    let mut changes = Vec::new();
    for (slot, tasks) in &slots {
        if kept.contains(slot) {
            changes.extend(updated(head, service, *slot, &live[slot]));
        } else if live.contains_key(slot) || !created.contains(slot) {
            // What is left of a slot that is taken again stays, as its history.
            changes.extend(tasks.iter().copied().filter_map(removed));
        }
    }
    changes.extend(created.into_iter().map(Change::Create));
    changes
}

fn removed(task: &Arc<Task>) -> Option<Change> {
    (task.desired_state < TaskState::REMOVE)
        .then(|| Change::Raise(task.id.clone(), TaskState::REMOVE))
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

/// The slots that stay when there are too many: those that run before those that do not yet, low
/// numbers before high ones, and evenly over the nodes.
fn kept(live: &BTreeMap<u64, Vec<&Arc<Task>>>, replicas: u64) -> BTreeSet<u64> {
    let mut order: Vec<_> = live.iter().collect();
    let is_running = |task: &&Arc<Task>| task.status.state == TaskState::RUNNING;
    order.sort_by_key(|(slot, tasks)| (!tasks.iter().any(is_running), **slot));
    let mut on_node: BTreeMap<&NodeId, u64> = BTreeMap::new();
    let mut ranked: Vec<_> = order
        .into_iter()
        .map(|(slot, tasks)| match tasks[..] {
            [task] if !task.node_id.is_empty() => {
                let position = on_node.entry(&task.node_id).or_default();
                *position += 1;
                (*position, *slot)
            }
            _ => (u64::MAX, *slot),
        })
        .collect();
    ranked.sort_by_key(|(position, _)| *position);
    let replicas = usize::try_from(replicas).unwrap_or(usize::MAX);
    ranked.into_iter().take(replicas).map(|(_, slot)| slot).collect()
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
        Some(_) => others.map(|id| Change::Raise(id, TaskState::SHUTDOWN)).collect(),
        None => vec![Change::Replace { slot, old: others.collect() }],
    }
}
