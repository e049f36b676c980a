//! Gives waiting tasks a node. Decides on what is committed plus its own assignments in flight; on
//! the head each is written only if the task is still as it was.

mod logic;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use protocol::{
    id::TaskId,
    objects::{Task, TaskState},
    wire::{node_spec::Availability, node_status::State},
};

use self::logic::{
    failures::Failures,
    nodes::Nodes,
    place::{Decision, place},
    queue::{Queue, waits},
};
use crate::{
    agenda::Room,
    environment::Environment,
    store::{self, Change, Changes, Store, TransactError, Transaction, View},
    supervised,
    supervision::{Address, Life, Recipient, fail},
};

/// How many groups one pass looks at; the rest has its turn after other messages.
const GROUPS_PER_PASS: usize = 64;

/// How long to wait after a transaction that was not written, or may not have been.
const PAUSE: Duration = Duration::from_millis(200);

/// How often failures that are not recent any more are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(5 * 60);

/// The scheduler. One lives where the leader does.
pub struct Scheduler {
    store: Store,
    environment: Environment,
    changes: Recipient<Change>,
    nodes: Nodes,
    queue: Queue,
    failures: Failures,
    /// Assigned by this scheduler, and not yet seen in a committed view.
    assumed: BTreeMap<TaskId, Arc<Task>>,
    /// The committed state that `nodes` and `queue` show.
    view: View,
    busy: Busy,
}

/// What keeps the next pass waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Busy {
    No,
    /// The next pass is on its way through the mailbox.
    Passing,
    /// A transaction, or the pause after one, is on its way.
    Writing,
}

/// Looks at the next groups.
#[derive(Message)]
#[rtype(result = "()")]
struct Pass;

impl Scheduler {
    /// The scheduler of a manager that leads; for `Tree::child_with_address`.
    pub fn new(store: Store, environment: Environment, _: Life, own: &Address<Self>) -> Self {
        Self {
            store,
            environment,
            changes: own.recipient(),
            nodes: Nodes::default(),
            queue: Queue::default(),
            failures: Failures::default(),
            assumed: BTreeMap::new(),
            view: View::default(),
            busy: Busy::No,
        }
    }

    /// Begins anew with a view.
    fn resync(&mut self, view: View) {
        self.nodes = Nodes::of(&view);
        self.queue = Queue::of(&view);
        self.assumed.retain(|id, _| view.task(id).is_some_and(|task| waits(task)));
        for task in self.assumed.values() {
            self.nodes.replace(None, Some(task));
        }
        self.view = view;
    }

    /// Follows what was committed.
    fn follow(&mut self, view: View, changes: &Changes) {
        let now = now();
        let mut has_room = false;
        for (id, touched) in &changes.tasks {
            let (before, after) = (touched.before.as_deref(), touched.after.as_ref());
            if let (Some(before), Some(after)) = (before, after) {
                self.failures.note(before, after, now);
            }
            // What was assumed has come true, or something else has.
            if let Some(assumed) = self.assumed.remove(id) {
                self.nodes.replace(Some(&assumed), None);
            }
            has_room |= self.nodes.replace(before, after);
            self.queue.replace(before, after.map(|task| &**task));
        }
        for (id, touched) in &changes.nodes {
            match &touched.after {
                Some(node) => self.nodes.put(&view, node),
                None => self.nodes.remove(id),
            }
        }
        if has_room || !changes.nodes.is_empty() {
            self.queue.all_due();
        }
        self.view = view;
    }

    fn proceed(&mut self, ctx: &mut Context<Self>) {
        if self.busy == Busy::No && !self.queue.is_idle() {
            self.busy = Busy::Passing;
            ctx.notify(Pass);
        }
    }

