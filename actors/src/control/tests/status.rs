//! How many tasks run, should run, and have completed.

use protocol::{
    objects::{Service, Task, TaskState},
    wire::{
        self, GlobalJob, GlobalService, JobStatus, ReplicatedJob, ReplicatedService, Version,
        service_spec::Mode,
    },
};

use super::{View, spec, write};
use crate::{control::logic::service_status::count, store};

/// A task by its desired and its observed state, and the run it belongs to.
type Row = (TaskState, TaskState, Option<u64>);

#[track_caller]
fn check(mode: Mode, iteration: Option<u64>, tasks: &[Row], expected: (u64, u64, u64)) {
    let job_iteration = iteration.map(|index| Version { index });
    let service = wire::Service {
        id: "s1".to_owned(),
        spec: Some(spec(|spec| spec.mode = Some(mode))),
        job_status: Some(JobStatus { job_iteration, last_execution: None }),
        ..wire::Service::default()
    };
    let view = write(&View::default(), |transaction| {
        transaction.create(Service::from(service))?;
        for (number, (desired_state, state, job_iteration)) in tasks.iter().enumerate() {
            let mut task = Task {
                id: format!("t{number}").into(),
                service_id: "s1".into(),
                desired_state: *desired_state,
                job_iteration: *job_iteration,
                ..Task::default()
            };
            task.status.state = *state;
            transaction.create(task)?;
        }
        Ok::<_, store::Error>(())
    })
    .unwrap();
    let status = count(&view, "s1");
    assert_eq!(status.service_id, "s1");
    assert_eq!((status.desired_tasks, status.running_tasks, status.completed_tasks), expected);
}

const RUNNING: TaskState = TaskState::RUNNING;
const COMPLETE: TaskState = TaskState::COMPLETE;
const SHUTDOWN: TaskState = TaskState::SHUTDOWN;

#[test]
fn services_that_run_on() {
    let replicated = Mode::Replicated(ReplicatedService { replicas: 3 });
    let tasks = [
        (RUNNING, RUNNING, None),
        (RUNNING, TaskState::STARTING, None),
        (SHUTDOWN, RUNNING, None),
        (SHUTDOWN, COMPLETE, None),
    ];
    check(replicated, None, &[], (3, 0, 0));
    check(replicated, None, &tasks, (3, 2, 1));
    check(Mode::Global(GlobalService {}), None, &tasks, (2, 2, 1));
}

#[test]
fn jobs_count_their_current_run() {
    let replicated = ReplicatedJob { max_concurrent: 2, total_completions: 5 };
    let tasks = [
        (COMPLETE, COMPLETE, None),
        (COMPLETE, RUNNING, Some(1)),
        (COMPLETE, COMPLETE, Some(1)),
        (RUNNING, TaskState::NEW, Some(1)),
    ];
    check(Mode::ReplicatedJob(replicated), Some(1), &tasks, (2, 1, 1));
    check(Mode::ReplicatedJob(replicated), None, &tasks, (2, 0, 1));
    check(Mode::GlobalJob(GlobalJob {}), Some(1), &tasks, (2, 1, 1));
}

#[test]
fn a_service_that_does_not_exist_has_none() {
    let status = count(&View::default(), "s9");
    assert_eq!((&*status.service_id, status.desired_tasks), ("s9", 0));
}
