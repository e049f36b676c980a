//! Whether and when a task that ended is replaced: restart policies with their defaults
//! (`orchestration` §2, §5.2).
//!
//! How often a slot was restarted is read off its tasks: all that were made from one version of
//! the spec, but the first. The reaper keeps as many as `max_attempts` needs, so a new leader
//! counts as the old one did.

use std::{sync::Arc, time::Duration};

use protocol::{
    objects::{Task, TaskState},
    wire::{TaskSpec, restart_policy::RestartCondition},
};

use super::{moment, task::stamp};

const DELAY_DEFAULT: Duration = Duration::from_secs(5);

/// How long to wait before the replacement of a task starts.
pub(super) fn restart_delay(spec: &TaskSpec) -> Duration {
    let delay = spec.restart.as_ref().and_then(|restart| restart.delay.as_ref());
    moment::duration(delay).unwrap_or(DELAY_DEFAULT)
}

/// Whether a task that ended is replaced. `slot` holds all tasks of its slot, itself included.
pub(super) fn should_restart<'t>(
    task: &Task,
    slot: impl IntoIterator<Item = &'t Arc<Task>>,
) -> bool {
    let Some(restart) = &task.spec.restart else { return true };
    match restart.condition() {
        RestartCondition::None => return false,
        RestartCondition::OnFailure if task.status.state == TaskState::COMPLETE => return false,
        RestartCondition::OnFailure | RestartCondition::Any => {}
    }
    if restart.max_attempts == 0 {
        return true;
    }
    let window = moment::duration(restart.window.as_ref()).filter(|window| !window.is_zero());
    let restarts = restarts(task, slot);
    let ended = stamp(task);
    let counted = match window {
        Some(window) if ended != i128::MIN => {
            let began = ended.saturating_sub_unsigned(window.as_nanos());
            restarts.iter().filter(|restart| began < **restart && **restart < ended).count()
        }
        Some(_) | None => restarts.len(),
    };
    (counted as u64) < restart.max_attempts
}

/// When the replacements of a slot were made, under the version of the spec that `task` has.
fn restarts<'t>(task: &Task, slot: impl IntoIterator<Item = &'t Arc<Task>>) -> Vec<i128> {
    let mut created: Vec<_> = slot
        .into_iter()
        .filter(|other| other.spec_version == task.spec_version)
        .map(|other| other.meta.created_at.as_ref().map_or(i128::MIN, moment::nanos))
        .collect();
    created.sort_unstable();
    created.drain(..1.min(created.len()));
    created
}
