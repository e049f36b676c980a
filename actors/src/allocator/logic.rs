//! What a new task is given (`scheduler-and-allocator` §10, §14).

use std::{collections::BTreeSet, sync::Arc};

use prost_types::Timestamp;
use protocol::{
    id::TaskId,
    objects::{Service, Task, TaskState, TaskStatus},
    wire::Endpoint,
};

use crate::{
    agenda::Room,
    store::{Changes, Error, Transaction, View},
};

const PENDING: &str = "pending task scheduling";
const NO_NETWORKS: &str = "network support is unavailable";

/// New tasks that changed, or whose service did.
pub(super) fn touched(view: &View, changes: &Changes) -> BTreeSet<TaskId> {
    let tasks = changes.tasks.values().filter_map(|task| task.after.as_ref());
    let services = changes.services.iter().filter(|(_, service)| service.before.is_none());
    let of_services = services.flat_map(|(id, _)| view.tasks_of_service(id));
    tasks.chain(of_services).filter(|task| is_new(task)).map(|task| task.id.clone()).collect()
}

/// All new tasks.
pub(super) fn everything(view: &View) -> BTreeSet<TaskId> {
    view.tasks().filter(|task| is_new(task)).map(|task| task.id.clone()).collect()
}

fn is_new(task: &Task) -> bool {
    task.status.state < TaskState::PENDING
}

/// Makes tasks ready to be placed; returns those that the transaction has no room for.
pub(super) fn allocate(
    head: &mut Transaction,
    tasks: BTreeSet<TaskId>,
    now: Timestamp,
) -> Result<BTreeSet<TaskId>, Error> {
    let (mut room, mut left) = (Room::new(), BTreeSet::new());
    for id in tasks {
        match head.task(&id).and_then(|task| allocated(head, task, now)) {
            Some(task) if room.take([&task]) => head.update(task)?,
            Some(_) => drop(left.insert(id)),
            None => {}
        }
    }
    Ok(left)
}

/// A task as it is to be; none when it is nothing to do with it, or not yet.
pub(super) fn allocated(head: &View, task: &Task, now: Timestamp) -> Option<Task> {
    if !is_new(task) {
        return None;
    }
    let service = head.service(&task.service_id);
    if service.is_none() && !task.service_id.is_empty() {
        return None;
    }
    if asks_for_networks(task, service.map(|service| &**service)) {
        let status = TaskStatus { err: NO_NETWORKS.into(), ..task.status.clone() };
        return (*task.status.err != *NO_NETWORKS).then(|| Task { status, ..task.clone() });
    }
    let status = TaskStatus {
        timestamp: Some(now),
        state: TaskState::PENDING,
        message: PENDING.into(),
        ..TaskStatus::default()
    };
    let endpoint = match service {
        Some(service) => endpoint(service).map(Arc::new),
        None => task.endpoint.clone(),
    };
    Some(Task { status, endpoint, ..task.clone() })
}

fn asks_for_networks(task: &Task, service: Option<&Service>) -> bool {
    #[expect(deprecated, reason = "older clients ask for the networks of a service in this field")]
    let of_service = service.is_some_and(|service| !service.spec.networks.is_empty());
    of_service || !task.spec.networks.is_empty()
}

/// The ports of a service as its spec asks for them.
fn endpoint(service: &Service) -> Option<Endpoint> {
    let spec = service.spec.endpoint.clone()?;
    Some(Endpoint { ports: spec.ports.clone(), spec: Some(spec), ..Endpoint::default() })
}
