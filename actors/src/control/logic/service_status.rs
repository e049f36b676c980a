//! How many tasks of a service run, should run, and have completed (validation.md §4,
//! `ListServiceStatuses`).

use protocol::{
    id::ServiceId,
    objects::{Service, Task, TaskState},
    wire::{list_service_statuses_response::ServiceStatus, service_spec::Mode},
};

use crate::store::View;

/// Counts the tasks of one service; of one that does not exist there are none.
pub fn count(view: &View, id: &str) -> ServiceStatus {
    let mut status = ServiceStatus { service_id: id.to_owned(), ..ServiceStatus::default() };
    let Some(service) = view.service(&ServiceId::from(id)) else { return status };
    let mode = service.spec.mode.as_ref();
    match mode {
        Some(Mode::Replicated(mode)) => status.desired_tasks = mode.replicas,
        Some(Mode::ReplicatedJob(mode)) => status.desired_tasks = mode.max_concurrent,
        Some(Mode::Global(_) | Mode::GlobalJob(_)) | None => {}
    }
    for task in view.tasks_of_service(&service.id).filter(|task| belongs(service, task)) {
        let state = task.status.state;
        status.running_tasks += u64::from(state == TaskState::RUNNING);
        status.completed_tasks += u64::from(state == TaskState::COMPLETE);
        let is_desired = match mode {
            Some(Mode::Global(_)) => task.desired_state == TaskState::RUNNING,
            Some(Mode::GlobalJob(_)) => {
                task.desired_state == TaskState::RUNNING
                    || task.desired_state == TaskState::COMPLETE && state != TaskState::COMPLETE
            }
            Some(Mode::Replicated(_) | Mode::ReplicatedJob(_)) | None => false,
        };
        status.desired_tasks += u64::from(is_desired);
    }
    status
}

/// Of a job only the current run counts.
fn belongs(service: &Service, task: &Task) -> bool {
    let iteration = |version: Option<u64>| version.unwrap_or(0);
    match service.spec.mode {
        Some(Mode::ReplicatedJob(_) | Mode::GlobalJob(_)) => {
            let current = service.job_status.and_then(|status| status.job_iteration);
            iteration(task.job_iteration) == iteration(current.map(|version| version.index))
        }
        Some(Mode::Replicated(_) | Mode::Global(_)) | None => true,
    }
}
