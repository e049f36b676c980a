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
use protocol::id::Id;
use rand::{SeedableRng, rngs::StdRng};

use crate::{
    agenda::{Agenda, Decide, Next, Planner, Planning, proceed, repeat_full_pass},
    environment::Environment,
    store::{Change, Store, Transaction, View},
    supervised,
    supervision::{Address, Life, Recipient},
};

pub(crate) use self::logic::{
    Change as Planned,
    step::{Step, carry_out, plan},
};
use self::logic::{
    step::{Due, is_in_hand, steps},
    survey::Survey,
};

/// The orchestrator of replicated services. One lives where the leader does.
pub struct Replicated {
    store: Store,
    environment: Environment,
    random: StdRng,
    changes: Recipient<Change>,
    agenda: Agenda<Due>,
    /// The service that is being gone through.
    survey: Option<Survey>,
}

impl Replicated {
    /// The orchestrator of a manager that leads; for `Tree::child_with_address`.
    pub fn new(store: Store, environment: Environment, life: Life, own: &Address<Self>) -> Self {
        let random = environment.entropy.fork("replicated", life.0);
        let changes = own.recipient();
        Self { store, environment, random, changes, agenda: Agenda::default(), survey: None }
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
            Change::Committed { view, changes } if !planted!(SlotsOfCommitted) => {
                self.agenda.add(logic::touched(view, changes).into_iter().map(Due::Service));
            }
            Change::Committed { .. } | Change::Resync { .. } => self.agenda.add_everything(),
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

    /// Services are planned as steps, and each step is checked on the head.
    fn is_needed(&self, _: &View, _: &Due) -> bool {
        true
    }

    /// A plan is carried out before the next is made.
    fn takes_turns(due: &Due) -> bool {
        matches!(due, Due::Service(_))
    }

    fn is_in_hand(due: &BTreeSet<Due>, key: &Due) -> bool {
        matches!(key, Due::Service(id) if is_in_hand(due, id))
    }

    fn plan(&mut self, view: &View, due: Due, looks: &mut usize) -> Planning<Due> {
        *looks = looks.saturating_sub(1);
        let id = match due {
            Due::Step(_) => return Planning { keys: vec![due], rest: None },
            // One at a time: each keeps a view, and what it knows of every slot.
            Due::Service(_) if self.survey.is_some() => {
                return Planning { keys: Vec::new(), rest: Some(due) };
            }
            Due::Service(id) => {
                self.survey = Some(Survey::new(view.clone(), id.clone()));
                id
            }
            Due::Going(id) => id,
        };
        let survey = self.survey.take().filter(|survey| survey.is_of_version_in(view));
        let Some(mut survey) = survey else {
            // What is planned for an earlier version of the service is not carried out. It is gone
            // through anew when others had their turn.
            return Planning { keys: Vec::new(), rest: Some(Due::Service(id)) };
        };
        let keys = steps(&mut survey, looks).into_iter().map(Due::Step).collect();
        if survey.is_over() {
            return Planning { keys, rest: None };
        }
        self.survey = Some(survey);
        Planning { keys, rest: Some(Due::Going(id)) }
    }

    fn decide(&mut self, due: BTreeSet<Due>) -> Decide<Due> {
        let now = self.environment.clock.now();
        let mut random = StdRng::from_rng(&mut self.random).expect("a generator never fails");
        let steps = due.into_iter().filter_map(|due| match due {
            Due::Step(step) => Some(step),
            // Planned as steps.
            Due::Going(_) | Due::Service(_) => None,
        });
        let steps = steps.collect();
        Box::new(move |head: &mut Transaction| {
            let left = carry_out(head, steps, now, &mut random)?;
            Ok(left.into_iter().map(Due::Step).collect())
        })
    }
}
