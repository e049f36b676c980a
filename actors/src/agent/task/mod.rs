//! One task: drives its controller from operation to operation and tells the agent what it
//! observes. What comes next is decided in `logic.rs`.

mod logic;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, rc::Rc, sync::Arc, time::Duration};

use actix::{Actor, Context, Handler, Message};
use futures_util::future::LocalBoxFuture;
use protocol::id::TaskId;
use tokio::time::sleep;

use super::{
    Agent, Departed, GetAssignment, Observed,
    port::{Controller, Executor, ExecutorError},
    work::Work,
};
use crate::{
    environment::Clock,
    supervised,
    supervision::{Address, Budget},
};

use logic::{
    Course, Effect, Input,
    step::{Operation, Runtime},
};

/// How often a task's actor may die before the task fails (architecture D7).
pub(super) const BUDGET: Budget = Budget { restarts: 3, within: Duration::from_secs(10) };

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The actor of one task. It holds nothing that the agent does not: each life begins by asking.
pub(super) struct Task {
    id: TaskId,
    agent: Address<Agent>,
    executor: Rc<dyn Executor>,
    clock: Arc<dyn Clock>,
    course: Option<Course>,
    controller: Option<Rc<dyn Controller>>,
    /// The running operation, or the wait before the next try.
    operation: Option<Work>,
    /// What the agent is being asked or told.
    fetching: Option<Work>,
    telling: Option<Work>,
    /// The assignment changed while it was being fetched.
    touched: bool,
}

supervised!(Task, mailbox = 4);

impl Task {
    pub(super) fn new(
        id: TaskId,
        agent: Address<Agent>,
        executor: Rc<dyn Executor>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            id,
            agent,
            executor,
            clock,
            course: None,
            controller: None,
            operation: None,
            fetching: None,
            telling: None,
            touched: false,
        }
    }
}

/// The agent may hold another assignment for this task.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Touched;

impl Actor for Task {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.fetch(ctx);
    }
}

impl Handler<Touched> for Task {
    type Result = ();

    fn handle(&mut self, _: Touched, ctx: &mut Self::Context) {
        if self.fetching.is_some() {
            self.touched = true;
        } else {
            self.fetch(ctx);
        }
    }
}

impl Task {
    fn fetch(&mut self, ctx: &mut Context<Self>) {
        let asked = self.agent.send(GetAssignment(self.id.clone()));
        self.fetching = Some(Work::begin(ctx, asked, |task, answer, ctx| {
            task.fetching = None;
            // No answer, or no assignment: the agent has died or is done with this task, and ends
            // this actor either way.
            let Ok(Some(assignment)) = answer else { return };
            match &mut task.course {
                Some(_) => task.step(Input::Assigned(assignment), ctx),
                None => {
                    let (course, effects) = Course::begin(assignment);
                    task.course = Some(course);
                    task.perform(effects, ctx);
                }
            }
            if std::mem::take(&mut task.touched) {
                task.fetch(ctx);
            }
        }));
    }

    fn step(&mut self, input: Input, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        let course = self.course.as_mut().expect("there is no input before the assignment");
        let effects = course.step(input, now);
        self.perform(effects, ctx);
    }

    fn perform(&mut self, effects: Vec<Effect>, ctx: &mut Context<Self>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Cancel => self.operation = None,
                Effect::Run(operation) => self.run(operation, ctx),
                Effect::Publish(status) => {
                    let told = Observed { task: self.id.clone(), status };
                    let told = self.agent.send(told);
                    self.telling = Some(Work::begin(ctx, told, |task, _, ctx| {
                        task.step(Input::Published, ctx);
                    }));
                }
                Effect::Retry => {
                    let wait = sleep(RETRY_AFTER);
                    self.operation = Some(Work::begin(ctx, wait, |task, (), ctx| {
                        task.step(Input::RetryDue, ctx);
                    }));
                }
                Effect::Complain(operation, error) => {
                    tracing::warn!(task = %self.id, ?operation, error, "operation failed");
                }
                Effect::Depart { clean } => {
                    let told = self.agent.send(Departed { task: self.id.clone(), clean });
                    self.telling = Some(Work::begin(ctx, told, |_, _, _| {}));
                }
            }
        }
    }

    fn run(&mut self, operation: Operation, ctx: &mut Context<Self>) {
        tracing::debug!(task = %self.id, ?operation, "operation begins");
        let running = self.operate(operation);
        self.operation = Some(Work::begin(ctx, running, |task, result, ctx| {
            let runtime =
                task.controller.as_ref().map_or_else(Runtime::default, |controller| Runtime {
                    container: controller.container_status(),
                    ports: controller.port_status(),
                });
            task.step(Input::Ended(result, runtime), ctx);
        }));
    }

    fn operate(
        &mut self,
        operation: Operation,
    ) -> LocalBoxFuture<'static, Result<(), ExecutorError>> {
        let task = self.course.as_ref().expect("operations follow the assignment").task();
        if operation == Operation::Resolve {
            let resolved = self.executor.controller(task).map(|found| {
                self.controller = Some(found);
            });
            return Box::pin(async { resolved });
        }
        let controller = self.controller.as_ref().expect("a task is resolved before anything else");
        match operation {
            Operation::Resolve | Operation::Advance(_) => Box::pin(async { Ok(()) }),
            Operation::Update => controller.update(task),
            Operation::Prepare => controller.prepare(),
            Operation::Start => controller.start(),
            Operation::Wait => controller.wait(),
            Operation::Shutdown | Operation::End => controller.shutdown(),
            Operation::Remove => controller.remove(),
        }
    }
}
