//! What one loop still has to look at, and its transactions: one at a time, so that whatever comes
//! meanwhile goes into the next.

mod room;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, mem, ops::Bound, time::Duration};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use protocol::{
    id::{Id, TaskId},
    objects::Task,
};

pub(crate) use room::Room;

use crate::{
    store::{self, CHANGES_PER_TRANSACTION, Store, TransactError, Transaction, View},
    supervision::{Supervised, fail},
};

/// How often a loop looks at everything, asked or not. It walks every task of the cluster, and
/// only guards against faults of its own: what changes is announced by the store.
const FULL_PASS_EVERY: Duration = Duration::from_secs(300);

/// How long to wait after a transaction that was not written, or may not have been: raft is busy,
/// or leadership is moving, which takes about as long.
const PAUSE: Duration = Duration::from_millis(200);

/// How many keys one transaction is handed: it can hardly write more, and what it has no room for
/// it has looked at in vain.
const KEYS_MAX: usize = 2 * CHANGES_PER_TRANSACTION;

/// How many keys are looked at before others get their turn, and how many objects of a store that
/// is gone through.
const LOOKED_AT_MAX: usize = 2_000;

/// How many objects of a store that is gone through are looked at while other keys are due. What is
/// found must have room in the transaction beside these, or it would wait behind them.
const WALKED_BESIDE_MAX: usize = KEYS_MAX / 4;

/// Decides on the head, writes, and returns the keys that there was no room for.
pub(crate) type Decide<K> =
    Box<dyn FnOnce(&mut Transaction) -> Result<BTreeSet<K>, store::Error> + Send>;

/// The keys that may ask for something.
#[derive(Debug)]
pub(crate) struct Agenda<K> {
    due: BTreeSet<K>,
    /// From where on keys are looked at next. They take turns: what is due again and again must not
    /// hold up what comes behind it.
    turn: Bound<K>,
    /// How many keys the next transaction is handed.
    keys_max: usize,
    /// A transaction, or the pause after one, is on its way.
    busy: bool,
    /// The next look at what is due is on its way.
    looking: bool,
    walk: Option<Walk>,
}

/// On its way through the whole store, in the order of ids. What changes behind it is announced.
#[derive(Debug, Default)]
struct Walk {
    /// Up to here everything was looked at.
    after: Option<Id>,
    /// It is over here; none for the end of the store.
    until: Option<Id>,
    /// At the end of the store it begins again, and goes on until here.
    again: Option<Id>,
    /// Nobody asked for it: it only guards against faults, and should find nothing.
    is_guard: bool,
}

impl Walk {
    /// Everything is to be looked at from here on. It goes on where it is: begun from the start
    /// each time, it might never come to the end.
    fn around(self) -> Self {
        Self { again: self.after.clone(), after: self.after, until: None, is_guard: false }
    }

    /// What is left of it behind the last id that was looked at; none is the end of the store.
    fn behind(self, last: Option<Id>) -> Option<Self> {
        let is_over =
            last.is_none() || self.until.as_ref().is_some_and(|until| last.as_ref() >= Some(until));
        match (is_over, self.again) {
            (false, again) => Some(Self { after: last, again, ..self }),
            (true, Some(again)) => Some(Self { until: Some(again), ..Self::default() }),
            (true, None) => None,
        }
    }
}

/// The keys of the next objects of a store.
#[derive(Debug)]
pub(crate) struct Next<K> {
    pub(crate) keys: BTreeSet<K>,
    /// The last id that was looked at; none if that was the last of the store.
    pub(crate) last: Option<Id>,
}

impl<K> Default for Agenda<K> {
    fn default() -> Self {
        let (due, turn) = (BTreeSet::new(), Bound::Unbounded);
        Self { due, turn, keys_max: KEYS_MAX, busy: false, looking: false, walk: None }
    }
}

impl<K: Ord> Agenda<K> {
    /// Puts keys on the agenda.
    pub(crate) fn add(&mut self, keys: impl IntoIterator<Item = K>) {
        self.due.extend(keys);
    }

    /// Puts every key of the store on the agenda. They are looked at a few at a time.
    pub(crate) fn add_everything(&mut self) {
        self.walk = Some(self.walk.take().unwrap_or_default().around());
    }

    /// Puts keys on the agenda whose turn it was, and that were not decided about.
    fn add_again<P: Planner<Key = K>>(&mut self, keys: BTreeSet<K>)
    where
        K: Clone,
    {
        if let Some(first) = keys.iter().find(|key| P::takes_turns(key)) {
            self.turn = Bound::Included(first.clone());
        }
        self.due.extend(keys);
    }

