//! What one transaction does for a service: steps planned on a committed view, each checked again on
//! the head at the cost of its slot.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prost_types::Timestamp;
use protocol::{
    id::{ServiceId, TaskId},
    objects::{Task, TaskState},
};
use rand::RngCore;

use super::{Change, survey::Survey, updatable, updated, version};
use crate::{
    agenda::Room,
    orchestrator::task::{Template, raised},
    store::{Error, Transaction, View},
};

/// What is due. Steps come before services, so that all of a plan is carried out before more of it is
/// made, and before the next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// One step of a plan.
    Step(Step),
    /// A service that is being gone through.
    Going(ServiceId),
    /// A service that may need steps.
    Service(ServiceId),
}

/// One change for one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step {
    service: ServiceId,
    /// The version of the service that it was planned for; none if it is gone.
    version: Option<u64>,
    change: Change,
}

impl Step {
    /// What it does.
    pub(crate) fn change(&self) -> &Change {
        &self.change
    }
}

/// What the committed tasks of a service lack.
pub(crate) fn plan(view: &View, id: &ServiceId) -> Vec<Step> {
    steps(&mut Survey::new(view.clone(), id.clone()), &mut { usize::MAX })
}

/// The next steps that a look at a service comes by.
pub(crate) fn steps(survey: &mut Survey, looks: &mut usize) -> Vec<Step> {
    let (id, version) = (survey.service().clone(), survey.version());
    let changes = survey.advance(looks).into_iter();
    changes.map(|change| Step { service: id.clone(), version, change }).collect()
}

/// Whether a service is being gone through, or steps for it are due.
pub(crate) fn is_in_hand(due: &BTreeSet<Due>, id: &ServiceId) -> bool {
    let change = Change::Remove(TaskId::default());
    let lowest = Due::Step(Step { service: id.clone(), version: None, change });
    let next = due.range(lowest..).next();
    due.contains(&Due::Going(id.clone()))
        || matches!(next, Some(Due::Step(step)) if step.service == *id)
}

/// Carries out steps as far as there is room, and returns those that are left.
pub(crate) fn carry_out(
    head: &mut Transaction,
    steps: BTreeSet<Step>,
    now: Timestamp,
    random: &mut impl RngCore,
) -> Result<BTreeSet<Step>, Error> {
    let mut room = Room::new();
    let mut templates = BTreeMap::new();
    let mut left = BTreeSet::new();
    for step in steps {
        if room.is_full() {
            left.insert(step);
            continue;
        }
        if !planted!(SlotsOfCommitted) && !is_still_right(head, &step) {
            continue;
        }
        let template = templates
            .entry(step.service.clone())
            .or_insert_with(|| template(head, &step.service))
            .as_ref();
        let new = new_task(&step.change).zip(template);
        let new = new.map(|((slot, desired), template)| {
            Arc::new(template.task(TaskId::random(random), slot, desired, now))
        });
        let stopped = stopped(head, &step.change);
        if room.take(new.iter().chain(&stopped).map(AsRef::as_ref)) {
            stopped.into_iter().try_for_each(|task| head.update(task))?;
            new.into_iter().try_for_each(|task| head.create(task))?;
        } else {
            left.insert(step);
        }
    }
    Ok(left)
}

/// Whether the head asks for a step as well. If not, what has changed is announced once it is
/// committed, and planned for then.
fn is_still_right(head: &View, Step { service: id, version: planned_for, change }: &Step) -> bool {
    if version(head, id) != *planned_for {
        return false;
    }
    let in_slot = |slot| {
        let tasks: Vec<_> = head.tasks_in_slot(id, slot).collect();
        updatable(&tasks)
    };
    match change {
        Change::Create(slot) => in_slot(*slot).is_empty(),
        Change::Shutdown { slot, .. } | Change::Replace { slot, .. } => head
            .service(id)
            .is_some_and(|service| updated(head, service, *slot, &in_slot(*slot)).contains(change)),
        Change::Remove(id) => {
            head.task(id).is_some_and(|task| task.desired_state < TaskState::REMOVE)
        }
    }
}

fn template(head: &View, id: &ServiceId) -> Option<Template> {
    let cluster = head.default_cluster().map(AsRef::as_ref);
    let existing = head.tasks_of_service(id).next().map(AsRef::as_ref);
    head.service(id).map(|service| Template::new(service, cluster, existing))
}

/// The slot and the desired state of the task that a change creates.
fn new_task(change: &Change) -> Option<(u64, TaskState)> {
    match change {
        Change::Create(slot) => Some((*slot, TaskState::RUNNING)),
        Change::Replace { slot, .. } => Some((*slot, TaskState::READY)),
        Change::Remove(_) | Change::Shutdown { .. } => None,
    }
}

/// The tasks that a change takes further, as it leaves them.
fn stopped(head: &View, change: &Change) -> Vec<Arc<Task>> {
    let raise = |id: &TaskId, to| raised(head.task(id)?, to);
    match change {
        Change::Create(_) => Vec::new(),
        Change::Replace { old, .. } => {
            old.iter().filter_map(|task| raise(task, TaskState::SHUTDOWN)).collect()
        }
        Change::Shutdown { task, .. } => raise(task, TaskState::SHUTDOWN).into_iter().collect(),
        Change::Remove(task) => raise(task, TaskState::REMOVE).into_iter().collect(),
    }
}
