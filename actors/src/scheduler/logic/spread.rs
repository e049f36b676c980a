//! The nodes that can run a task, in the order in which they get one: within the values of the
//! labels that are spread over, and among the nodes with equal values (`scheduler-and-allocator`
//! §6).
//!
//! One task after the other goes to the value that has the fewest, which fills them up evenly, and
//! there to the best node. A value none of whose nodes has room is passed over, so it ends.

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::NodeId;

use super::places::Seat;

/// A node's place in the order, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) failures: usize,
    pub(crate) of_service: u64,
    pub(crate) active: u64,
    pub(crate) node: Precedence,
    pub(crate) seat: Seat,
}

/// Where a node stands among equals: in the order of ids. It has the first bytes of the id alone, of
/// which a random one has 82 bits there, as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Precedence(u128);

impl Precedence {
    pub(crate) fn of(node: &NodeId) -> Self {
        let mut first = [0; 16];
        first.iter_mut().zip(node.as_str().bytes()).for_each(|(byte, of_id)| *byte = of_id);
        Self(u128::from_be_bytes(first))
    }
}

/// The values of a node, one for each label that is spread over.
pub(crate) type Path = Box<[String]>;

/// A vertex of the tree: all nodes with the same values of the first so many labels.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Spread {
    /// Tasks of the service below, on full nodes too.
    tasks: u64,
    /// At a leaf: those that can run one more.
    nodes: BTreeSet<Rank>,
    below: BTreeMap<String, Spread>,
    /// The values that have a node with room, those with fewer tasks first.
    open: BTreeSet<(u64, String)>,
}

impl Spread {
    /// Lets a node take part.
    pub(crate) fn insert(&mut self, path: &[String], rank: Rank) {
        self.at(path, &mut |leaf| {
            leaf.nodes.insert(rank);
        });
    }

    /// Lets it take part no longer.
    pub(crate) fn remove(&mut self, path: &[String], rank: &Rank) {
        self.at(path, &mut |leaf| {
            leaf.nodes.remove(rank);
        });
    }

    /// Notes that a node has other tasks of the service than before.
    pub(crate) fn count(&mut self, path: &[String], before: u64, after: u64) {
        if before != after {
            self.at(path, &mut |vertex| vertex.tasks = vertex.tasks - before + after);
        }
    }

    /// Changes the leaf of a path; a change of `tasks` is seen by every vertex above it.
    fn at(&mut self, path: &[String], change: &mut impl FnMut(&mut Self)) {
        let Some((value, rest)) = path.split_first() else { return change(self) };
        if !self.below.contains_key(value) {
            self.below.insert(value.clone(), Self::default());
        }
        let below = self.below.get_mut(value).expect("it was put there");
        let (tasks, was_open) = (below.tasks, below.is_open());
        below.at(rest, change);
        let (now, is_open) = (below.tasks, below.is_open());
        if was_open && (!is_open || tasks != now) {
            self.open.remove(&(tasks, value.clone()));
        }
        if is_open && (!was_open || tasks != now) {
            self.open.insert((now, value.clone()));
        }
        if !is_open && now == 0 {
            self.below.remove(value);
        }
        self.tasks = self.tasks - tasks + now;
    }

    fn is_open(&self) -> bool {
        !self.nodes.is_empty() || !self.open.is_empty()
    }

    /// How many nodes can run one more task.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len() + self.below.values().map(Self::len).sum::<usize>()
    }

    /// The first node in the order that is accepted.
    pub(crate) fn find<T>(&self, accept: &mut impl FnMut(&Rank) -> Option<T>) -> Option<T> {
        let node = self.nodes.iter().find_map(&mut *accept);
        node.or_else(|| self.open.iter().find_map(|(_, value)| self.below[value].find(accept)))
    }
}
