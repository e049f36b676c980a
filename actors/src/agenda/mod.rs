//! What one loop still has to look at, and its transactions: one at a time, so that whatever comes
//! meanwhile goes into the next.

mod room;

use std::{collections::BTreeSet, fmt, mem, time::Duration};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

pub(crate) use room::Room;

use crate::{
    store::{self, Store, TransactError, Transaction, View},
    supervision::{Supervised, fail},
};

/// How often a loop looks at everything, asked or not. It walks every task of the cluster, and
/// only guards against faults of its own: what changes is announced by the store.
const FULL_PASS_EVERY: Duration = Duration::from_secs(300);

/// How long to wait after a transaction that was not written, or may not have been: raft is busy,
/// or leadership is moving, which takes about as long.
const PAUSE: Duration = Duration::from_millis(200);

/// Decides on the head, writes, and returns the keys that there was no room for.
pub(crate) type Decide<K> =
    Box<dyn FnOnce(&mut Transaction) -> Result<BTreeSet<K>, store::Error> + Send>;

/// The keys that may ask for something.
#[derive(Debug)]
pub(crate) struct Agenda<K> {
    due: BTreeSet<K>,
    /// A transaction, or the pause after one, is on its way.
    busy: bool,
}

impl<K> Default for Agenda<K> {
    fn default() -> Self {
        Self { due: BTreeSet::new(), busy: false }
    }
}

impl<K: Ord> Agenda<K> {
    /// Puts keys on the agenda.
    pub(crate) fn add(&mut self, keys: impl IntoIterator<Item = K>) {
        self.due.extend(keys);
    }

    /// How many keys are due.
    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }
}

/// A loop of the leader that brings the store closer to what it should be, key by key.
pub(crate) trait Planner: Supervised {
    /// What it decides about.
    type Key: Clone + Ord + Send + fmt::Debug + 'static;

    fn agenda(&mut self) -> &mut Agenda<Self::Key>;

    fn store(&self) -> &Store;

    /// Every key of the store.
    fn everything(&mut self, view: &View) -> BTreeSet<Self::Key>;

    /// Whether anything is to be done about a key. What is not yet committed is announced later,
    /// so the store's thread is bothered only when the committed state asks for it.
    fn is_needed(&self, view: &View, key: &Self::Key) -> bool;

    /// Makes the closure that decides about some keys.
    fn decide(&mut self, keys: BTreeSet<Self::Key>) -> Decide<Self::Key>;
}

/// Looks at everything again and again.
pub(crate) fn repeat_full_pass<P: Planner>(ctx: &mut Context<P>) {
    ctx.run_interval(FULL_PASS_EVERY, |planner, ctx| {
        let view = planner.store().view();
        let mut keys = planner.everything(&view);
        keys.retain(|key| planner.is_needed(&view, key));
        let idle = !planner.agenda().busy && planner.agenda().due.is_empty();
        if idle && !keys.is_empty() {
            tracing::warn!(?keys, "a full pass found work that no change had announced");
        }
        planner.agenda().add(keys);
        proceed(planner, ctx);
    });
}

/// Works on what is due, unless it is being worked on.
pub(crate) fn proceed<P: Planner>(planner: &mut P, ctx: &mut Context<P>) {
    if planner.agenda().busy {
        return;
    }
    let view = planner.store().view();
    let mut keys = mem::take(&mut planner.agenda().due);
    keys.retain(|key| planner.is_needed(&view, key));
    if keys.is_empty() {
        return;
    }
    planner.agenda().busy = true;
    let (asked, decide) = (keys.clone(), planner.decide(keys));
    let outcome = planner.store().transact(decide);
    let outcome = outcome.into_actor(planner);
    ctx.spawn(outcome.map(|outcome, planner, ctx| conclude(planner, ctx, asked, outcome)));
}

type Outcome<K> = Result<BTreeSet<K>, TransactError<store::Error>>;

fn conclude<P: Planner>(
    planner: &mut P,
    ctx: &mut Context<P>,
    mut asked: BTreeSet<P::Key>,
    outcome: Outcome<P::Key>,
) {
    let pause = match outcome {
        Ok(left) => {
            planner.agenda().add(left);
            Duration::ZERO
        }
        // Decided and written on one state of the store, so only a fault of ours can be refused.
        Err(TransactError::Aborted(error)) => fail(&error),
        Err(error @ (TransactError::NotWritten(_) | TransactError::OutcomeUnknown)) => {
            tracing::debug!(%error, "decides again");
            planner.agenda().add(asked);
            PAUSE
        }
        Err(error @ TransactError::TooLarge { .. }) => {
            // Only the first of a transaction may be larger than there is room for.
            let key = asked.pop_first();
            tracing::error!(?key, %error, "cannot be carried out");
            planner.agenda().add(asked);
            Duration::ZERO
        }
    };
    if pause.is_zero() {
        planner.agenda().busy = false;
        proceed(planner, ctx);
    } else {
        ctx.run_later(pause, |planner, ctx| {
            planner.agenda().busy = false;
            proceed(planner, ctx);
        });
    }
}
