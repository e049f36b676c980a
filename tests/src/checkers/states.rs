//! ORCH, DISP-4: what a task is, and what it should be, only grows.

use std::collections::BTreeMap;

use actors::store::View;
use protocol::{id::TaskId, objects::TaskState};

use crate::counts::Counts;

/// What every task was last seen as: what it should be, and what it is.
#[derive(Default)]
pub struct States {
    seen: BTreeMap<TaskId, (TaskState, TaskState)>,
}

impl States {
    /// Looks at one view, which is newer than the last.
    pub fn check(&mut self, view: &View, counts: &Counts) {
        let mut seen = BTreeMap::new();
        for task in view.tasks() {
            let now = (task.desired_state, task.status.state);
            if let Some(before) = self.seen.get(&task.id) {
                let grows = before.0 <= now.0 && before.1 <= now.1;
                assert!(grows, "states: {} was {before:?}, and is {now:?}", task.id);
                counts.count("check: states of tasks grow");
            }
            seen.insert(task.id.clone(), now);
        }
        self.seen = seen;
    }
}

#[cfg(test)]
mod tests {
    use super::super::restarts::testing::{task, view};
    use super::*;

    #[test]
    #[should_panic(expected = "states: a was ")]
    fn a_state_that_falls_is_found() {
        let (mut states, counts) = (States::default(), Counts::default());
        let (running, shutdown) = (TaskState::RUNNING, TaskState::SHUTDOWN);
        states.check(&view([task("a", 1, running, running)]), &counts);
        states.check(&view([task("a", 1, shutdown, running)]), &counts);
        states.check(&view([task("a", 1, shutdown, TaskState::READY)]), &counts);
    }
}
