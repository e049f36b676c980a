//! What nodes have said and is not written yet, and what of it is written
//! (cluster-security-dispatch §11).

use std::{
    collections::{BTreeMap, BTreeSet},
    iter, mem,
    sync::Arc,
};

use prost::Message;
use prost_types::Timestamp;
use protocol::{
    id::{NodeId, TaskId},
    objects::{Node, SharedNodeId, Task, TaskState, TaskStatus},
    wire::{self, node_status::State},
};

use crate::{
    agenda::Room,
    store::{CHANGES_PER_TRANSACTION, Error, Transaction, View},
};

/// So many updates do not wait for the time to write.
pub(crate) const UPDATES_MAX: usize = 10_000;

/// What a task says whose node was removed.
const REMOVED: &str = "Task belonged to a node that has been deleted";

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
    pub(crate) by: SharedNodeId,
    /// The time.
    pub(crate) at: Timestamp,
}

/// The newest of every task and node that waits to be written.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    tasks: BTreeMap<TaskId, TaskStatus>,
    nodes: BTreeMap<NodeId, NodeChange>,
    /// Lost and removed nodes whose tasks are given up.
    orphans: BTreeSet<NodeId>,
}

/// What one transaction writes, or as much of it as there is room for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    /// Statuses of tasks.
    Tasks(Vec<(TaskId, TaskStatus)>),
    /// Changes of nodes.
    Nodes(Vec<(NodeId, NodeChange)>),
    /// Tasks of a node that is lost or removed.
    Orphans(NodeId),
}

impl Part {
    /// Whether somebody waits for it to be written.
    pub(crate) fn is_awaited(&self) -> bool {
        matches!(self, Self::Nodes(_))
    }

    /// The task or node of its first write.
    pub(crate) fn first(&self) -> Option<&str> {
        match self {
            Self::Tasks(tasks) => tasks.first().map(|(id, _)| id.as_str()),
            Self::Nodes(nodes) => nodes.first().map(|(id, _)| id.as_str()),
            Self::Orphans(node) => Some(node.as_str()),
        }
    }

    /// Takes out what made the transaction too large: only its first write may be larger than there
    /// is room for. Returns what is left to write.
    pub(crate) fn without_first(self) -> Option<Self> {
        let left = match self {
            Self::Tasks(tasks) => Self::Tasks(tasks.into_iter().skip(1).collect()),
            Self::Nodes(nodes) => Self::Nodes(nodes.into_iter().skip(1).collect()),
            Self::Orphans(_) => return None,
        };
        left.unless_empty()
    }

    fn unless_empty(self) -> Option<Self> {
        let is_empty = match &self {
            Self::Tasks(tasks) => tasks.is_empty(),
            Self::Nodes(nodes) => nodes.is_empty(),
            Self::Orphans(_) => false,
        };
        (!is_empty).then_some(self)
    }
}

impl Intake {
    /// Takes the status of a task; the last one counts, unless it is lower. What was answered may
    /// not be undone by a repetition that is late.
    pub(crate) fn report(&mut self, task: TaskId, status: TaskStatus) {
        let waiting = self.tasks.entry(task).or_insert_with(|| status.clone());
        if status.state >= waiting.state {
            *waiting = status;
        }
    }

    /// Takes a change of a node; the last one counts, with the last description.
    pub(crate) fn change(&mut self, node: NodeId, mut change: NodeChange) {
        if let Some(earlier) = self.nodes.remove(&node) {
            change.addr = change.addr.or(earlier.addr);
            change.description = change.description.or(earlier.description);
        }
        self.nodes.insert(node, change);
    }

