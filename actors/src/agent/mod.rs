//! The agent: runs the tasks that managers assign to this node, and tells them what became of each.
//!
//! This actor holds the tasks and alone writes the database. `session` talks to managers,
//! `reporter` carries statuses up, and one `task` per task drives its controller.

mod back_off;
mod heartbeats;
mod logic;
pub mod port;
pub mod remotes;
mod reporter;
mod session;
#[cfg(any(test, feature = "testing"))]
pub mod simulated;
mod task;
mod work;

#[cfg(test)]
mod tests;

use std::{cell::OnceCell, collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, fut::wrap_future};
use protocol::{
    id::TaskId,
    wire::{self, assignments_message::Type},
};
use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};

use crate::{
    environment::Environment,
    supervised,
    supervision::{Address, Census, Lost, Tree, fail},
};

use logic::{Batch, Effect, Ledger, same_task};
use port::{Executor, Managers, TaskDatabase};
use reporter::{Reporter, Submit};
use session::{Reopen, Session};
use task::{Task, Touched};
use work::Work;

/// How long a write to the database that failed waits before it is tried again.
const WRITE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long a removal of what nobody knows waits before it is tried again.
const SWEEP_RETRY_AFTER: Duration = Duration::from_secs(10);

/// How long a task that was lost while it was being ended waits before that is tried again.
const REVIVE_AFTER: Duration = Duration::from_secs(10);

/// The world of an agent.
#[derive(Clone)]
pub struct Ports {
    /// The managers it may talk to.
    pub managers: Rc<dyn Managers>,
    /// What runs its tasks.
    pub executor: Rc<dyn Executor>,
    /// What it remembers when its daemon is killed.
    pub database: Rc<dyn TaskDatabase>,
    /// What managers are to know of the node's certificate. A root rotation waits for it
    /// (cluster-security-dispatch §8).
    pub tls_info: watch::Receiver<wire::NodeTlsInfo>,
}

/// What the agent's actors share: their world, and each other's addresses.
struct Shared {
    ports: Ports,
    environment: Environment,
    census: Census,
    /// Filled in as soon as all have been started, before any of them runs.
    peers: OnceCell<Peers>,
}

struct Peers {
    agent: Address<Agent>,
    reporter: Address<Reporter>,
    session: Address<Session>,
}

impl Shared {
    fn peers(&self) -> &Peers {
        self.peers.get().expect("the actors run after all have been started")
    }
}

/// Starts the agent's actors under `tree`. Each task gets a tree of its own: one that dies too
/// often fails alone.
pub fn start(tree: &Tree, census: Census, ports: Ports, environment: Environment) {
    let shared = Rc::new(Shared { ports, environment, census, peers: OnceCell::new() });
    let for_reporter = shared.clone();
    let reporter = tree.child("reporter", move |_| Reporter::new(for_reporter.clone()));
    let for_agent = shared.clone();
    let agent = tree.child("agent", move |_| Agent::new(for_agent.clone()));
    let for_session = shared.clone();
    let session = tree.child("session", move |life| Session::new(for_session.clone(), life));
    let filled = shared.peers.set(Peers { agent, reporter, session });
    assert!(filled.is_ok(), "the actors are started once");
}

/// The actor that holds the tasks of this node.
pub struct Agent {
    shared: Rc<Shared>,
    ledger: Ledger,
    tasks: BTreeMap<TaskId, Running>,
    /// One batch on its way to the database and from there to the reporter.
    saving: Option<Work>,
    /// The lost tasks that get an actor again after a while.
    reviving: BTreeMap<TaskId, Work>,
    /// The removal of what nobody knows, after the first complete list of this life, since the
    /// database alone may have been lost, and after a task left something behind.
    sweeping: Option<Work>,
    /// Whether another one is to follow it.
    sweep_again: bool,
    /// Whether there has been a complete list in this life.
    is_informed: bool,
}

supervised!(Agent, mailbox = 1024);

/// A task's actor. Dropping it ends the actor in the middle of whatever it does.
struct Running {
    tree: Tree,
    address: Address<Task>,
    _lost: Work,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tree.abort();
    }
}

