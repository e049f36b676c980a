//! Deletes tasks that nobody needs any more: the older history of slots, tasks that were to be
//! removed and have stopped, and lost tasks of nobody (`orchestration` §11).

mod logic;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use actix::{Actor, AsyncContext, Context, Handler};
use protocol::id::Id;

use self::logic::Place;
use crate::{
    agenda::{Agenda, Decide, Next, Planner, keys_of_tasks, proceed, repeat_full_pass},
    store::{Change, Store, Transaction, View},
    supervised,
    supervision::{Address, Recipient},
};

/// How long places are gathered: deleting can wait, and so shares entries of the log.
const GATHER: Duration = Duration::from_millis(250);

/// With more places than this it does not wait.
const PLACES_MAX: usize = 1_000;

/// The task reaper. One lives where the leader does.
pub struct Reaper {
    store: Store,
    changes: Recipient<Change>,
    agenda: Agenda<Place>,
    gathering: bool,
}

impl Reaper {
    /// The reaper of a manager that leads; for `Tree::child_with_address`.
    pub fn new(store: Store, own: &Address<Self>) -> Self {
        Self { store, changes: own.recipient(), agenda: Agenda::default(), gathering: false }
    }
}

impl Actor for Reaper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.store.subscribe("reaper", self.changes.clone());
        repeat_full_pass(ctx);
    }
}

// The store tells one change at a time.
supervised!(Reaper, mailbox = 4);

impl Handler<Change> for Reaper {
    type Result = ();

    fn handle(&mut self, change: Change, ctx: &mut Self::Context) {
        let everything = match &change {
            Change::Committed { changes, .. } => {
                self.agenda.add(logic::touched(changes));
                logic::changes_history(changes)
            }
            Change::Resync { .. } => true,
        };
        if everything {
            self.agenda.add_everything();
        }
        if everything || self.agenda.len() > PLACES_MAX {
            proceed(self, ctx);
        } else if !self.gathering && self.agenda.len() > 0 {
            self.gathering = true;
            ctx.run_later(GATHER, |reaper, ctx| {
                reaper.gathering = false;
                proceed(reaper, ctx);
            });
        }
    }
}

impl Planner for Reaper {
    type Key = Place;

    fn agenda(&mut self) -> &mut Agenda<Place> {
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
    ) -> Next<Place> {
        keys_of_tasks(view, after, count, logic::places)
    }

    fn is_needed(&self, view: &View, place: &Place) -> bool {
        !logic::reap(view, place).is_empty()
    }

    fn decide(&mut self, places: BTreeSet<Place>) -> Decide<Place> {
        Box::new(move |head: &mut Transaction| {
            let mut left = BTreeSet::new();
            for place in places {
                if !logic::carry_out(head, &place)? {
                    left.insert(place);
                }
            }
            Ok(left)
        })
    }
}
