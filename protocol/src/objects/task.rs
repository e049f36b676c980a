//! One unit of work, in as few bytes as it takes: there are up to a million of them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
};

use prost_types::Timestamp;

use super::{List, Meta, SharedNodeId};
use crate::{
    id::{NodeId, ServiceId, TaskId},
    wire,
};

/// How far a task is or should go, by its number: the order of the numbers is the order of life.
/// Numbers without a name are kept as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskState(i32);

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident = $state:ident,)*) => {
        impl TaskState {
            $($(#[$doc])* pub const $name: Self = Self(wire::TaskState::$state as i32);)*
        }
    };
}

states! {
    /// Created by an orchestrator.
    NEW = New,
    /// Has what it needs, and waits for a node.
    PENDING = Pending,
    /// Has a node.
    ASSIGNED = Assigned,
    /// The node knows how to run it.
    ACCEPTED = Accepted,
    /// The node gets it ready.
    PREPARING = Preparing,
    /// Could be started.
    READY = Ready,
    /// Is being started.
    STARTING = Starting,
    /// Runs.
    RUNNING = Running,
    /// Ended with success.
    COMPLETE = Complete,
    /// Was stopped on request.
    SHUTDOWN = Shutdown,
    /// Failed at or after its start.
    FAILED = Failed,
    /// Could not be started.
    REJECTED = Rejected,
    /// Only ever desired: stop it, then forget it.
    REMOVE = Remove,
    /// Its node is lost.
    ORPHANED = Orphaned,
}

impl TaskState {
    /// The number on the wire.
    pub fn number(self) -> i32 {
        self.0
    }

    /// The name on the wire, if it has one.
    pub fn name(self) -> Option<&'static str> {
        wire::TaskState::try_from(self.0).ok().map(|state| state.as_str_name())
    }
}

impl From<i32> for TaskState {
    fn from(number: i32) -> Self {
        Self(number)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => formatter.pad(name),
            None => write!(formatter, "{}", self.0),
        }
    }
}

/// How far a task is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskStatus {
    /// When the node saw the state.
    pub timestamp: Option<Timestamp>,
    /// The state.
    pub state: TaskState,
    /// What led to it.
    pub message: Arc<str>,
    /// What went wrong; empty if nothing did.
    pub err: Arc<str>,
    /// What the engine says.
    pub container: Option<Arc<wire::ContainerStatus>>,
    /// The ports that it really has.
    pub port_status: Option<Arc<wire::PortStatus>>,
    /// The leader that wrote it down.
    pub applied_by: SharedNodeId,
    /// When it did.
    pub applied_at: Option<Timestamp>,
}

impl From<wire::TaskStatus> for TaskStatus {
    fn from(status: wire::TaskStatus) -> Self {
        let container = status.runtime_status.map(|status| match status {
            wire::task_status::RuntimeStatus::Container(container) => Arc::new(container),
        });
        Self {
            timestamp: status.timestamp,
            state: status.state.into(),
            message: status.message.into(),
            err: status.err.into(),
            container,
            port_status: status.port_status.map(Arc::new),
            applied_by: status.applied_by.as_str().into(),
            applied_at: status.applied_at,
        }
    }
}

impl From<&TaskStatus> for wire::TaskStatus {
    fn from(status: &TaskStatus) -> Self {
        Self {
            timestamp: status.timestamp,
            state: status.state.number(),
            message: status.message.to_string(),
            err: status.err.to_string(),
            runtime_status: status
                .container
                .as_deref()
                .map(|container| wire::task_status::RuntimeStatus::Container(container.clone())),
            port_status: status.port_status.as_deref().cloned(),
            applied_by: status.applied_by.as_str().to_owned(),
            applied_at: status.applied_at,
        }
    }
}

/// One unit of work: created for a service, given to a node, never moved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Task {
    /// The id.
    pub id: TaskId,
    /// What the store knows of it.
    pub meta: Meta,
    /// What it runs; shared by all tasks of one version of a service.
    pub spec: Arc<wire::TaskSpec>,
    /// The version of the service's spec that it was made from.
    pub spec_version: Option<u64>,
    /// Its service; empty for a task that belongs to none.
    pub service_id: ServiceId,
    /// Which of the replicas it is, from one; 0 for a task that belongs to a node.
    pub slot: u64,
    /// Its node; empty until it has one.
    pub node_id: NodeId,
    /// Its own name and labels; mostly none.
    pub annotations: Option<Arc<wire::Annotations>>,
    /// Name and labels of its service when it was made.
    pub service_annotations: Arc<wire::Annotations>,
    /// How far it is.
    pub status: TaskStatus,
    /// How far it should go; managers only ever raise it.
    pub desired_state: TaskState,
    /// Its places in networks.
    pub networks: List<wire::NetworkAttachment>,
    /// How its service is reached.
    pub endpoint: Option<Arc<wire::Endpoint>>,
    /// Where its output goes.
    pub log_driver: Option<Arc<wire::Driver>>,
    /// What it got of its node's generic resources.
    pub assigned_generic_resources: List<wire::GenericResource>,
    /// The run of the job that it belongs to.
    pub job_iteration: Option<u64>,
    /// The volumes that were chosen for its mounts.
    pub volumes: List<wire::VolumeAttachment>,
}