    /// How many keys are due.
    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }
}

/// The keys of the tasks behind an id, of so many of them.
pub(crate) fn keys_of_tasks<K: Ord, I: IntoIterator<Item = K>>(
    view: &View,
    after: Option<&Id>,
    count: usize,
    keys: impl Fn(&Task) -> I,
) -> Next<K> {
    let after = after.map(|id| TaskId::from(id.clone()));
    let tasks: Vec<_> = view.tasks_after(after.as_ref()).take(count).collect();
    let last = tasks.last().filter(|_| tasks.len() == count);
    let last = last.map(|task| task.id.as_id().clone());
    Next { keys: tasks.iter().flat_map(|task| keys(task)).collect(), last }
}

/// What comes of planning a key.
#[derive(Debug)]
pub(crate) struct Planning<K> {
    /// What is decided about.
    pub(crate) keys: Vec<K>,
    /// What is due once more, with the next look: there was more to look at than one look may, or it
    /// is not its turn.
    pub(crate) rest: Option<K>,
}

/// A loop of the leader that brings the store closer to what it should be, key by key.
pub(crate) trait Planner: Supervised {
    /// What it decides about.
    type Key: Clone + Ord + Send + fmt::Debug + 'static;

    fn agenda(&mut self) -> &mut Agenda<Self::Key>;

    fn store(&self) -> &Store;

    /// The keys of the objects behind an id, of no more than so many.
    fn next(
        &mut self,
        view: &View,
        after: Option<&Id>,
        count: usize,
        ctx: &mut Context<Self>,
    ) -> Next<Self::Key>;

    /// Whether anything is to be done about a key. What is not yet committed is announced later,
    /// so the store's thread is bothered only when the committed state asks for it.
    fn is_needed(&self, view: &View, key: &Self::Key) -> bool;

    /// Whether a key waits until others had their turn. Those that do not come first, and must be
    /// lower.
    fn takes_turns(_: &Self::Key) -> bool {
        true
    }

    /// Whether what is due takes care of a key already, so that nobody has to announce it.
    fn is_in_hand(_: &BTreeSet<Self::Key>, _: &Self::Key) -> bool {
        false
    }

    /// What is decided about for a key: itself if it is needed. A key that stands for much may be
    /// planned as many that stand for little, and for more than one look: each object that it looks
    /// at is taken from `looks`.
    fn plan(&mut self, view: &View, key: Self::Key, looks: &mut usize) -> Planning<Self::Key> {
        *looks = looks.saturating_sub(1);
        let needed = self.is_needed(view, &key).then_some(key);
        Planning { keys: needed.into_iter().collect(), rest: None }
    }

    /// Makes the closure that decides about some keys.
    fn decide(&mut self, keys: BTreeSet<Self::Key>) -> Decide<Self::Key>;
}

/// Looks at everything again and again.
pub(crate) fn repeat_full_pass<P: Planner>(ctx: &mut Context<P>) {
    ctx.run_interval(FULL_PASS_EVERY, |planner, ctx| {
        // One that is on its way has been asked for, or has taken that long.
        planner.agenda().walk.get_or_insert(Walk { is_guard: true, ..Walk::default() });
        proceed(planner, ctx);
    });
}

/// Works on what is due, unless it is being worked on.
pub(crate) fn proceed<P: Planner>(planner: &mut P, ctx: &mut Context<P>) {
    if planner.agenda().busy && !planted!(SlotsOfCommitted) {
        return;
    }
    let view = planner.store().view();
    let mut due = mem::take(&mut planner.agenda().due);
    let mut share = if due.is_empty() { LOOKED_AT_MAX } else { WALKED_BESIDE_MAX };
    let mut looks = LOOKED_AT_MAX - share;
    let (mut walked, is_guard) = walk(planner, &view, share, ctx);
    if is_guard {
        walked.retain(|key| !P::is_in_hand(&due, key));
    }
    let announced: BTreeSet<_> = walked.iter().filter(|key| due.remove(key)).cloned().collect();
    let mut keys = BTreeSet::new();
    let announced = is_guard.then_some(&announced);
    let mut turn = Bound::Unbounded;
    due.extend(plan(planner, &view, walked, &mut turn, &mut share, &mut keys, announced));
    looks += share;
    turn = mem::replace(&mut planner.agenda().turn, Bound::Unbounded);
    let mut due = plan(planner, &view, due, &mut turn, &mut looks, &mut keys, None);
    let keys_max = planner.agenda().keys_max;
    while keys.len() > keys_max {
        due.extend(keys.pop_last());
    }
    if !due.is_empty() {
        planner.agenda().turn = turn;
    }
    planner.agenda().due = due;
    if keys.is_empty() {
        return look_again(planner, ctx);
    }
    planner.agenda().busy = true;
    let (asked, decide) = (keys.clone(), planner.decide(keys));
    let outcome = planner.store().transact(decide);
    let outcome = outcome.into_actor(planner);
    ctx.spawn(outcome.map(|outcome, planner, ctx| conclude(planner, ctx, asked, outcome)));
}

