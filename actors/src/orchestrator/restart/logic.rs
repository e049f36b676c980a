//! Which tasks are replaced, and when a replacement starts (`orchestration` §5, §10).
//!
//! Nothing has to be remembered for it: a task that waits for its start has the desired state
//! READY, the time of its creation, and the task before it in the same slot. So a new leader keeps
//! the promises of the old one.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use prost_types::Timestamp;
use protocol::{
    id::TaskId,
    objects::{Task, TaskState},
};
use rand::RngCore;

use super::super::{
    policy::{restart_delay, should_restart},
    task::{Template, is_down, is_drained, is_node_invalid, made, raised, replicas},
};
use crate::{
    agenda::Room,
    store::{Changes, Error, Touched, Transaction, View},
};

/// How long a replacement waits for the task before it to stop, from its creation on.
pub(super) const STOP_WAIT_MAX: Duration = Duration::from_secs(60);

/// What becomes of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on as it is.
    Leave(Reason),
    /// It is over, and another takes its place.
    Replace,
    /// It is over, and its slot too, or another has its slot already.
    End,
}

/// Why a task is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// There is no such task, or its service is gone: others clean up.
    Gone,
    /// Its service is not replicated.
    NotReplicated,
    /// It has been told to stop.
    Stopping,
    /// It waits for its start. It is judged after that, else it could be replaced in a tight loop.
    NotStarted,
    /// It runs, or is on its way.
    Alive,
}

/// Whether a task has ended or lost its node, and what follows.
pub(super) fn judge(head: &View, id: &TaskId) -> Verdict {
    let Some(task) = head.task(id) else { return Verdict::Leave(Reason::Gone) };
    if task.desired_state > TaskState::RUNNING {
        return Verdict::Leave(Reason::Stopping);
    }
    if task.desired_state < TaskState::RUNNING {
        return Verdict::Leave(Reason::NotStarted);
    }
    if task.status.state <= TaskState::RUNNING && !is_node_invalid(head, &task.node_id) {
        return Verdict::Leave(Reason::Alive);
    }
    match head.service(&task.service_id) {
        Some(service) if replicas(service).is_none() => {
            return Verdict::Leave(Reason::NotReplicated);
        }
        Some(service) if !service.pending_delete => {}
        Some(_) | None => return Verdict::Leave(Reason::Gone),
    }
    let is_taken = slot_of(head, task).any(|other| other.desired_state <= TaskState::RUNNING);
    let slot = head.tasks_in_slot(&task.service_id, task.slot);
    if is_taken || !should_restart(task, slot) { Verdict::End } else { Verdict::Replace }
}

/// The other tasks of a task's slot.
fn slot_of<'a>(head: &'a View, task: &'a Task) -> impl Iterator<Item = &'a Arc<Task>> {
    let slot = head.tasks_in_slot(&task.service_id, task.slot);
    slot.filter(|other| other.id != task.id)
}

/// Whether a task waits for its start.
pub(super) fn is_delayed(view: &View, task: &Task) -> bool {
    let service = view.service(&task.service_id);
    task.desired_state < TaskState::RUNNING
        && service.is_some_and(|service| replicas(service).is_some())
}

/// How long a replacement waits, beside waiting for the task before it to stop: not at all when a
/// new spec or a drained node is why it was made.
pub(super) fn delay(view: &View, task: &Task) -> Duration {
    let before = slot_of(view, task)
        .filter(|other| other.desired_state > TaskState::RUNNING)
        .max_by_key(|other| made(other));
    // Without it nobody knows why, so the replacement keeps the distance that a failure asks for.
    let Some(before) = before else { return restart_delay(&task.spec) };
    let is_drained = view.node(&before.node_id).is_some_and(|node| is_drained(node));
    if is_drained || asks_for_another(before, task) {
        Duration::ZERO
    } else {
        restart_delay(&before.spec)
    }
}

