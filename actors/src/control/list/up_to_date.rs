//! Whether a task is what its service asks for now (orchestration.md §4).

use protocol::{
    constraint::Constraint,
    objects::{Service, Task, TaskState},
    wire::{TaskSpec, task_spec::Runtime},
};

use crate::store::View;

/// Whether a task was made from what its service asks for now, or from what comes to the same.
pub(super) fn is_up_to_date(view: &View, task: &Task) -> bool {
    let Some(service) = view.service(&task.service_id) else { return false };
    if service.spec_version.is_some() && service.spec_version == task.spec_version {
        return true;
    }
    let Some(wanted) = service.task_spec() else { return false };
    let (mut wanted, mut actual) = (wanted.clone(), TaskSpec::clone(&task.spec));
    // Who may pull the image does not matter once it was pulled.
    let has_image = task.desired_state <= TaskState::RUNNING
        && (TaskState::READY..=TaskState::RUNNING).contains(&task.status.state);
    if has_image {
        forget_pull_options(&mut wanted);
        forget_pull_options(&mut actual);
    }
    if is_placed_as_wanted(view, task, &wanted) {
        wanted.placement = None;
        actual.placement = None;
    }
    wanted == actual && is_endpoint_wanted(service, task)
}

/// Whether the node of a task satisfies what its service asks of nodes now.
fn is_placed_as_wanted(view: &View, task: &Task, wanted: &TaskSpec) -> bool {
    let constraints = wanted.placement.as_ref().map_or(&[][..], |found| &found.constraints);
    let Some(node) = view.node(&task.node_id) else { return false };
    Constraint::parse_all(constraints)
        .is_ok_and(|constraints| constraints.iter().all(|constraint| constraint.matches(node)))
}

fn forget_pull_options(spec: &mut TaskSpec) {
    if let Some(Runtime::Container(container)) = &mut spec.runtime {
        container.pull_options = None;
    }
}

fn is_endpoint_wanted(service: &Service, task: &Task) -> bool {
    task.endpoint.as_ref().is_none_or(|endpoint| endpoint.spec == service.spec.endpoint)
}
