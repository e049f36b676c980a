//! Keeps as many slots of each replicated service filled as it has replicas, with tasks of its
//! newest spec (`orchestration` §6). Tasks that end are the business of `restart`, and tasks that
//! are to be removed are deleted by the reaper.
//!
//! A new spec replaces all tasks of a service at once, each slot stopped before it starts again.

mod logic;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use actix::{Actor, Context, Handler};
use protocol::id::ServiceId;
use rand::{SeedableRng, rngs::StdRng};

use crate::{
    agenda::{Agenda, Decide, Planner, Room, proceed, repeat_full_pass},
    environment::Environment,
    store::{Change, Store, Transaction, View},
    supervised,
    supervision::{Address, Life, Recipient},
};

/// The orchestrator of replicated services. One lives where the leader does.
pub struct Replicated {
    store: Store,
    environment: Environment,
    random: StdRng,
    changes: Recipient<Change>,
    agenda: Agenda<ServiceId>,
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
        let services = match &change {
            Change::Committed { view, changes } => logic::touched(view, changes),
            Change::Resync { view } => logic::everything(view),
        };
        self.agenda.add(services);
        proceed(self, ctx);
    }
}

impl Planner for Replicated {
    type Key = ServiceId;

    fn agenda(&mut self) -> &mut Agenda<ServiceId> {
        &mut self.agenda
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn everything(&mut self, view: &View) -> BTreeSet<ServiceId> {
        logic::everything(view)
    }

    fn is_needed(&self, view: &View, service: &ServiceId) -> bool {
        !logic::reconcile(view, service).is_empty()
    }

    fn decide(&mut self, services: BTreeSet<ServiceId>) -> Decide<ServiceId> {
        let now = self.environment.clock.now();
        let mut random = StdRng::from_rng(&mut self.random).expect("a generator never fails");
        Box::new(move |head: &mut Transaction| {
            let mut room = Room::new();
            let mut left = BTreeSet::new();
            for service in services {
                if !logic::carry_out(head, &service, &mut room, now, &mut random)? {
                    left.insert(service);
                }
            }
            Ok(left)
        })
    }
}