/// Whether a task asks for something else than the one before it. The version of the spec does not
/// say that: it changes with the number of replicas, too.
fn asks_for_another(before: &Task, task: &Task) -> bool {
    let endpoint = |task: &Task| task.endpoint.as_ref().map(|endpoint| endpoint.spec.clone());
    before.spec_version != task.spec_version
        && (before.spec != task.spec || endpoint(before) != endpoint(task))
}

/// When to look at a delayed task again, as time since its creation; `None`: it starts now.
pub(super) fn starts_after(
    head: &View,
    task: &Task,
    delay: Duration,
    waited: Duration,
) -> Option<Duration> {
    if waited < delay {
        return Some(delay);
    }
    let is_blocked = waited < STOP_WAIT_MAX && slot_of(head, task).any(|other| stops(head, other));
    is_blocked.then_some(STOP_WAIT_MAX)
}

/// Whether a node still has to stop a task, and can.
fn stops(head: &View, task: &Task) -> bool {
    let node = head.node(&task.node_id);
    task.desired_state > TaskState::RUNNING
        && task.status.state <= TaskState::RUNNING
        && node.is_some_and(|node| !is_down(node))
}

/// The tasks that may have ended, lost their node, or need wait no longer.
pub(super) fn touched(view: &View, changes: &Changes) -> BTreeSet<TaskId> {
    let tasks = changes.tasks.values();
    let tasks = tasks.filter_map(|Touched { before, after }| after.as_ref().or(before.as_ref()));
    let on_nodes = changes.nodes.keys().flat_map(|node| view.tasks_on_node(node));
    let mut touched = BTreeSet::new();
    for task in tasks.chain(on_nodes) {
        touched.insert(task.id.clone());
        let has_left = task.desired_state > TaskState::RUNNING || view.task(&task.id).is_none();
        if has_left && !task.service_id.is_empty() {
            let waiting = slot_of(view, task).filter(|other| is_delayed(view, other));
            touched.extend(waiting.map(|other| other.id.clone()));
        }
    }
    touched
}

/// Carries out what has become of a task; says whether there was room for it.
pub(super) fn carry_out(
    head: &mut Transaction,
    id: &TaskId,
    room: &mut Room,
    now: Timestamp,
    random: &mut impl RngCore,
) -> Result<bool, Error> {
    let verdict = judge(head, id);
    let Some(task) = head.task(id) else { return Ok(true) };
    let service = head.service(&task.service_id);
    let ended = match verdict {
        Verdict::Leave(_) => None,
        Verdict::Replace | Verdict::End => raised(task, TaskState::SHUTDOWN),
    };
    let next = service.filter(|_| verdict == Verdict::Replace).map(|service| {
        let cluster = head.default_cluster().map(AsRef::as_ref);
        let template = Template::new(service, cluster, Some(task));
        Arc::new(template.task(TaskId::random(random), task.slot, TaskState::READY, now))
    });
    let written = ended.iter().chain(&next).map(AsRef::as_ref);
    if ended.is_none() {
        return Ok(true);
    }
    if !room.take(written) {
        return Ok(false);
    }
    ended.into_iter().try_for_each(|task| head.update(task))?;
    next.into_iter().try_for_each(|task| head.create(task))?;
    Ok(true)
}

/// Starts a task whose delay is over on the head as well; says whether there was room for it.
pub(super) fn start(
    head: &mut Transaction,
    id: &TaskId,
    delay: Duration,
    waited: Duration,
    room: &mut Room,
) -> Result<bool, Error> {
    let task = head.task(id).filter(|task| is_delayed(head, task));
    let Some(started) = task
        .filter(|task| starts_after(head, task, delay, waited).is_none())
        .and_then(|task| raised(task, TaskState::RUNNING))
    else {
        return Ok(true);
    };
    if !room.take([started.as_ref()]) {
        return Ok(false);
    }
    head.update(started)?;
    Ok(true)
}