    /// Gives up the tasks of a node that is lost or removed.
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
        let Self { tasks, nodes, orphans } = mem::take(self);
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
                for (id, earlier) in tasks {
                    let newer = self.tasks.insert(id.clone(), earlier);
                    if let Some(newer) = newer {
                        self.report(id, newer);
                    }
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
    iter::from_fn(move || {
        let chunk: Vec<_> = rest.by_ref().take(CHANGES_PER_TRANSACTION).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Writes one part; returns what of it there was no room for.
pub(crate) fn write(
    tx: &mut Transaction,
    part: Part,
    stamp: &Stamp,
) -> Result<Option<Part>, Error> {
    let mut room = Room::new();
    match part {
        Part::Tasks(tasks) => {
            let mut tasks = tasks.into_iter();
            for (id, status) in tasks.by_ref() {
                let changed = tx.task(&id).and_then(|task| with_status(task, &status, stamp));
                let Some(task) = changed else { continue };
                if !room.take([&task]) {
                    let left = iter::once((id, status)).chain(tasks).collect();
                    return Ok(Some(Part::Tasks(left)));
                }
                tx.update(task)?;
            }
            Ok(None)
        }
        Part::Nodes(nodes) => {
            let mut nodes = nodes.into_iter();
            for (id, change) in nodes.by_ref() {
                let changed = tx.node(&id).and_then(|node| with_change(node, &change));
                let Some(node) = changed else { continue };
                if !room.take_other(wire::Node::from(&node).encoded_len()) {
                    let left = iter::once((id, change)).chain(nodes).collect();
                    return Ok(Some(Part::Nodes(left)));
                }
                tx.update(node)?;
            }
            Ok(None)
        }
        Part::Orphans(node) => {
            let is_removed = match tx.node(&node).map(|node| node.status.state()) {
                None => true,
                Some(State::Down) => false,
                // It came back: what it runs now is not lost.
                Some(State::Unknown | State::Ready | State::Disconnected) => return Ok(None),
            };
            let lost = tx.tasks_on_node(&node).filter(|task| is_lost(task, is_removed));
            let mut written = Vec::new();
            let mut is_whole = true;
            for task in lost.map(|task| given_up(task, is_removed, stamp)) {
                is_whole = room.take([&task]);
                if !is_whole {
                    break;
                }
                written.push(task);
            }
            written.into_iter().try_for_each(|task| tx.update(task))?;
            Ok((!is_whole).then_some(Part::Orphans(node)))
        }
    }
}

/// The task with a status that its node reported; none when it is no news (orchestration §1).
fn with_status(task: &Task, status: &TaskStatus, stamp: &Stamp) -> Option<Task> {
    let lower = status.state < task.status.state && !planted!(StatusFalls);
    // The stored status also says who wrote it, which no node does.
    let status = TaskStatus {
        applied_by: task.status.applied_by.clone(),
        applied_at: task.status.applied_at,
        ..status.clone()
    };
    if lower || status == task.status {
        return None;
    }
    let status = TaskStatus { applied_by: stamp.by.clone(), applied_at: Some(stamp.at), ..status };
    Some(Task { status, ..task.clone() })
}

fn with_change(node: &Node, change: &NodeChange) -> Option<Node> {
    let status = wire::NodeStatus {
        state: change.state.into(),
        message: change.message.to_owned(),
        addr: change.addr.as_ref().unwrap_or(&node.status.addr).clone(),
    };
    let description = change.description.as_ref().or(node.description.as_ref()).cloned();
    if status == node.status && description == node.description {
        return None;
    }
    Some(Node { status, description, ..node.clone() })
}

/// Whether a task is lost with its node. One that never came to a node which may still return is
/// not.
fn is_lost(task: &Task, is_removed: bool) -> bool {
    let state = task.status.state;
    state < TaskState::COMPLETE && (is_removed || state >= TaskState::ASSIGNED)
}

fn given_up(task: &Task, is_removed: bool, stamp: &Stamp) -> Task {
    let mut status = TaskStatus {
        state: TaskState::ORPHANED,
        timestamp: Some(stamp.at),
        applied_by: stamp.by.clone(),
        applied_at: Some(stamp.at),
        ..task.status.clone()
    };
    if is_removed {
        status.message = REMOVED.into();
    }
    Task { status, ..task.clone() }
}

/// The nodes that tasks are on although they were removed.
pub(crate) fn removed_nodes(view: &View) -> BTreeSet<NodeId> {
    let on_a_node = view.tasks().filter(|task| !task.node_id.is_empty());
    let lost = on_a_node.filter(|task| {
        task.status.state < TaskState::COMPLETE && view.node(&task.node_id).is_none()
    });
    lost.map(|task| task.node_id.clone()).collect()
}