    /// Decides about some groups.
    fn decide(&mut self) -> Vec<Decision> {
        let (now, time) = (now(), self.environment.clock.now());
        let (mut decisions, mut room) = (Vec::new(), Room::new());
        for _ in 0..GROUPS_PER_PASS {
            let Some(ids) = self.queue.next() else { break };
            let tasks = ids.iter().filter(|id| !self.assumed.contains_key(id));
            let waiting: Vec<_> = tasks.filter_map(|id| self.view.task(id).cloned()).collect();
            let (decided, whole) =
                place(&mut self.nodes, &waiting, &self.failures, (now, time), &mut room);
            decisions.extend(decided);
            if let Some(task) = waiting.first().filter(|_| !whole) {
                self.queue.due_again(task);
                break;
            }
        }
        for Decision { after, .. } in &decisions {
            if !after.node_id.is_empty() {
                self.assumed.insert(after.id.clone(), after.clone());
            }
        }
        decisions
    }

    fn write(&mut self, ctx: &mut Context<Self>, decisions: Vec<Decision>) {
        self.busy = Busy::Writing;
        let written = decisions.clone();
        let outcome = self.store.transact(move |head| write(head, written));
        ctx.spawn(outcome.into_actor(self).map(move |outcome, scheduler, ctx| {
            scheduler.written(ctx, decisions, outcome);
        }));
    }

    fn written(
        &mut self,
        ctx: &mut Context<Self>,
        decisions: Vec<Decision>,
        outcome: Result<Vec<Decision>, TransactError<store::Error>>,
    ) {
        let (failed, pause) = match outcome {
            Ok(failed) => (failed, Duration::ZERO),
            Err(TransactError::Aborted(error)) => fail(&error),
            Err(
                error @ (TransactError::NotWritten(_)
                | TransactError::OutcomeUnknown
                | TransactError::TooLarge { .. }),
            ) => {
                tracing::debug!(%error, "assignments were not written");
                (decisions, PAUSE)
            }
        };
        for Decision { before, .. } in failed {
            // Whoever has changed it meanwhile is announced, or has been.
            if let Some(assumed) = self.assumed.remove(&before.id) {
                self.nodes.replace(Some(&assumed), None);
            }
            self.queue.due_again(&before);
        }
        if pause.is_zero() {
            self.busy = Busy::No;
            self.proceed(ctx);
        } else {
            ctx.run_later(pause, |scheduler, ctx| {
                scheduler.busy = Busy::No;
                scheduler.proceed(ctx);
            });
        }
    }
}

/// Writes what still applies, and returns the rest.
fn write(head: &mut Transaction, decisions: Vec<Decision>) -> Result<Vec<Decision>, store::Error> {
    let mut failed = Vec::new();
    for decision in decisions {
        let stored = head.task(&decision.before.id);
        let is_same = stored.is_some_and(|task| task.meta.version == decision.before.meta.version);
        let is_placed = decision.after.status.state == TaskState::ASSIGNED;
        if is_same && (!is_placed || is_ready(head, &decision.after)) {
            head.update(decision.after)?;
        } else {
            failed.push(decision);
        }
    }
    Ok(failed)
}

/// Whether the node of a task takes new tasks on the head.
fn is_ready(head: &View, task: &Task) -> bool {
    head.node(&task.node_id).is_some_and(|node| {
        node.status.state() == State::Ready && node.spec.availability() == Availability::Active
    })
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Actor for Scheduler {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.store.subscribe("scheduler", self.changes.clone());
        ctx.run_interval(FORGET_EVERY, |scheduler, _| scheduler.failures.forget_old(now()));
    }
}

// The store tells one change at a time.
supervised!(Scheduler, mailbox = 4);

impl Handler<Change> for Scheduler {
    type Result = ();

    fn handle(&mut self, change: Change, ctx: &mut Self::Context) {
        match change {
            Change::Committed { view, changes } => self.follow(view, &changes),
            Change::Resync { view } => self.resync(view),
        }
        self.proceed(ctx);
    }
}

impl Handler<Pass> for Scheduler {
    type Result = ();

    fn handle(&mut self, _: Pass, ctx: &mut Self::Context) {
        let decisions = self.decide();
        if decisions.is_empty() {
            self.busy = Busy::No;
            self.proceed(ctx);
        } else {
            self.write(ctx, decisions);
        }
    }
}
