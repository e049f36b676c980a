//! Beginning anew with a whole store, a few objects at a time: nodes first, then the tasks that are
//! counted on them. What changes meanwhile is followed as far as it has been taken in, and found as
//! it is now where it has not.

use std::sync::Arc;

use protocol::{
    id::{NodeId, TaskId},
    objects::Task,
};

use super::{
    board::Board,
    places::{Places, Share, counts},
    queue::Queue,
    volumes::Volumes,
};
use crate::store::View;

/// How much of the store is on the board.
#[derive(Debug, Default)]
pub(super) enum Intake {
    /// The nodes up to this one, and no task. What is promised is not counted.
    Nodes(Option<NodeId>),
    /// All nodes, what is promised, and the tasks up to this one.
    Tasks(Option<TaskId>),
    /// All of it.
    #[default]
    Done,
}

impl Intake {
    /// Whether a node has been taken in, if it was there.
    pub(super) fn has_node(&self, id: &NodeId) -> bool {
        match self {
            Self::Nodes(last) => last.as_ref().is_some_and(|last| id <= last),
            Self::Tasks(_) | Self::Done => true,
        }
    }

    /// Whether a task has been taken in, if it was there.
    pub(super) fn has_task(&self, id: &TaskId) -> bool {
        match self {
            Self::Nodes(_) => false,
            Self::Tasks(last) => last.as_ref().is_some_and(|last| id <= last),
            Self::Done => true,
        }
    }

    /// Whether what is promised counts on its nodes.
    pub(super) fn counts_promises(&self) -> bool {
        match self {
            Self::Nodes(_) => false,
            Self::Tasks(_) | Self::Done => true,
        }
    }
}

impl Board {
    /// Begins anew with a view. Promises that may still be kept are remembered. The view is taken
    /// in by [`Board::decide`], before it decides anything.
    pub fn resync(&mut self, view: View) {
        self.places = Places::default();
        self.volumes = Volumes::default();
        view.volumes().for_each(|volume| self.volumes.put(volume.clone()));
        self.queue = Queue::default();
        self.unwanted.clear();
        self.released = self.volumes.all().map(|volume| volume.id.clone()).collect();
        self.promises.retain(|id, promise| {
            view.task(id).is_some_and(|task| task.meta.version == promise.version)
        });
        self.intake = Intake::Nodes(None);
        self.view = view;
    }

    /// Whether the whole store is on the board.
    pub(super) fn is_taken_in(&self) -> bool {
        match self.intake {
            Intake::Nodes(_) | Intake::Tasks(_) => false,
            Intake::Done => true,
        }
    }

    /// Goes on taking in the store; each object is a step. Returns whether all of it is in.
    pub(super) fn take_in(&mut self, steps: &mut usize) -> bool {
        let view = self.view.clone();
        if let Intake::Nodes(last) = &self.intake {
            let last = last.clone();
            let nodes: Vec<_> = view.nodes_after(last.as_ref()).take(*steps).collect();
            for node in &nodes {
                self.places.put((*node).clone());
            }
            *steps -= nodes.len();
            if *steps == 0 {
                self.intake = Intake::Nodes(nodes.last().map(|node| node.id.clone()).or(last));
                return false;
            }
            for (id, promise) in &self.promises {
                self.places.add(&promise.node, &promise.share());
                self.volumes.reserve(id, &promise.node, &promise.kind, &promise.volumes);
            }
            self.intake = Intake::Tasks(None);
        }
        if let Intake::Tasks(last) = &self.intake {
            let last = last.clone();
            let mut newest = None;
            for task in view.tasks_after(last.as_ref()).take(*steps) {
                *steps -= 1;
                self.take_in_task(&view, task);
                newest = Some(task);
            }
            if *steps == 0 {
                self.intake = Intake::Tasks(newest.map(|task| task.id.clone()).or(last));
                return false;
            }
            self.intake = Intake::Done;
        }
        true
    }

    fn take_in_task(&mut self, view: &View, task: &Arc<Task>) {
        if counts(task) {
            self.places.add(&task.node_id, &Share::of(task));
            self.volumes.reserve_for(task);
        } else if !self.promises.contains_key(&task.id) {
            Self::enqueue(&mut self.queue, &mut self.unwanted, view, task);
        }
    }
}
