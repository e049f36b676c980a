//! ORCH: a slot has one task that runs or is to run, whatever is still in flight when a loop
//! decides.

use std::collections::BTreeMap;

use actors::store::View;
use protocol::objects::TaskState;

use crate::counts::Counts;

/// Looks at one view.
pub fn check(view: &View, counts: &Counts) {
    let mut taken = BTreeMap::new();
    for task in view.tasks().filter(|task| task.desired_state <= TaskState::RUNNING) {
        let other = taken.insert((&task.service_id, task.slot), &task.id);
        if let Some(other) = other {
            panic!(
                "slots: {} and {other} are both to run in slot {} of {}, at index {}",
                task.id,
                task.slot,
                task.service_id,
                view.index()
            );
        }
        counts.count("check: one task per slot");
    }
}

#[cfg(test)]
mod tests {
    use super::super::restarts::testing::{task, view};
    use super::*;

    #[test]
    #[should_panic(expected = "are both to run in slot 1 of s")]
    fn a_slot_that_is_taken_twice_is_found() {
        let running = TaskState::RUNNING;
        let counts = Counts::default();
        check(
            &view([task("a", 1, TaskState::SHUTDOWN, running), task("b", 1, running, running)]),
            &counts,
        );
        check(&view([task("a", 1, running, running), task("b", 1, running, running)]), &counts);
    }
}
