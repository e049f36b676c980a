//! Which nodes have failed which service lately (`scheduler-and-allocator` §4).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use protocol::{
    id::{NodeId, ServiceId},
    objects::{Task, TaskState},
};

/// How long a failure counts.
const RECENT: Duration = Duration::from_secs(5 * 60);

/// From how many on a node is avoided; one more than that says nothing new.
const THRESHOLD: usize = 5;

/// How many are remembered of one service on one node.
const REMEMBERED: usize = 64;

/// The failures of the last minutes. A new leader begins without any.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    of_version: BTreeMap<(ServiceId, u64), OnNodes>,
}

/// When one version of a service failed, on which nodes.
#[derive(Debug, Default)]
pub(crate) struct OnNodes(BTreeMap<NodeId, VecDeque<Instant>>);

impl Failures {
    /// Notes that a task has failed on its node, if it just has.
    pub(crate) fn note(&mut self, before: &Task, after: &Task, now: Instant) {
        let failed = [TaskState::FAILED, TaskState::REJECTED].contains(&after.status.state);
        // A task that was made for its node is no news about where others should go.
        let is_bound = after.slot == 0 && !after.service_id.is_empty();
        if !failed || before.status.state >= TaskState::FAILED || is_bound {
            return;
        }
        let key = (after.service_id.clone(), version(after.spec_version));
        let on_nodes = self.of_version.entry(key).or_default();
        let times = on_nodes.0.entry(after.node_id.clone()).or_default();
        times.push_back(now);
        if times.len() > REMEMBERED {
            times.pop_front();
        }
    }

    /// The failures of one version of a service, if there were any.
    pub(crate) fn of(&self, service: &ServiceId, spec_version: Option<u64>) -> Option<&OnNodes> {
        self.of_version.get(&(service.clone(), version(spec_version)))
    }

    /// Forgets what is not recent. Returns the nodes that it has forgotten something of.
    pub(crate) fn forget_old(&mut self, now: Instant) -> BTreeSet<NodeId> {
        let mut nodes = BTreeSet::new();
        self.of_version.retain(|_, on_nodes| {
            on_nodes.0.retain(|node, times| {
                let before = times.len();
                times.retain(|time| now.duration_since(*time) < RECENT);
                if times.len() < before {
                    nodes.insert(node.clone());
                }
                !times.is_empty()
            });
            !on_nodes.0.is_empty()
        });
        nodes
    }
}

impl OnNodes {
    /// How many recent failures count against a node; none below the threshold.
    pub(crate) fn against(&self, node: &NodeId, now: Instant) -> usize {
        let times = self.0.get(node).into_iter().flatten();
        let recent = times.filter(|time| now.duration_since(**time) < RECENT).count();
        if recent < THRESHOLD { 0 } else { recent }
    }

    /// The nodes that it failed on so often that it counts, or has counted.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.0.iter().filter(|(_, times)| times.len() >= THRESHOLD).map(|(node, _)| node)
    }
}

/// Tasks without a version of their spec count together.
fn version(spec_version: Option<u64>) -> u64 {
    spec_version.unwrap_or_default()
}
