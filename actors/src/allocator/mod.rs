//! Makes new tasks ready to be placed: without networks, that is their endpoint and a status.

mod logic;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use actix::{Actor, Context, Handler};
use protocol::id::TaskId;

use crate::{
    agenda::{Agenda, Decide, Planner, proceed, repeat_full_pass},
    environment::Environment,
    store::{Change, Store, Transaction, View},
    supervised,
    supervision::{Address, Life, Recipient},
};

/// The allocator. One lives where the leader does.
pub struct Allocator {
    store: Store,
    environment: Environment,
    changes: Recipient<Change>,
    agenda: Agenda<TaskId>,
}

impl Allocator {
    /// The allocator of a manager that leads; for `Tree::child_with_address`.
    pub fn new(store: Store, environment: Environment, _: Life, own: &Address<Self>) -> Self {
        Self { store, environment, changes: own.recipient(), agenda: Agenda::default() }
    }
}

impl Actor for Allocator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.store.subscribe("allocator", self.changes.clone());
        repeat_full_pass(ctx);
    }
}

// The store tells one change at a time.
supervised!(Allocator, mailbox = 4);

impl Handler<Change> for Allocator {
    type Result = ();

    fn handle(&mut self, change: Change, ctx: &mut Self::Context) {
        let tasks = match &change {
            Change::Committed { view, changes } => logic::touched(view, changes),
            Change::Resync { view } => logic::everything(view),
        };
        self.agenda.add(tasks);
        proceed(self, ctx);
    }
}

impl Planner for Allocator {
    type Key = TaskId;

    fn agenda(&mut self) -> &mut Agenda<TaskId> {
        &mut self.agenda
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn everything(&mut self, view: &View) -> BTreeSet<TaskId> {
        logic::everything(view)
    }

    fn is_needed(&self, view: &View, task: &TaskId) -> bool {
        let now = self.environment.clock.now();
        view.task(task).is_some_and(|task| logic::allocated(view, task, now).is_some())
    }

    fn decide(&mut self, tasks: BTreeSet<TaskId>) -> Decide<TaskId> {
        let now = self.environment.clock.now();
        Box::new(move |head: &mut Transaction| logic::allocate(head, tasks, now))
    }
}