/// Goes on through the store, by so many objects. Says whether nothing should be due of them.
fn walk<P: Planner>(
    planner: &mut P,
    view: &View,
    count: usize,
    ctx: &mut Context<P>,
) -> (BTreeSet<P::Key>, bool) {
    let Some(walk) = planner.agenda().walk.take() else { return (BTreeSet::new(), false) };
    let is_guard = walk.is_guard;
    let Next { keys, last } = planner.next(view, walk.after.as_ref(), count, ctx);
    planner.agenda().walk = walk.behind(last);
    (keys, is_guard)
}

/// Plans keys in turn until there are enough or so much was looked at. Returns those that are still
/// due. `announced` is given with keys that should ask for nothing, unless they are
/// among these.
fn plan<P: Planner>(
    planner: &mut P,
    view: &View,
    mut due: BTreeSet<P::Key>,
    turn: &mut Bound<P::Key>,
    looks: &mut usize,
    keys: &mut BTreeSet<P::Key>,
    announced: Option<&BTreeSet<P::Key>>,
) -> BTreeSet<P::Key> {
    let keys_max = planner.agenda().keys_max;
    let (walked, mut rest) = (keys.len(), Vec::new());
    while *looks > 0
        && keys.len() < keys_max
        && let Some(key) = take_next::<P>(&mut due, turn, keys.len() == walked)
    {
        let is_news = announced.is_some_and(|announced| !announced.contains(&key));
        let planned = planner.plan(view, key.clone(), looks);
        if is_news && !planned.keys.is_empty() {
            let count = planned.keys.len();
            tracing::warn!(?key, count, "a full pass found work that no change had announced");
        }
        keys.extend(planned.keys);
        rest.extend(planned.rest);
    }
    due.extend(rest);
    due
}

/// Takes the next key in turn. A transaction takes no keys from both ends, or it could not be told
/// which are next when it has no room for all.
fn take_next<P: Planner>(
    due: &mut BTreeSet<P::Key>,
    turn: &mut Bound<P::Key>,
    may_begin_again: bool,
) -> Option<P::Key> {
    let first = due.first()?;
    if !P::takes_turns(first) {
        return due.pop_first();
    }
    let next = due.range((turn.as_ref(), Bound::Unbounded)).next();
    let next = next.or(may_begin_again.then_some(first))?.clone();
    *turn = Bound::Excluded(next.clone());
    due.take(&next)
}

/// Looks at the rest after others had their turn.
fn look_again<P: Planner>(planner: &mut P, ctx: &mut Context<P>) {
    let agenda = planner.agenda();
    let is_over = agenda.due.is_empty() && agenda.walk.is_none();
    if !is_over && !agenda.looking {
        agenda.looking = true;
        ctx.run_later(Duration::ZERO, |planner, ctx| {
            planner.agenda().looking = false;
            proceed(planner, ctx);
        });
    }
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
            planner.agenda().keys_max = KEYS_MAX;
            planner.agenda().add_again::<P>(left);
            Duration::ZERO
        }
        // Decided and written on one state of the store, so only a fault of ours can be refused.
        Err(TransactError::Aborted(error)) => fail(&error),
        Err(error @ (TransactError::NotWritten(_) | TransactError::OutcomeUnknown)) => {
            tracing::debug!(%error, "decides again");
            planner.agenda().add_again::<P>(asked);
            PAUSE
        }
        Err(error @ TransactError::TooLarge { .. }) => {
            // Which of them it is shows when each is alone.
            if asked.len() == 1 {
                let key = asked.pop_first();
                tracing::error!(?key, %error, "cannot be carried out");
            }
            planner.agenda().keys_max = (asked.len() / 2).max(1);
            planner.agenda().add_again::<P>(asked);
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
