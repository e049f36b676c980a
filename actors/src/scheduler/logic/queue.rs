//! The tasks that wait for a node, in lines of one kind each.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use protocol::{
    id::{NodeId, TaskId},
    objects::{Task, TaskState},
};

use super::{
    candidates::Candidates,
    kind::{Kind, Kinds},
};

/// How many nodes all lines together may know, at about 200 bytes each; with more they begin anew.
const KNOWN_MAX: usize = 500_000;

/// Whether a task waits for a node.
pub(crate) fn waits(task: &Task) -> bool {
    task.node_id.is_empty()
        && task.status.state == TaskState::PENDING
        && task.desired_state <= TaskState::COMPLETE
}

/// Whether a task has a node, and waits to hear whether it can run there.
pub(crate) fn waits_for_word(task: &Task) -> bool {
    !task.node_id.is_empty()
        && task.status.state == TaskState::PENDING
        && task.desired_state <= TaskState::COMPLETE
}

/// One task that waits, with its version: to place it, nothing else of it has to be looked at.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) task: Arc<Task>,
    pub(crate) version: u64,
}

impl Waiting {
    pub(crate) fn of(task: &Arc<Task>) -> Self {
        Self { task: task.clone(), version: task.meta.version }
    }
}

/// The tasks of one kind that wait.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// They have not been told why they wait, or something else than is true now.
    untold: BTreeMap<TaskId, Waiting>,
    told: BTreeMap<TaskId, Waiting>,
    /// What `told` have been told.
    reason: Arc<str>,
    pub(crate) candidates: Candidates,
}

/// Who waits, and who is to be looked at. Services come before tasks that stand alone.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    kinds: Kinds,
    lines: BTreeMap<Arc<Kind>, Line>,
    /// How many nodes the candidates of all lines know.
    known: usize,
    due: BTreeSet<Arc<Kind>>,
    /// Those that have a node already, by node.
    preassigned: BTreeMap<NodeId, BTreeMap<TaskId, Preassigned>>,
    /// The nodes whose tasks are to be looked at, and behind which of them.
    due_nodes: BTreeMap<NodeId, Option<TaskId>>,
}

/// A task that waits for word.
#[derive(Debug)]
struct Preassigned {
    task: Arc<Task>,
    /// What it was told last, which may not be committed yet.
    told: Option<Arc<str>>,
}

impl Line {
    /// The next task that is to get a node: the lowest id, told or not.
    pub(crate) fn pop(&mut self) -> Option<(TaskId, Waiting)> {
        let (untold, told) = (self.untold.first_key_value(), self.told.first_key_value());
        let from_told = match (untold, told) {
            (Some((untold, _)), Some((told, _))) => told < untold,
            (None, Some(_)) => true,
            (Some(_) | None, None) => false,
        };
        let line = if from_told { &mut self.told } else { &mut self.untold };
        line.pop_first()
    }

    /// One of those that wait; they all ask for the same.
    pub(crate) fn task(&self) -> Option<&Task> {
        let waiting = self.untold.values().chain(self.told.values()).next();
        waiting.map(|waiting| &*waiting.task)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.untold.is_empty() && self.told.is_empty()
    }

    /// From now on this is why they wait.
    pub(crate) fn explain(&mut self, reason: &str) {
        if *self.reason != *reason {
            self.reason = reason.into();
            self.untold.append(&mut self.told);
        }
    }

    /// The next task that has not been told, with what it is to be told. It counts as told.
    pub(crate) fn tell(&mut self) -> Option<(Arc<Task>, Arc<str>)> {
        let (id, waiting) = self.untold.pop_first()?;
        let task = waiting.task.clone();
        self.told.insert(id, waiting);
        Some((task, self.reason.clone()))
    }

    /// Lets everybody go.
    pub(crate) fn dismiss(&mut self) {
        self.untold.clear();
        self.told.clear();
    }

    pub(crate) fn is_told(&self) -> bool {
        self.untold.is_empty()
    }

    fn insert(&mut self, task: &Arc<Task>) {
        let is_told = !self.reason.is_empty() && task.status.err == self.reason;
        let line = if is_told { &mut self.told } else { &mut self.untold };
        line.insert(task.id.clone(), Waiting::of(task));
    }