impl Task {
    /// The name: its own, else made of its service, its slot (or node) and its id
    /// (store-and-raft §1).
    pub fn name(&self) -> Cow<'_, str> {
        match &self.annotations {
            Some(own) if !own.name.is_empty() => Cow::Borrowed(&own.name),
            Some(_) | None => {
                let (service, id) = (&self.service_annotations.name, &self.id);
                Cow::Owned(match self.slot {
                    0 => format!("{service}.{}.{id}", self.node_id),
                    slot => format!("{service}.{slot}.{id}"),
                })
            }
        }
    }
}

impl From<wire::Task> for Task {
    fn from(task: wire::Task) -> Self {
        let empty = wire::Annotations::default();
        Self {
            id: task.id.into(),
            meta: task.meta.into(),
            spec: Arc::new(task.spec.unwrap_or_default()),
            spec_version: task.spec_version.map(|version| version.index),
            service_id: task.service_id.into(),
            slot: task.slot,
            node_id: task.node_id.into(),
            annotations: task.annotations.filter(|own| *own != empty).map(Arc::new),
            service_annotations: Arc::new(task.service_annotations.unwrap_or_default()),
            status: task.status.unwrap_or_default().into(),
            desired_state: task.desired_state.into(),
            networks: task.networks.into(),
            endpoint: task.endpoint.map(Arc::new),
            log_driver: task.log_driver.map(Arc::new),
            assigned_generic_resources: task.assigned_generic_resources.into(),
            job_iteration: task.job_iteration.map(|version| version.index),
            volumes: task.volumes.into(),
        }
    }
}

impl From<&Task> for wire::Task {
    fn from(task: &Task) -> Self {
        let version = |index: Option<u64>| index.map(|index| wire::Version { index });
        Self {
            id: task.id.as_str().to_owned(),
            meta: Some(task.meta.into()),
            spec: Some((*task.spec).clone()),
            spec_version: version(task.spec_version),
            service_id: task.service_id.as_str().to_owned(),
            slot: task.slot,
            node_id: task.node_id.as_str().to_owned(),
            annotations: Some(task.annotations.as_deref().cloned().unwrap_or_default()),
            service_annotations: Some((*task.service_annotations).clone()),
            status: Some((&task.status).into()),
            desired_state: task.desired_state.number(),
            networks: task.networks.to_vec(),
            endpoint: task.endpoint.as_deref().cloned(),
            log_driver: task.log_driver.as_deref().cloned(),
            assigned_generic_resources: task.assigned_generic_resources.to_vec(),
            job_iteration: version(task.job_iteration),
            volumes: task.volumes.to_vec(),
        }
    }
}

/// Shares equal bodies among tasks of one version of a service, which arrive one by one from a
/// log or a snapshot, each with a body of its own.
#[derive(Debug, Default)]
pub struct Interner {
    /// Of each service the last task of some versions, the one that came last behind.
    bodies: BTreeMap<ServiceId, VecDeque<Task>>,
}

/// Of so many versions of a service tasks come at one time: an update replaces one by another.
const VERSIONS_MAX: usize = 4;

impl Interner {
    /// Lets a task share what equals the bodies of the last one of its service and version.
    pub fn share(&mut self, mut task: Task) -> Task {
        let versions = self.bodies.entry(task.service_id.clone()).or_default();
        let position = versions.iter().position(|known| known.spec_version == task.spec_version);
        if let Some(known) = position.and_then(|position| versions.remove(position)) {
            share(&mut task.spec, &known.spec);
            share(&mut task.service_annotations, &known.service_annotations);
            share(&mut task.status.message, &known.status.message);
            share(&mut task.status.err, &known.status.err);
            if task.status.applied_by == known.status.applied_by {
                task.status.applied_by.clone_from(&known.status.applied_by);
            }
            if let (Some(endpoint), Some(known)) = (&mut task.endpoint, &known.endpoint) {
                share(endpoint, known);
            }
            if let (Some(driver), Some(known)) = (&mut task.log_driver, &known.log_driver) {
                share(driver, known);
            }
        }
        if versions.len() == VERSIONS_MAX {
            versions.pop_front();
        }
        versions.push_back(task.clone());
        task
    }

    /// Forgets a service that is gone.
    pub fn forget(&mut self, service: &ServiceId) {
        self.bodies.remove(service);
    }
}

fn share<T: PartialEq + ?Sized>(body: &mut Arc<T>, known: &Arc<T>) {
    if body == known {
        body.clone_from(known);
    }
}
