//! Which node each task of a group gets (`scheduler-and-allocator` §6, §7).

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use prost_types::Timestamp;
use protocol::{
    id::{NodeId, ServiceId},
    objects::{Task, TaskState, TaskStatus},
};

use super::{
    failures::Failures,
    filter::{Explanation, Requirements},
    nodes::{Nodes, Room},
};

const ASSIGNED: &str = "scheduler assigned task to node";

/// What is decided about one task: how it was, and how it is to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decision {
    pub(crate) before: Arc<Task>,
    pub(crate) after: Arc<Task>,
}

/// A node's place in the order, the best first.
type Rank = (usize, u64, u64, NodeId);

fn rank(room: &Room, service: &ServiceId, failures: usize) -> Rank {
    (failures, room.active_of(service), room.active, room.node.id.clone())
}

/// Gives each task of a group a node, and counts it there. A task that no node can run is told why,
/// unless it has been.
///
/// Tasks of a group ask for the same, so the nodes are looked through once; every further placement
/// costs the logarithm of their number.
pub(crate) fn place(
    nodes: &mut Nodes,
    group: &[Arc<Task>],
    failures: &Failures,
    (now, time): (Instant, Timestamp),
) -> Vec<Decision> {
    let Some(first) = group.first() else { return Vec::new() };
    let (asked, service) = (Requirements::of(first), &first.service_id);
    let fits = |room: &Room| asked.failed_by(room).is_none();
    let ranked = |room: &Room| rank(room, service, failures.against(&room.node.id, first, now));
    let mut order: BTreeSet<Rank> = nodes.rooms().filter(|room| fits(room)).map(ranked).collect();
    let mut decisions = Vec::with_capacity(group.len());
    let mut rest = group.iter();
    while let Some((_, _, _, node)) = order.pop_first() {
        let Some(task) = rest.next() else { break };
        let room = nodes.room(&node).expect("it was ranked");
        let after = Arc::new(assigned(task, room, &asked, time));
        nodes.replace(None, Some(&after));
        decisions.push(Decision { before: task.clone(), after });
        let room = nodes.room(&node).expect("a task was put there");
        if fits(room) {
            order.insert(ranked(room));
        }
    }
    let left: Vec<_> = rest.collect();
    if !left.is_empty() {
        let reason: Arc<str> = explain(nodes, &asked).to_string().into();
        let untold = left.into_iter().filter(|task| task.status.err != reason);
        decisions.extend(untold.map(|task| {
            let status =
                TaskStatus { err: reason.clone(), timestamp: Some(time), ..task.status.clone() };
            let after = Arc::new(Task { status, ..(**task).clone() });
            Decision { before: task.clone(), after }
        }));
    }
    decisions
}

fn assigned(task: &Task, room: &Room, asked: &Requirements<'_>, time: Timestamp) -> Task {
    let status = TaskStatus {
        state: TaskState::ASSIGNED,
        timestamp: Some(time),
        message: ASSIGNED.into(),
        err: "".into(),
        ..task.status.clone()
    };
    let claimed = room.free.choose(&asked.reserved().generic);
    Task {
        node_id: room.node.id.clone(),
        status,
        assigned_generic_resources: claimed.into(),
        ..task.clone()
    }
}

fn explain(nodes: &Nodes, asked: &Requirements<'_>) -> Explanation {
    let mut explanation = Explanation::default();
    nodes.rooms().filter_map(|room| asked.failed_by(room)).for_each(|filter| {
        explanation.count(filter);
    });
    explanation
}