    fn remove(&mut self, id: &TaskId) {
        if self.untold.remove(id).is_none() {
            self.told.remove(id);
        }
    }
}

impl Queue {
    /// What a task asks for.
    pub(crate) fn kind(&mut self, task: &Task) -> Arc<Kind> {
        self.kinds.of(task)
    }

    /// Lets a task wait, if it does.
    pub(crate) fn insert(&mut self, task: &Arc<Task>) {
        if waits(task) {
            let kind = self.kinds.of(task);
            match self.lines.get_mut(&kind) {
                Some(line) => line.insert(task),
                None => self.lines.entry(kind.clone()).or_default().insert(task),
            }
            self.due.insert(kind);
        } else if waits_for_word(task) {
            let of_node = self.preassigned.entry(task.node_id.clone()).or_default();
            of_node.insert(task.id.clone(), Preassigned { task: task.clone(), told: None });
            self.due_nodes.insert(task.node_id.clone(), None);
        }
    }

    /// Lets a task wait no longer.
    pub(crate) fn remove(&mut self, task: &Task) {
        if waits(task) {
            let kind = self.kinds.of(task);
            if let Some(line) = self.lines.get_mut(&kind) {
                line.remove(&task.id);
            }
        } else if waits_for_word(task)
            && let Some(of_node) = self.preassigned.get_mut(&task.node_id)
        {
            of_node.remove(&task.id);
            if of_node.is_empty() {
                self.preassigned.remove(&task.node_id);
            }
        }
    }

    /// Everybody is to be looked at: some node has more room, or has become another.
    pub(crate) fn all_due(&mut self) {
        let waiting = self.lines.iter().filter(|(_, line)| !line.is_empty());
        self.due = waiting.map(|(kind, _)| kind.clone()).collect();
        self.due_nodes = self.preassigned.keys().map(|node| (node.clone(), None)).collect();
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.due.is_empty() && self.due_nodes.is_empty()
    }

    /// The next node whose tasks wait for word, with so many of them at most. As long as there are
    /// more, it stays the next.
    pub(crate) fn next_node(&mut self, count: usize) -> Option<(NodeId, Vec<Arc<Task>>)> {
        let (node, after) = self.due_nodes.pop_first()?;
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        let all = self.preassigned.get(&node).into_iter();
        let mut rest = all.flat_map(|tasks| tasks.range((behind.clone(), Bound::Unbounded)));
        let tasks: Vec<_> = rest.by_ref().take(count).map(|(_, one)| one.task.clone()).collect();
        if rest.next().is_some() {
            let last = tasks.last().map(|task| task.id.clone());
            self.due_nodes.insert(node.clone(), last);
        }
        Some((node, tasks))
    }

    /// Notes why a task that has a node waits. Returns what it is to be told, unless that is what it
    /// was told last.
    pub(crate) fn tell_preassigned(&mut self, task: &Task, reason: &str) -> Option<Arc<str>> {
        let waiting = self.preassigned.get_mut(&task.node_id)?.get_mut(&task.id)?;
        if **waiting.told.as_ref().unwrap_or(&task.status.err) == *reason {
            return None;
        }
        Some(waiting.told.insert(reason.into()).clone())
    }

    /// Takes the next line that is to be looked at; it is given back with [`Self::put_back`].
    pub(crate) fn next_line(&mut self) -> Option<(Arc<Kind>, Line)> {
        let kind = self.due.pop_first()?;
        let line = self.lines.remove(&kind).unwrap_or_default();
        self.known -= line.candidates.len();
        Some((kind, line))
    }

    /// Gives a line back, and says whether it is to be looked at again.
    pub(crate) fn put_back(&mut self, kind: Arc<Kind>, line: Line, is_due: bool) {
        if self.known + line.candidates.len() > KNOWN_MAX {
            self.lines.retain(|_, line| !line.is_empty());
            self.lines.values_mut().for_each(|line| line.candidates = Candidates::default());
            self.known = 0;
        }
        if is_due {
            self.due.insert(kind.clone());
        } else if line.is_empty() && line.candidates.len() == 0 {
            // It knows nothing that would be worth keeping.
            return;
        }
        self.known += line.candidates.len();
        self.lines.insert(kind, line);
    }
}
