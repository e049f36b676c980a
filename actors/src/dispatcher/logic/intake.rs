//! What nodes have said and is not written yet, and what of it is written
//! (cluster-security-dispatch §11).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prost_types::Timestamp;
use protocol::{
    id::{NodeId, TaskId},
    objects::{Node, Task, TaskState, TaskStatus},
    wire::{self, node_status::State},
};

use crate::store::{CHANGES_PER_TRANSACTION, Error, Transaction};

/// So many updates do not wait for the time to write.
pub(crate) const UPDATES_MAX: usize = 10_000;

/// What becomes of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeChange {
    /// Its new state.
    pub(crate) state: State,
    /// Why.
    pub(crate) message: &'static str,
    /// Where it calls from; none leaves what is known.
    pub(crate) addr: Option<String>,
    /// What it says of itself; none leaves what is known.
    pub(crate) description: Option<Arc<wire::NodeDescription>>,
}

/// Who writes, and when.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    /// The leader.
    pub(crate) by: NodeId,
    /// The time.
    pub(crate) at: Timestamp,
}

/// The newest of every task and node that waits to be written.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    tasks: BTreeMap<TaskId, TaskStatus>,
    nodes: BTreeMap<NodeId, NodeChange>,
    /// Lost nodes whose tasks are given up.
    orphans: BTreeSet<NodeId>,
}

/// What one transaction writes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    /// Statuses of tasks.
    Tasks(Vec<(TaskId, TaskStatus)>),
    /// Changes of nodes.
    Nodes(Vec<(NodeId, NodeChange)>),
    /// Tasks of a lost node.
    Orphans(NodeId),
}

impl Intake {
    /// Takes the status of a task; the last one counts.
    pub(crate) fn report(&mut self, task: TaskId, status: TaskStatus) {
        self.tasks.insert(task, status);
    }

    /// Takes a change of a node; the last one counts, with the last description.
    pub(crate) fn change(&mut self, node: NodeId, mut change: NodeChange) {
        if let Some(earlier) = self.nodes.remove(&node) {
            change.addr = change.addr.or(earlier.addr);
            change.description = change.description.or(earlier.description);
        }
        self.nodes.insert(node, change);
    }

    /// Gives up the tasks of a lost node.
    pub(crate) fn orphan(&mut self, node: NodeId) {
        self.orphans.insert(node);
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.nodes.is_empty() && self.orphans.is_empty()
    }

    /// Whether so much waits that it is written at once.
    pub(crate) fn is_full(&self) -> bool {
        self.tasks.len() + self.nodes.len() >= UPDATES_MAX
    }

    /// Takes everything out, in the parts that one transaction each can write; nodes first, since
    /// their agents wait for it.
    pub(crate) fn take(&mut self) -> Vec<Part> {
        let Self { tasks, nodes, orphans } = std::mem::take(self);
        let mut parts = Vec::new();
        parts.extend(chunks(nodes).map(Part::Nodes));
        parts.extend(chunks(tasks).map(Part::Tasks));
        parts.extend(orphans.into_iter().map(Part::Orphans));
        parts
    }

    /// Takes back what could not be written. What came in meanwhile is newer.
    pub(crate) fn give_back(&mut self, part: Part) {
        match part {
            Part::Tasks(tasks) => {
                for (id, status) in tasks {
                    self.tasks.entry(id).or_insert(status);
                }
            }
            Part::Nodes(nodes) => {
                for (id, earlier) in nodes {
                    let newer = self.nodes.remove(&id);
                    self.nodes.insert(id.clone(), earlier);
                    if let Some(newer) = newer {
                        self.change(id, newer);
                    }
                }
            }
            Part::Orphans(node) => self.orphan(node),
        }
    }
}

fn chunks<K: Ord, V>(map: BTreeMap<K, V>) -> impl Iterator<Item = Vec<(K, V)>> {
    let mut rest = map.into_iter();
    std::iter::from_fn(move || {
        let chunk: Vec<_> = rest.by_ref().take(CHANGES_PER_TRANSACTION).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Writes one part; true means that more of it is left to write.
pub(crate) fn write(tx: &mut Transaction, part: Part, stamp: &Stamp) -> Result<bool, Error> {
    match part {
        Part::Tasks(tasks) => {
            for (id, status) in tasks {
                let changed = tx.task(&id).and_then(|task| with_status(task, status, stamp));
                changed.map_or(Ok(()), |task| tx.update(task))?;
            }
            Ok(false)
        }
        Part::Nodes(nodes) => {
            for (id, change) in nodes {
                let changed = tx.node(&id).and_then(|node| with_change(node, change));
                changed.map_or(Ok(()), |node| tx.update(node))?;
            }
            Ok(false)
        }
        Part::Orphans(node) => {
            let tasks: Vec<_> = tx
                .tasks_on_node(&node)
                .filter(|task| is_alive(task))
                .take(CHANGES_PER_TRANSACTION)
                .map(|task| given_up(task, stamp))
                .collect();
            let left = tasks.len() == CHANGES_PER_TRANSACTION;
            tasks.into_iter().try_for_each(|task| tx.update(task))?;
            Ok(left)
        }
    }
}

/// The task with a status that its node reported; none when it is no news (orchestration §1).
fn with_status(task: &Task, status: TaskStatus, stamp: &Stamp) -> Option<Task> {
    let lower = status.state < task.status.state;
    // The stored status also says who wrote it, which no node does.
    let status = TaskStatus {
        applied_by: task.status.applied_by.clone(),
        applied_at: task.status.applied_at,
        ..status
    };
    if lower || status == task.status {
        return None;
    }
    let status = TaskStatus { applied_by: stamp.by.clone(), applied_at: Some(stamp.at), ..status };
    Some(Task { status, ..task.clone() })
}

fn with_change(node: &Node, change: NodeChange) -> Option<Node> {
    let status = wire::NodeStatus {
        state: change.state.into(),
        message: change.message.to_owned(),
        addr: change.addr.unwrap_or_else(|| node.status.addr.clone()),
    };
    let description = change.description.or_else(|| node.description.clone());
    if status == node.status && description == node.description {
        return None;
    }
    Some(Node { status, description, ..node.clone() })
}

fn is_alive(task: &Task) -> bool {
    (TaskState::ASSIGNED..=TaskState::RUNNING).contains(&task.status.state)
}

fn given_up(task: &Task, stamp: &Stamp) -> Task {
    let status = TaskStatus {
        state: TaskState::ORPHANED,
        timestamp: Some(stamp.at),
        applied_by: stamp.by.clone(),
        applied_at: Some(stamp.at),
        ..task.status.clone()
    };
    Task { status, ..task.clone() }
}
