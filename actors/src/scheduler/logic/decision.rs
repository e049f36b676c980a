//! What is decided about one task, and how it is written on the head (`scheduler-and-allocator`
//! §7).

use std::sync::Arc;

use prost_types::Timestamp;
use protocol::{
    id::{NodeId, VolumeId},
    objects::{List, Task, TaskState, TaskStatus, Volume},
    wire::{GenericResource, VolumeAttachment, VolumePublishStatus, volume_publish_status::State},
};

use super::{filter::is_ready, volumes::is_active};
use crate::store::{Error, Transaction, View};

const ASSIGNED: &str = "scheduler assigned task to node";
const CONFIRMED: &str = "scheduler confirmed task can run on preassigned node";

/// What is decided about one task, as it was then.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The task; the decision only holds for this version of it.
    pub task: Arc<Task>,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// What becomes of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It runs on a node.
    Placed {
        /// Which; the one that it had already, if it had one.
        node: NodeId,
        /// What it gets of the node's generic resources.
        generic: List<GenericResource>,
        /// The volumes for its mounts.
        volumes: List<VolumeAttachment>,
    },
    /// It waits on, and is told why.
    Waits {
        /// Why.
        reason: Arc<str>,
    },
    /// It never had a node, and needs none any more.
    Stopped,
}

/// A volume that nobody on some nodes uses any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unused {
    /// Which.
    pub volume: VolumeId,
    /// Where.
    pub nodes: Vec<NodeId>,
}

impl Decision {
    /// The task as it is to be; `now` is when that was decided.
    pub(crate) fn result(&self, now: Timestamp) -> Task {
        let task = &*self.task;
        let status = TaskStatus { timestamp: Some(now), ..task.status.clone() };
        match &self.outcome {
            Outcome::Placed { node, generic, volumes } => {
                let message = if task.node_id.is_empty() { ASSIGNED } else { CONFIRMED };
                Task {
                    node_id: node.clone(),
                    status: TaskStatus {
                        state: TaskState::ASSIGNED,
                        message: message.into(),
                        err: "".into(),
                        ..status
                    },
                    assigned_generic_resources: generic.clone(),
                    volumes: volumes.clone(),
                    ..task.clone()
                }
            }
            Outcome::Waits { reason } => {
                Task { status: TaskStatus { err: reason.clone(), ..status }, ..task.clone() }
            }
            Outcome::Stopped => Task {
                status: TaskStatus { state: TaskState::SHUTDOWN, err: "".into(), ..status },
                ..task.clone()
            },
        }
    }
}

/// Makes the tasks as they are to be, away from the store's thread.
pub(crate) fn results(decisions: &[Decision], now: Timestamp) -> Vec<Arc<Task>> {
    decisions.iter().map(|decision| Arc::new(decision.result(now))).collect()
}

/// Writes the results of what still applies, and returns which do not.
pub(crate) fn write(
    head: &mut Transaction,
    decisions: &[Decision],
    results: Vec<Arc<Task>>,
) -> Result<Vec<usize>, Error> {
    let mut failed = Vec::new();
    for (position, (decision, result)) in decisions.iter().zip(results).enumerate() {
        if !can_be_had(head, &decision.outcome) {
            failed.push(position);
            continue;
        }
        match head.update(result) {
            Ok(()) => {}
            // It is gone, or not as it was.
            Err(Error::NotExist | Error::OutOfSequence) => {
                failed.push(position);
                continue;
            }
            Err(error) => return Err(error),
        }
        if let Outcome::Placed { node, volumes, .. } = &decision.outcome {
            for VolumeAttachment { id, .. } in &**volumes {
                publish(head, &id.as_str().into(), node)?;
            }
        }
    }
    Ok(failed)
}

/// Whether node and volumes are as they were.
fn can_be_had(head: &View, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Placed { node, volumes, .. } => {
            let spec =
                |id: &str| head.volume(&id.into()).and_then(|found| found.body.spec.as_ref());
            head.node(node).is_some_and(|node| is_ready(node))
                && volumes.iter().all(|one| spec(&one.id).is_some_and(is_active))
        }
        Outcome::Waits { .. } | Outcome::Stopped => true,
    }
}

/// Asks for a volume on a node, unless it is there or on its way.
fn publish(head: &mut Transaction, id: &VolumeId, node: &NodeId) -> Result<(), Error> {
    let Some(volume) = head.volume(id) else { return Err(Error::NotExist) };
    if volume.body.publish_status.iter().any(|entry| entry.node_id == node.as_str()) {
        return Ok(());
    }
    let mut body = (*volume.body).clone();
    let entry = VolumePublishStatus {
        node_id: node.into(),
        state: State::PendingPublish.into(),
        ..Default::default()
    };
    body.publish_status.push(entry);
    let volume = Volume { body: Arc::new(body), ..(**volume).clone() };
    head.update(volume)
}

/// Asks for volumes to be taken from nodes where nobody uses them.
pub(crate) fn unpublish(head: &mut Transaction, unused: &[Unused]) -> Result<(), Error> {
    for Unused { volume, nodes } in unused {
        let Some(volume) = head.volume(volume) else { continue };
        let mut body = (*volume.body).clone();
        for entry in &mut body.publish_status {
            let is_unused = nodes.iter().any(|node| node.as_str() == entry.node_id);
            if is_unused && entry.state() == State::Published {
                entry.set_state(State::PendingNodeUnpublish);
            }
        }
        if body != *volume.body {
            let volume = Volume { body: Arc::new(body), ..(**volume).clone() };
            head.update(volume)?;
        }
    }
    Ok(())
}
