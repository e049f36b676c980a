//! Keeps as many slots of each replicated service filled as it has replicas, with tasks of its
//! newest spec (`orchestration` §6). Tasks that end are the business of `restart`, and tasks that
//! are to be removed are deleted by the reaper.
//!
//! A new spec replaces all tasks of a service at once, each slot stopped before it starts again.

mod logic;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use actix::{Actor, Context, Handler};
use protocol::id::Id;
use rand::{SeedableRng, rngs::StdRng};

use crate::{
    agenda::{Agenda, Decide, Next, Planner, proceed, repeat_full_pass},
    environment::Environment,
    store::{Change, Store, Transaction, View},
    supervised,
    supervision::{Address, Life, Recipient},
};

pub(crate) use self::{
    logic::Change as Planned,
    step::{Step, carry_out, plan},
};
use step::Due;

/// The orchestrator of replicated services. One lives where the leader does.
pub struct Replicated {
    store: Store,
    environment: Environment,
    random: StdRng,
    changes: Recipient<Change>,
    agenda: Agenda<Due>,
}

impl Replicated {
    /// The orchestrator of a manager that leads; for `Tree::child_with_address`.
    pub fn new(store: Store, environment: Environment, life: Life, own: &Address<Self>) -> Self {
        let random = environment.entropy.fork("replicated", life.0);
        let changes = own.recipient();
        Self { store, environment, random, changes, agenda: Agenda::default() }
    }
}

impl Actor for Replicated {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.store.subscribe("replicated", self.changes.clone());
        repeat_full_pass(ctx);
    }
}

// The store tells one change at a time.
supervised!(Replicated, mailbox = 4);

impl Handler<Change> for Replicated {
    type Result = ();

    fn handle(&mut self, change: Change, ctx: &mut Self::Context) {
        match &change {
            Change::Committed { view, changes } => {
                self.agenda.add(logic::touched(view, changes).into_iter().map(Due::Service));
            }
            Change::Resync { .. } => self.agenda.add_everything(),
        }
        proceed(self, ctx);
    }
}

impl Planner for Replicated {
    type Key = Due;

    fn agenda(&mut self) -> &mut Agenda<Due> {
        &mut self.agenda
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn next(
        &mut self,
        view: &View,
        after: Option<&Id>,
        count: usize,
        _: &mut Context<Self>,
    ) -> Next<Due> {
        let services = logic::services(view, after, count);
        let last = services.last().filter(|_| services.len() == count);
        let last = last.map(|id| id.as_id().clone());
        Next { keys: services.into_iter().map(Due::Service).collect(), last }
    }

    fn is_needed(&self, view: &View, due: &Due) -> bool {
        match due {
            Due::Step(_) => true,
            Due::Service(service) => !logic::reconcile(view, service).is_empty(),
        }
    }

    fn plan(&self, view: &View, due: Due) -> Vec<Due> {
        match due {
            Due::Step(step) => vec![Due::Step(step)],
            Due::Service(service) => plan(view, &service).into_iter().map(Due::Step).collect(),
        }
    }

    fn decide(&mut self, due: BTreeSet<Due>) -> Decide<Due> {
        let now = self.environment.clock.now();
        let mut random = StdRng::from_rng(&mut self.random).expect("a generator never fails");
        let steps = due.into_iter().filter_map(|due| match due {
            Due::Step(step) => Some(step),
            // Planned as steps.
            Due::Service(_) => None,
        });
        let steps = steps.collect();
        Box::new(move |head: &mut Transaction| {
            let left = carry_out(head, steps, now, &mut random)?;
            Ok(left.into_iter().map(Due::Step).collect())
        })
    }
}