/// What the agent holds of a task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Assignment {
    /// The task, without its status.
    pub(crate) task: Arc<wire::Task>,
    /// How far it got on this node.
    pub(crate) status: wire::TaskStatus,
    /// False once nothing of it shall be left on this node.
    pub(crate) wanted: bool,
}

/// Waits until what an earlier life of the daemon has left behind goes on. No session before that.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct AwaitResumption;

/// A manager has registered this node: it must hear every stored status.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Registered;

/// Take over what a manager assigns.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Apply(wire::AssignmentsMessage);

/// What a task's actor has to do; none when the task is unknown.
#[derive(Debug, Message)]
#[rtype(result = "Option<Assignment>")]
struct GetAssignment(TaskId);

/// A task's status has changed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Observed {
    task: TaskId,
    status: wire::TaskStatus,
}

/// A task that was not wanted any more is done with.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Departed {
    task: TaskId,
    /// Whether nothing is left of it.
    clean: bool,
}

impl Actor for Agent {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let loaded = self.shared.ports.database.load();
        // Messages wait until this is done.
        ctx.wait(wrap_future::<_, Self>(loaded).map(|stored, agent, ctx| {
            let stored = stored.unwrap_or_else(|error| fail(&error));
            let (ledger, effects) = Ledger::resume(stored);
            agent.ledger = ledger;
            agent.perform(effects, ctx);
            agent.flush(ctx);
            // What an earlier life of this actor took from its session may not have been saved:
            // only a new session begins with the complete list.
            agent.shared.peers().session.try_send(Reopen).ok();
        }));
    }
}

impl Handler<AwaitResumption> for Agent {
    type Result = ();

    fn handle(&mut self, _: AwaitResumption, _: &mut Self::Context) {}
}

impl Handler<Registered> for Agent {
    type Result = ();

    fn handle(&mut self, _: Registered, ctx: &mut Self::Context) {
        let statuses = Submit(self.ledger.stored_statuses());
        let submitted = self.shared.peers().reporter.send(statuses);
        ctx.spawn(wrap_future::<_, Self>(submitted).map(|_, _, _| ()));
    }
}

impl Handler<Apply> for Agent {
    type Result = ();

    fn handle(&mut self, Apply(message): Apply, ctx: &mut Self::Context) {
        let is_complete = message.r#type() == Type::Complete;
        self.ledger.apply(message);
        self.flush(ctx);
        if is_complete && !self.is_informed {
            self.is_informed = true;
            self.sweep(ctx);
        }
    }
}

impl Handler<GetAssignment> for Agent {
    type Result = Option<Assignment>;

    fn handle(
        &mut self,
        GetAssignment(task): GetAssignment,
        _: &mut Self::Context,
    ) -> Self::Result {
        self.ledger.assignment(&task).cloned()
    }
}

impl Handler<Observed> for Agent {
    type Result = ();

    fn handle(&mut self, Observed { task, status }: Observed, ctx: &mut Self::Context) {
        self.ledger.observe(&task, status);
        self.flush(ctx);
    }
}

impl Handler<Departed> for Agent {
    type Result = ();

    fn handle(&mut self, Departed { task, clean }: Departed, ctx: &mut Self::Context) {
        self.ledger.depart(&task);
        self.tasks.remove(&task);
        self.flush(ctx);
        // Before the first complete list, that one begins the sweep.
        if !clean && self.is_informed {
            self.sweep(ctx);
        }
    }
}

impl Agent {
    fn new(shared: Rc<Shared>) -> Self {
        Self {
            shared,
            ledger: Ledger::default(),
            tasks: BTreeMap::new(),
            saving: None,
            reviving: BTreeMap::new(),
            sweeping: None,
            sweep_again: false,
            is_informed: false,
        }
    }

    /// Removes what an earlier life of the daemon has left behind and nobody knows any more. A
    /// removal at work is not disturbed, it may take a grace period: another one follows it.
    fn sweep(&mut self, ctx: &mut Context<Self>) {
        self.sweep_again = self.sweeping.is_some();
        if self.sweep_again {
            return;
        }
        let swept = self.shared.ports.executor.retain(self.ledger.task_ids());
        self.sweeping = Some(Work::begin(ctx, swept, |agent, result, ctx| {
            let Err(error) = result else { return agent.swept(agent.sweep_again, ctx) };
            tracing::warn!(%error, "what is left of an unknown task was not removed; trying again");
            let wait = sleep(SWEEP_RETRY_AFTER);
            agent.sweeping = Some(Work::begin(ctx, wait, |agent, (), ctx| agent.swept(true, ctx)));
        }));
    }

