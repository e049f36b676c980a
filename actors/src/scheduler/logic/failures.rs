//! Which nodes have failed which service lately (`scheduler-and-allocator` §4).

use std::{
    collections::{BTreeMap, VecDeque},
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
    times: BTreeMap<(NodeId, ServiceId, u64), VecDeque<Instant>>,
}

impl Failures {
    /// Notes that a task has failed on its node, if it just has.
    pub(crate) fn note(&mut self, before: &Task, after: &Task, now: Instant) {
        let failed = [TaskState::FAILED, TaskState::REJECTED].contains(&after.status.state);
        if !failed || before.status.state >= TaskState::FAILED {
            return;
        }
        let key = (after.node_id.clone(), after.service_id.clone(), version(after));
        let times = self.times.entry(key).or_default();
        times.push_back(now);
        if times.len() > REMEMBERED {
            times.pop_front();
        }
    }

    /// How many recent failures count against a node; none below the threshold.
    pub(crate) fn against(&self, node: &NodeId, task: &Task, now: Instant) -> usize {
        let key = (node.clone(), task.service_id.clone(), version(task));
        let times = self.times.get(&key).into_iter().flatten();
        let recent = times.filter(|time| now.duration_since(**time) < RECENT).count();
        if recent < THRESHOLD { 0 } else { recent }
    }

    /// Forgets what is not recent.
    pub(crate) fn forget_old(&mut self, now: Instant) {
        self.times.retain(|_, times| {
            times.retain(|time| now.duration_since(*time) < RECENT);
            !times.is_empty()
        });
    }
}

/// Tasks without a version of their spec count together.
fn version(task: &Task) -> u64 {
    task.spec_version.unwrap_or_default()
}
