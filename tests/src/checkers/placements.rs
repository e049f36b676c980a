//! A task is placed once: the node that it has stays its node.

use std::collections::BTreeMap;

use actors::store::View;
use protocol::id::{NodeId, TaskId};

use crate::counts::Counts;

/// The node of every task that was ever seen with one.
#[derive(Default)]
pub struct Placements {
    nodes: BTreeMap<TaskId, NodeId>,
}

impl Placements {
    /// Looks at one view.
    pub fn check(&mut self, view: &View, counts: &Counts) {
        for task in view.tasks().filter(|task| !task.node_id.is_empty()) {
            let known = self.nodes.entry(task.id.clone()).or_insert_with(|| task.node_id.clone());
            assert_eq!(*known, task.node_id, "placements: {} was moved", task.id);
            counts.count("check: tasks stay on their nodes");
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::objects::TaskState;

    use super::super::restarts::testing::{task, view};
    use super::*;

    #[test]
    #[should_panic(expected = "placements: a was moved")]
    fn a_task_that_moves_is_found() {
        let (mut placements, counts) = (Placements::default(), Counts::default());
        let on = |node: &str| {
            let placed = task("a", 1, TaskState::RUNNING, TaskState::RUNNING);
            view([protocol::wire::Task { node_id: node.to_owned(), ..placed }])
        };
        placements.check(&on("one"), &counts);
        placements.check(&on("one"), &counts);
        placements.check(&on("other"), &counts);
    }
}