    fn swept(&mut self, again: bool, ctx: &mut Context<Self>) {
        self.sweeping = None;
        if again {
            self.sweep(ctx);
        }
    }

    /// Writes what is unsaved, unless a write is on the way: that one comes back here.
    fn flush(&mut self, ctx: &mut Context<Self>) {
        if self.saving.is_none()
            && let Some(batch) = self.ledger.next_batch()
        {
            self.save(batch, ctx);
        }
    }

    fn save(&mut self, batch: Batch, ctx: &mut Context<Self>) {
        let written = self.shared.ports.database.write(batch.changes.clone());
        self.saving = Some(Work::begin(ctx, written, move |agent, result, ctx| match result {
            Ok(()) => {
                agent.saving = None;
                agent.ledger.saved();
                agent.perform(batch.then, ctx);
                agent.flush(ctx);
            }
            Err(error) => {
                tracing::warn!(%error, "the task database was not written; trying again");
                let wait = sleep(WRITE_RETRY_AFTER);
                let again = move |agent: &mut Self, (), ctx: &mut Context<Self>| {
                    agent.save(batch, ctx);
                };
                agent.saving = Some(Work::begin(ctx, wait, again));
            }
        }));
    }

    fn perform(&mut self, effects: Vec<Effect>, ctx: &mut Context<Self>) {
        let mut reports = Vec::new();
        for effect in effects {
            match effect {
                Effect::Start(task) => self.start_task(task, ctx),
                Effect::Touch(task) => {
                    if let Some(running) = self.tasks.get(&task) {
                        // A full mailbox holds an earlier one, which does as well.
                        running.address.try_send(Touched).ok();
                    }
                }
                Effect::Report(task, status) => reports.push((task, status)),
            }
        }
        if !reports.is_empty() {
            self.report(reports, ctx);
        }
    }

    /// Hands statuses to the reporter; the next batch waits until it has them.
    fn report(&mut self, reports: Vec<(TaskId, wire::TaskStatus)>, ctx: &mut Context<Self>) {
        let submitted = self.shared.peers().reporter.send(Submit(reports));
        self.saving = Some(Work::begin(ctx, submitted, |agent, _, ctx| {
            // A reporter that died has a new session opened, which sends all statuses again.
            agent.saving = None;
            agent.flush(ctx);
        }));
    }

    fn start_task(&mut self, id: TaskId, ctx: &mut Context<Self>) {
        self.reviving.remove(&id);
        let (lost, on_lost) = oneshot::channel::<Lost>();
        let tree = Tree::root(
            "agent/task",
            task::BUDGET,
            self.shared.census.clone(),
            // Nobody listens when the agent has died meanwhile; its next life starts all tasks.
            move |reason| drop(lost.send(reason)),
        );
        let (task, shared) = (id.clone(), self.shared.clone());
        let address = tree.child(id.as_str(), move |_| {
            let Shared { ports, environment, .. } = &*shared;
            let agent = shared.peers().agent.clone();
            Task::new(task.clone(), agent, ports.executor.clone(), environment.clock.clone())
        });
        let task = id.clone();
        let lost = Work::begin(ctx, on_lost, move |agent: &mut Self, lost, ctx| {
            let Ok(Lost { reason, .. }) = lost else { return };
            agent.tasks.remove(&task);
            if agent.ledger.lose(&task, &reason, agent.shared.environment.clock.now()) {
                tracing::warn!(%task, reason, "a task was not ended; trying again");
                agent.revive_later(task, ctx);
            }
            agent.flush(ctx);
        });
        self.tasks.insert(id, Running { tree, address, _lost: lost });
    }

    fn revive_later(&mut self, id: TaskId, ctx: &mut Context<Self>) {
        let task = id.clone();
        let revival = Work::begin(ctx, sleep(REVIVE_AFTER), move |agent: &mut Self, (), ctx| {
            agent.reviving.remove(&task);
            if agent.ledger.revive(&task) {
                agent.start_task(task, ctx);
            }
        });
        self.reviving.insert(id, revival);
    }
}
