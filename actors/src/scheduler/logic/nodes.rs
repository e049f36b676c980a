//! What every node has left, kept up with the tasks on it (`scheduler-and-allocator` §2).

use std::{collections::BTreeMap, sync::Arc};

use protocol::{
    id::{NodeId, ServiceId, TaskId},
    objects::{Node, Task, TaskState},
    wire::{self, port_config::PublishMode},
};

use super::resources::Resources;
use crate::store::View;

/// A port of the host, by protocol and number.
pub(crate) type HostPort = (i32, u32);

/// One node, with the tasks on it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) node: Arc<Node>,
    pub(crate) free: Resources,
    pub(crate) ports: BTreeMap<HostPort, u32>,
    /// Tasks that should run.
    pub(crate) active: u64,
    active_of: BTreeMap<ServiceId, u64>,
    tasks: BTreeMap<TaskId, Arc<Task>>,
}

/// All nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Nodes {
    places: BTreeMap<NodeId, Place>,
}

/// Whether a task takes room on its node.
fn counts(task: &Task) -> bool {
    !task.node_id.is_empty()
        && task.status.state > TaskState::PENDING
        && task.status.state <= TaskState::RUNNING
}

/// What a task has reserved.
pub(crate) fn reserved(task: &Task) -> wire::Resources {
    let requirements = task.spec.resources.as_ref();
    requirements.and_then(|requirements| requirements.reservations.clone()).unwrap_or_default()
}

/// The ports that a task takes on its host.
pub(crate) fn host_ports(task: &Task) -> impl Iterator<Item = HostPort> {
    let ports = task.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    let host = i32::from(PublishMode::Host);
    ports
        .filter(move |port| port.publish_mode == host && port.published_port != 0)
        .map(|port| (port.protocol, port.published_port))
}

impl Place {
    fn new(node: Arc<Node>) -> Self {
        let described = node.description.as_ref().and_then(|found| found.resources.as_ref());
        Self {
            free: Resources::of(described),
            node,
            ports: BTreeMap::new(),
            active: 0,
            active_of: BTreeMap::new(),
            tasks: BTreeMap::new(),
        }
    }

    /// How many tasks of a service should run here.
    pub(crate) fn active_of(&self, service: &ServiceId) -> u64 {
        self.active_of.get(service).copied().unwrap_or_default()
    }

    fn add(&mut self, task: &Arc<Task>) {
        self.remove(&task.id);
        self.free.reserve(&reserved(task), &task.assigned_generic_resources);
        for port in host_ports(task) {
            *self.ports.entry(port).or_default() += 1;
        }
        if is_active(task) {
            self.active += 1;
            *self.active_of.entry(task.service_id.clone()).or_default() += 1;
        }
        self.tasks.insert(task.id.clone(), task.clone());
    }

    fn remove(&mut self, id: &TaskId) {
        let Some(task) = self.tasks.remove(id) else { return };
        self.free.release(&reserved(&task), &task.assigned_generic_resources);
        for port in host_ports(&task) {
            decrease(&mut self.ports, &port);
        }
        if is_active(&task) {
            self.active -= 1;
            decrease(&mut self.active_of, &task.service_id);
        }
    }
}

fn is_active(task: &Task) -> bool {
    task.desired_state <= TaskState::COMPLETE
}

fn decrease<K: Ord, N: Copy + From<u8> + std::ops::SubAssign + PartialEq>(
    counts: &mut BTreeMap<K, N>,
    key: &K,
) {
    if let Some(count) = counts.get_mut(key) {
        *count -= N::from(1);
        if *count == N::from(0) {
            counts.remove(key);
        }
    }
}

impl Nodes {
    /// All nodes of a store, with their tasks.
    pub(crate) fn of(view: &View) -> Self {
        let mut nodes = Self::default();
        for node in view.nodes() {
            nodes.put(view, node);
        }
        nodes
    }

    /// Every node, by id.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.values()
    }

    pub(crate) fn place(&self, id: &NodeId) -> Option<&Place> {
        self.places.get(id)
    }

    /// Takes a node as it is now, with the tasks that the store and the scheduler have put there.
    pub(crate) fn put(&mut self, view: &View, node: &Arc<Node>) {
        let mut place = Place::new(node.clone());
        let known = self.places.remove(&node.id).map(|place| place.tasks).unwrap_or_default();
        let stored = view.tasks_on_node(&node.id).filter(|task| counts(task));
        known.values().chain(stored).for_each(|task| place.add(task));
        self.places.insert(node.id.clone(), place);
    }

    /// A node is gone.
    pub(crate) fn remove(&mut self, id: &NodeId) {
        self.places.remove(id);
    }

    /// Counts a task on its node, or does not any more. Returns whether the node has more room.
    pub(crate) fn replace(&mut self, before: Option<&Task>, after: Option<&Arc<Task>>) -> bool {
        let before = before.filter(|task| counts(task));
        let after = after.filter(|task| counts(task));
        if let Some(place) = before.and_then(|task| self.places.get_mut(&task.node_id)) {
            place.remove(&before.expect("just found").id);
        }
        if let Some(task) = after
            && let Some(place) = self.places.get_mut(&task.node_id)
        {
            place.add(task);
        }
        before.is_some() && after.is_none_or(|task| !is_active(task))
    }
}
