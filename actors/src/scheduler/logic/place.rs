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
    nodes::{Nodes, Place},
};
use crate::agenda::Room;

const ASSIGNED: &str = "scheduler assigned task to node";

/// What is decided about one task: how it was, and how it is to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decision {
    pub(crate) before: Arc<Task>,
    pub(crate) after: Arc<Task>,
}

/// A node's place in the order, the best first.
type Rank = (usize, u64, u64, NodeId);

fn rank(place: &Place, service: &ServiceId, failures: usize) -> Rank {
    (failures, place.active_of(service), place.active, place.node.id.clone())
}

/// Gives each task of a group a node, and counts it there. A task that no node can run is told why,
/// unless it has been. Returns whether there was room for all of that.
///
/// Tasks of a group ask for the same, so the nodes are looked through once; every further placement
/// costs the logarithm of their number.
pub(crate) fn place(
    nodes: &mut Nodes,
    group: &[Arc<Task>],
    failures: &Failures,
    (now, time): (Instant, Timestamp),
    room: &mut Room,
) -> (Vec<Decision>, bool) {
    let Some(first) = group.first() else { return (Vec::new(), true) };
    let (asked, service) = (Requirements::of(first), &first.service_id);
    let fits = |place: &Place| asked.failed_by(place).is_none();
    let ranked = |place: &Place| rank(place, service, failures.against(&place.node.id, first, now));
    let mut order: BTreeSet<Rank> =
        nodes.places().filter(|place| fits(place)).map(ranked).collect();
    let mut decisions = Vec::new();
    let mut rest = group.iter().peekable();
    while let Some((_, _, _, node)) = order.pop_first() {
        let Some(task) = rest.peek() else { break };
        if !room.take([&***task]) {
            return (decisions, false);
        }
        let place = nodes.place(&node).expect("it was ranked");
        let after = Arc::new(assigned(task, place, &asked, time));
        nodes.replace(None, Some(&after));
        decisions.push(Decision { before: Arc::clone(task), after });
        rest.next();
        let place = nodes.place(&node).expect("a task was put there");
        if fits(place) {
            order.insert(ranked(place));
        }
    }
    if rest.peek().is_none() {
        return (decisions, true);
    }
    let reason: Arc<str> = explain(nodes, &asked).to_string().into();
    for task in rest.filter(|task| task.status.err != reason) {
        if !room.take([&**task]) {
            return (decisions, false);
        }
        let status =
            TaskStatus { err: reason.clone(), timestamp: Some(time), ..task.status.clone() };
        let after = Arc::new(Task { status, ..(**task).clone() });
        decisions.push(Decision { before: task.clone(), after });
    }
    (decisions, true)
}

fn assigned(task: &Task, place: &Place, asked: &Requirements<'_>, time: Timestamp) -> Task {
    let status = TaskStatus {
        state: TaskState::ASSIGNED,
        timestamp: Some(time),
        message: ASSIGNED.into(),
        err: "".into(),
        ..task.status.clone()
    };
    let claimed = place.free.choose(&asked.reserved().generic);
    Task {
        node_id: place.node.id.clone(),
        status,
        assigned_generic_resources: claimed.into(),
        ..task.clone()
    }
}

fn explain(nodes: &Nodes, asked: &Requirements<'_>) -> Explanation {
    let mut explanation = Explanation::default();
    nodes.places().filter_map(|place| asked.failed_by(place)).for_each(|filter| {
        explanation.count(filter);
    });
    explanation
}
