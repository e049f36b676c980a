//! Which tasks nobody needs any more (`orchestration` §11).

use std::{collections::BTreeSet, sync::Arc};

use protocol::{
    id::{ServiceId, TaskId},
    objects::{Cluster, Kind, Service, Task, TaskState},
};

use super::super::task::{made, replicas};
use crate::store::{CHANGES_PER_TRANSACTION, Changes, Error, Touched, Transaction, View};

/// How many tasks of a slot are kept when the cluster does not say.
const HISTORY_LIMIT_DEFAULT: i64 = 5;

/// What may hold tasks that nobody needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// One slot of a service, and its history.
    Slot(ServiceId, u64),
    /// One task that is to be removed, or that belongs to nobody.
    Task(TaskId),
}

/// The places that a change of tasks may concern.
pub(super) fn touched(changes: &Changes) -> BTreeSet<Place> {
    let tasks = changes.tasks.values().filter(|touched| is_counted_anew(touched));
    tasks.filter_map(|Touched { after, .. }| after.as_deref()).flat_map(places).collect()
}

/// Whether a change says anew how much is kept: then it concerns every place.
pub(super) fn changes_history(changes: &Changes) -> bool {
    let limit = |cluster: &Option<Arc<_>>| cluster.as_deref().map(history_limit);
    changes.clusters.values().any(|touched| limit(&touched.before) != limit(&touched.after))
}

/// The places that a task is in.
pub(super) fn places(task: &Task) -> impl Iterator<Item = Place> + use<> {
    let slot = Place::Slot(task.service_id.clone(), task.slot);
    let slot = (!task.service_id.is_empty()).then_some(slot);
    let removable = is_removable(task).then(|| Place::Task(task.id.clone()));
    slot.into_iter().chain(removable)
}

/// Whether a task may be forgotten now and could not before, or makes its history longer.
fn is_counted_anew(Touched { before, after }: &Touched<Task>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return true };
    is_removable(before) != is_removable(after) || is_over(before) != is_over(after)
}

/// Whether nothing runs for a task, and nothing will.
fn is_over(task: &Task) -> bool {
    task.status.state > TaskState::RUNNING
        || (task.status.state < TaskState::ASSIGNED && task.desired_state > TaskState::RUNNING)
}

/// Whether a task is forgotten whatever the history limit.
fn is_removable(task: &Task) -> bool {
    let is_nobodys = task.service_id.is_empty() && task.status.state == TaskState::ORPHANED;
    let state = task.status.state;
    let is_stopped = state < TaskState::ASSIGNED || state >= TaskState::COMPLETE;
    is_nobodys || (task.desired_state == TaskState::REMOVE && is_stopped)
}

fn history_limit(cluster: &Cluster) -> i64 {
    let orchestration = cluster.spec.orchestration.as_ref();
    orchestration.map_or(HISTORY_LIMIT_DEFAULT, |settings| settings.task_history_retention_limit)
}

/// How many tasks a slot of a service keeps; `None` for all. What the restart policy counts is
/// kept whatever the cluster says.
fn kept(head: &View, service: &Service) -> Option<usize> {
    let restart = service.task_spec().and_then(|spec| spec.restart.as_ref());
    match restart.map_or(0, |restart| restart.max_attempts) {
        0 => {
            let limit = head
                .default_cluster()
                .map_or(HISTORY_LIMIT_DEFAULT, |cluster| history_limit(cluster));
            usize::try_from(limit).ok()
        }
        attempts => Some(usize::try_from(attempts.saturating_add(1)).unwrap_or(usize::MAX)),
    }
}

/// The tasks of a place that are to be deleted.
pub(super) fn reap(head: &View, place: &Place) -> Vec<TaskId> {
    match place {
        Place::Task(id) => head
            .task(id)
            .filter(|task| is_removable(task))
            .map(|task| task.id.clone())
            .into_iter()
            .collect(),
        Place::Slot(service, slot) => reap_slot(head, service, *slot),
    }
}

fn reap_slot(head: &View, service: &ServiceId, slot: u64) -> Vec<TaskId> {
    let Some(kept) = head
        .service(service)
        .filter(|service| replicas(service).is_some())
        .and_then(|service| kept(head, service))
    else {
        return Vec::new();
    };
    let mut tasks: Vec<_> = head.tasks_in_slot(service, slot).collect();
    tasks.sort_by_key(|task| made(task));
    let surplus = tasks.len().saturating_sub(kept);
    // The last task stays: where it ended for good, it keeps the slot from being filled again.
    tasks.pop();
    let over = tasks.into_iter().filter(|task| is_over(task));
    over.take(surplus).map(|task| task.id.clone()).collect()
}

/// Deletes what nobody needs of a place, as far as the transaction has room; says whether that is
/// all.
pub(super) fn carry_out(head: &mut Transaction, place: &Place) -> Result<bool, Error> {
    for task in reap(head, place) {
        if head.len() >= CHANGES_PER_TRANSACTION {
            return Ok(false);
        }
        head.remove(Kind::Task, task.as_id())?;
    }
    Ok(true)
}
