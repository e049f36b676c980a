//! What a task does next, and what an operation makes of its status: the tables of executor §3 and
//! cluster-security-dispatch §15. Runs nothing.

use prost_types::Timestamp;
use protocol::wire::{self, TaskState};

use crate::agent::port::ExecutorError;

/// What can be asked of a controller, and what is done without one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Operation {
    /// Finds the controller.
    Resolve,
    /// Hands the changed task to the controller.
    Update,
    /// Only notes that the task is about to be prepared, started, or has been accepted.
    Advance(TaskState),
    /// Gets everything in place.
    Prepare,
    /// Starts it.
    Start,
    /// Waits for its end.
    Wait,
    /// Stops it.
    Shutdown,
    /// Stops what may still run of a task that has ended without that being seen to.
    End,
    /// Leaves nothing behind.
    Remove,
}

/// Returns the next operation of a resolved task, or nothing while it rests until its next change.
pub(crate) fn operation(observed: TaskState, desired: TaskState) -> Option<Operation> {
    if desired >= TaskState::Shutdown {
        return (observed < TaskState::Complete).then_some(Operation::Shutdown);
    }
    if observed > desired {
        return None;
    }
    match observed {
        // These three run on even when nothing further is desired: what has begun is finished.
        TaskState::Preparing => Some(Operation::Prepare),
        TaskState::Starting => Some(Operation::Start),
        TaskState::Running => Some(Operation::Wait),
        TaskState::New | TaskState::Pending | TaskState::Assigned if observed < desired => {
            Some(Operation::Advance(TaskState::Accepted))
        }
        TaskState::Accepted if observed < desired => Some(Operation::Advance(TaskState::Preparing)),
        TaskState::Ready if observed < desired => Some(Operation::Advance(TaskState::Starting)),
        TaskState::New
        | TaskState::Pending
        | TaskState::Assigned
        | TaskState::Accepted
        | TaskState::Ready
        | TaskState::Complete
        | TaskState::Shutdown
        | TaskState::Failed
        | TaskState::Rejected
        | TaskState::Remove
        | TaskState::Orphaned => None,
    }
}

/// What the controller knows beside the outcome, read when the operation has ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Runtime {
    /// Process id and exit code.
    pub(crate) container: Option<wire::ContainerStatus>,
    /// The host's ports.
    pub(crate) ports: Option<wire::PortStatus>,
}

/// How an operation ended, for whoever runs the next one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// The next operation may follow at once.
    Proceed,
    /// The same one is tried again after a while.
    Retry,
}

/// Writes into `status` what the ended operation means.
pub(crate) fn settle(
    status: &mut wire::TaskStatus,
    operation: Operation,
    result: Result<(), ExecutorError>,
    runtime: Runtime,
    now: Timestamp,
) -> Verdict {
    if operation == Operation::End {
        return if result.is_ok() { Verdict::Proceed } else { Verdict::Retry };
    }
    let before = status.clone();
    let mut exit_code = 0;
    let verdict = match result {
        Ok(()) | Err(ExecutorError::AlreadyPrepared | ExecutorError::AlreadyStarted) => {
            if let Some(state) = reached(operation, before.state()) {
                status.set_state(state);
                status.message = message(state).to_owned();
                status.err.clear();
            }
            Verdict::Proceed
        }
        Err(ExecutorError::TimedOut(_)) => Verdict::Retry,
        Err(error @ ExecutorError::Temporary(_)) => {
            if !has_ended(status.state()) {
                status.err = error.to_string();
            }
            Verdict::Retry
        }
        Err(error @ (ExecutorError::Exit { .. } | ExecutorError::Failed(_))) => {
            if let ExecutorError::Exit { code, .. } = error {
                exit_code = code;
            }
            fail(status, operation, &error.to_string());
            Verdict::Proceed
        }
    };
    attach(status, runtime, exit_code);
    // The time belongs to the change: repeating the same status must not look like news.
    if *status != before {
        status.timestamp = Some(now);
    }
    verdict
}

/// The state that success leads to; none where the operation is no step of the task.
fn reached(operation: Operation, before: TaskState) -> Option<TaskState> {
    match operation {
        Operation::Resolve => (before < TaskState::Accepted).then_some(TaskState::Accepted),
        Operation::Advance(state) => Some(state),
        Operation::Prepare => Some(TaskState::Ready),
        Operation::Start => Some(TaskState::Running),
        Operation::Wait => Some(TaskState::Complete),
        Operation::Shutdown => Some(TaskState::Shutdown),
        Operation::Update | Operation::Remove | Operation::End => None,
    }
}

/// Returns whether a task in this state is over: its status stays as it is.
pub(crate) fn has_ended(state: TaskState) -> bool {
    state > TaskState::Running
}

/// What the status says about a state that was reached.
fn message(state: TaskState) -> &'static str {
    match state {
        TaskState::Accepted => "accepted",
        TaskState::Preparing => "preparing",
        TaskState::Ready => "prepared",
        TaskState::Starting => "starting",
        TaskState::Running => "started",
        TaskState::Complete => "finished",
        TaskState::Shutdown => "shutdown",
        TaskState::New
        | TaskState::Pending
        | TaskState::Assigned
        | TaskState::Failed
        | TaskState::Rejected
        | TaskState::Remove
        | TaskState::Orphaned => unreachable!("no operation leads to {}", state.as_str_name()),
    }
}

/// Ends the task where it stands: REJECTED before anything was started, FAILED afterwards. What has
/// already ended keeps its status.
fn fail(status: &mut wire::TaskStatus, operation: Operation, error: &str) {
    let state = status.state();
    let no_step = matches!(operation, Operation::Update | Operation::Remove);
    if no_step || has_ended(state) {
        return;
    }
    if operation == Operation::Resolve {
        status.message = "resolving controller failed".to_owned();
    }
    status.err = error.to_owned();
    let started = state >= TaskState::Starting;
    status.set_state(if started { TaskState::Failed } else { TaskState::Rejected });
}

/// Adds what the controller knows, from STARTING on. There is no container of a rejected task.
fn attach(status: &mut wire::TaskStatus, mut runtime: Runtime, exit_code: i32) {
    if status.state() < TaskState::Starting {
        return;
    }
    if status.state() == TaskState::Rejected {
        runtime = Runtime {
            container: runtime.container.map(|_| wire::ContainerStatus::default()),
            ports: None,
        };
    }
    if let Some(mut container) = runtime.container {
        if exit_code != 0 {
            container.exit_code = exit_code;
        }
        status.runtime_status = Some(wire::task_status::RuntimeStatus::Container(container));
    }
    if runtime.ports.is_some() {
        status.port_status = runtime.ports;
    }
}
