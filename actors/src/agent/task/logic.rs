//! The course of one task: which operation runs, what its end means, what a change interrupts.
//! Runs nothing itself: every input returns what to do now.

pub(super) mod step;

use prost_types::Timestamp;
use protocol::wire;

use crate::agent::{Assignment, port::ExecutorError, same_task};

use step::{Operation, Runtime, Verdict, has_ended, operation, settle};

/// What can happen to a task.
#[derive(Debug)]
pub(super) enum Input {
    /// The agent may have changed its mind.
    Assigned(Assignment),
    /// The running operation has ended.
    Ended(Result<(), ExecutorError>, Runtime),
    /// The agent holds the published status.
    Published,
    /// The time to try again has come.
    RetryDue,
}

/// What to do about it, in this order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    /// Drops the running operation or the wait before the next try.
    Cancel,
    /// Begins an operation; its end is `Input::Ended`.
    Run(Operation),
    /// Hands the status to the agent; `Input::Published` follows.
    Publish(wire::TaskStatus),
    /// Waits a while; `Input::RetryDue` follows.
    Retry,
    /// Notes for an operator what failed without becoming part of the status.
    Complain(Operation, String),
    /// Tells the agent that nothing more is done about a task that is not wanted.
    Depart {
        /// Whether nothing is left of it.
        clean: bool,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Nothing to do until the task changes.
    Resting,
    /// A controller is at work.
    Running(Operation),
    /// The agent is being told.
    Publishing(Verdict),
    /// An operation will be tried again.
    Waiting,
    /// Nothing is left.
    Gone,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Controller {
    Unresolved,
    Resolved,
    Impossible,
}

/// One task between its first assignment to this node and its removal.
#[derive(Debug)]
pub(super) struct Course {
    assignment: Assignment,
    controller: Controller,
    /// The controller has not seen the latest task.
    stale: bool,
    /// The task had ended when this course began, and nobody has looked whether it still runs.
    unattended: bool,
    phase: Phase,
}

impl Course {
    /// Takes the task up where its status says; the effects are the first thing to do.
    pub(super) fn begin(assignment: Assignment) -> (Self, Vec<Effect>) {
        let unattended = has_ended(assignment.status.state());
        let mut course = Self {
            assignment,
            controller: Controller::Unresolved,
            stale: false,
            unattended,
            phase: Phase::Resting,
        };
        let effects = course.proceed();
        (course, effects)
    }

    /// The task as last assigned, for the controller.
    pub(super) fn task(&self) -> &wire::Task {
        &self.assignment.task
    }

    /// Takes one input and returns what to do now.
    pub(super) fn step(&mut self, input: Input, now: Timestamp) -> Vec<Effect> {
        match (input, self.phase) {
            (_, Phase::Gone) => Vec::new(),
            (Input::Assigned(assignment), _) => self.assigned(assignment),
            (Input::Ended(result, runtime), Phase::Running(operation)) => {
                self.ended(operation, result, runtime, now)
            }
            (Input::Published, Phase::Publishing(verdict)) => self.go_on(verdict),
            (Input::RetryDue, Phase::Waiting) => self.proceed(),
            // Left over from an operation that a change has interrupted.
            (Input::Ended(..) | Input::Published | Input::RetryDue, _) => Vec::new(),
        }
    }

    fn assigned(&mut self, new: Assignment) -> Vec<Effect> {
        let held = &mut self.assignment;
        let lowered = new.task.desired_state < held.task.desired_state;
        let changed = !lowered && !same_task(&new.task, &held.task);
        if changed {
            held.task = new.task;
            self.stale = true;
        }
        let leaves = held.wanted && !new.wanted;
        held.wanted = new.wanted;
        if !changed && !leaves {
            return Vec::new();
        }
        match self.phase {
            Phase::Resting => self.proceed(),
            // What removes the task is not interrupted: nothing can change its mind any more.
            Phase::Running(Operation::Remove) | Phase::Publishing(_) | Phase::Gone => Vec::new(),
            Phase::Running(_) | Phase::Waiting => {
                let mut effects = vec![Effect::Cancel];
                effects.extend(self.proceed());
                effects
            }
        }
    }

    fn ended(
        &mut self,
        operation: Operation,
        result: Result<(), ExecutorError>,
        runtime: Runtime,
        now: Timestamp,
    ) -> Vec<Effect> {
        let complaint = match (operation, &result) {
            (Operation::Update | Operation::Remove | Operation::End, Err(error)) => {
                Some(error.to_string())
            }
            (Operation::Resolve, Err(error)) if !self.assignment.wanted => Some(error.to_string()),
            _ => None,
        };
        let succeeded = result.is_ok();
        let before = self.assignment.status.clone();
        let verdict = settle(&mut self.assignment.status, operation, result, runtime, now);
        let mut effects = Vec::new();
        effects.extend(complaint.map(|text| Effect::Complain(operation, text)));
        let removed = match (operation, verdict) {
            (_, Verdict::Retry) => false,
            (Operation::Resolve, Verdict::Proceed) if succeeded => {
                self.controller = Controller::Resolved;
                // It was found with the latest task in hand.
                self.stale = false;
                false
            }
            (Operation::Resolve, Verdict::Proceed) => {
                self.controller = Controller::Impossible;
                !self.assignment.wanted
            }
            (Operation::Update, Verdict::Proceed) => {
                self.stale = false;
                false
            }
            (Operation::Remove, Verdict::Proceed) => true,
            (Operation::End, Verdict::Proceed) => {
                self.unattended = false;
                false
            }
            (
                Operation::Advance(_)
                | Operation::Prepare
                | Operation::Start
                | Operation::Wait
                | Operation::Shutdown,
                Verdict::Proceed,
            ) => false,
        };
        if removed {
            self.phase = Phase::Gone;
            effects.push(Effect::Depart { clean: succeeded });
        } else if self.assignment.wanted && self.assignment.status != before {
            self.phase = Phase::Publishing(verdict);
            effects.push(Effect::Publish(self.assignment.status.clone()));
        } else {
            effects.extend(self.go_on(verdict));
        }
        effects
    }

    fn go_on(&mut self, verdict: Verdict) -> Vec<Effect> {
        match verdict {
            Verdict::Proceed => self.proceed(),
            Verdict::Retry => {
                self.phase = Phase::Waiting;
                vec![Effect::Retry]
            }
        }
    }

    fn proceed(&mut self) -> Vec<Effect> {
        match self.next() {
            Some(operation) => {
                self.phase = Phase::Running(operation);
                vec![Effect::Run(operation)]
            }
            None => {
                self.phase = Phase::Resting;
                Vec::new()
            }
        }
    }

    fn next(&self) -> Option<Operation> {
        let Assignment { task, status, wanted } = &self.assignment;
        match self.controller {
            Controller::Unresolved => Some(Operation::Resolve),
            // An executor that refused the task may still hold something of it by now.
            Controller::Impossible => (!wanted).then_some(Operation::Resolve),
            Controller::Resolved if !wanted => Some(Operation::Remove),
            Controller::Resolved if self.unattended => Some(Operation::End),
            Controller::Resolved if self.stale => Some(Operation::Update),
            Controller::Resolved => operation(status.state(), task.desired_state()),
        }
    }
}
