//! Gives waiting tasks a node. Decides on what is committed plus its own assignments in flight; on
//! the head each is written only if the task is still as it was.

mod logic;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use prost::Message as _;
use protocol::{objects::Task, wire};

use self::logic::decision::{results, unpublish, write};
pub use self::logic::{
    board::Board,
    decision::{Decision, Outcome, Unused},
    explain::{Explanation, Lack, Miss, explain},
    filter::Filter,
};
use crate::{
    agenda::Room,
    environment::Environment,
    store::{self, CHANGES_PER_TRANSACTION, Change, Store, TransactError},
    supervised,
    supervision::{Address, Life, Recipient, fail},
};

/// How many nodes and tasks one pass looks at, which takes a few milliseconds; the rest has its
/// turn after other messages.
pub const STEPS_PER_PASS: usize = 4096;

/// How many transactions may be on their way, and as many more may be ready: the store, which
/// commits together what it has, finds the next when it is through. Few enough that what changes
/// meanwhile does not make most of them fail.
const WRITES_MAX: usize = 16;

/// How long to wait after a transaction that was not written, or may not have been.
const PAUSE: Duration = Duration::from_millis(200);

/// How often failures that are not recent any more are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(5 * 60);

/// In debug builds, after how many changes the accounting of a small cluster is checked.
const VERIFY_EVERY: u64 = 32;

/// The scheduler. One lives where the leader does.
pub struct Scheduler {
    store: Store,
    environment: Environment,
    changes: Recipient<Change>,
    board: Board,
    /// The next pass is on its way through the mailbox.
    is_passing: bool,
    /// A transaction was not written lately.
    is_pausing: bool,
    trust: Trust,
    /// How many transactions are on their way.
    writes: usize,
    /// The next transactions.
    ready: VecDeque<Write>,
    /// What the head refused although nothing had changed here: it is decided again with the next
    /// change, or after a pause.
    refused: Vec<Decision>,
    /// How many changes were followed.
    followed: u64,
}

/// Whether everything that any scheduler has written is on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Something may have been written that is neither committed nor promised.
    Unsure,
    /// All of it is committed at this index, and the board may not show it yet.
    CommittedAt(u64),
    /// It is.
    Sure,
}

impl Trust {
    /// The board begins anew with a view of this index.
    fn begun_at(self, index: u64) -> Self {
        match self {
            Self::CommittedAt(awaited) if index >= awaited => Self::Sure,
            Self::Unsure | Self::CommittedAt(_) | Self::Sure => self,
        }
    }
}

/// What one transaction decides, and the tasks as they are to be.
struct Write {
    decisions: Arc<Vec<Decision>>,
    results: Vec<Arc<Task>>,
    /// How many changes had been followed.
    followed: u64,
}

impl Scheduler {
    /// The scheduler of a manager that leads; for `Tree::child_with_address`.
    pub fn new(store: Store, environment: Environment, _: Life, own: &Address<Self>) -> Self {
        Self {
            store,
            environment,
            changes: own.recipient(),
            board: Board::default(),
            is_passing: false,
            is_pausing: false,
            trust: Trust::Unsure,
            writes: 0,
            ready: VecDeque::new(),
            refused: Vec::new(),
            followed: 0,
        }
    }

    fn proceed(&mut self, ctx: &mut Context<Self>) {
        self.send(ctx);
        let may_pass = !self.is_passing && !self.is_pausing && self.trust == Trust::Sure;
        if may_pass && self.room() > 0 && !self.board.is_idle() {
            self.is_passing = true;
            // A message to itself would be handled before the other actors of this thread.
            let next = tokio::task::yield_now().into_actor(self);
            ctx.spawn(next.map(|(), scheduler, ctx| scheduler.pass(ctx)));
        }
    }

    /// Decides about some tasks.
    fn pass(&mut self, ctx: &mut Context<Self>) {
        self.is_passing = false;
        if self.trust != Trust::Sure {
            return;
        }
        let decisions_max = self.room() * CHANGES_PER_TRANSACTION;
        let decisions = self.board.decide(now(), STEPS_PER_PASS, decisions_max);
        self.prepare_all(decisions);
        let unused = self.board.take_unused(CHANGES_PER_TRANSACTION);
        self.give_back(ctx, unused);
        self.proceed(ctx);
    }

    /// How many more transactions may be decided.
    fn room(&self) -> usize {
        (2 * WRITES_MAX).saturating_sub(self.writes + self.ready.len()).min(WRITES_MAX)
    }

    /// Waits until whatever was written is committed, by a life before this one as well, and begins
    /// anew with the whole: what is on its way counts on its node (SCHED-2).
    fn make_sure(&mut self, ctx: &mut Context<Self>) {
        self.trust = Trust::Unsure;
        for Write { decisions, .. } in std::mem::take(&mut self.ready) {
            decisions.iter().for_each(|decision| self.board.failed(decision));
        }
        let outcome = self.store.transact(|_| Ok::<_, store::Error>(()));
        ctx.spawn(outcome.into_actor(self).map(|outcome, scheduler, ctx| match outcome {
            Ok(()) => {
                scheduler.trust = Trust::CommittedAt(scheduler.store.view().index());
                scheduler.store.subscribe("scheduler", scheduler.changes.clone());
            }
            Err(_) => drop(ctx.run_later(PAUSE, Self::make_sure)),
        }));
    }

    /// Makes decisions ready to be written, in as many transactions as it takes.
    fn prepare_all(&mut self, decisions: Vec<Decision>) {
        let (mut together, mut room) = (Vec::new(), Room::new());
        for decision in decisions {
            if !room.take([&*decision.task]) {
                self.prepare(std::mem::take(&mut together));
                room = Room::new();
                room.take([&*decision.task]);
            }
            together.push(decision);
        }
        if !together.is_empty() {
            self.prepare(together);
        }
    }

    fn prepare(&mut self, decisions: Vec<Decision>) {
        let results = results(&decisions, self.environment.clock.now());
        let followed = self.followed;
        self.ready.push_back(Write { decisions: Arc::new(decisions), results, followed });
    }

    /// Sends what is ready, as much as may be on its way.
    fn send(&mut self, ctx: &mut Context<Self>) {
        while self.writes < WRITES_MAX
            && !self.is_pausing
            && let Some(next) = self.ready.pop_front()
        {
            self.write(ctx, next);
        }
    }

    fn write(&mut self, ctx: &mut Context<Self>, next: Write) {
        let Write { decisions, results, followed } = next;
        self.writes += 1;
        let written = decisions.clone();
        let outcome = self.store.transact(move |head| write(head, &written, results));
        ctx.spawn(outcome.into_actor(self).map(move |outcome, scheduler, ctx| {
            if matches!(outcome, Err(TransactError::TooLarge { .. })) && decisions.len() > 1 {
                scheduler.writes -= 1;
                let mut first = Arc::unwrap_or_clone(decisions);
                let second = first.split_off(first.len() / 2);
                scheduler.prepare(first);
                scheduler.prepare(second);
                return scheduler.proceed(ctx);
            }
            let failed = scheduler.conclude(ctx, outcome, || (0..decisions.len()).collect());
            let failed = failed.into_iter().filter_map(|position| decisions.get(position));
            scheduler.refused.extend(failed.cloned());
            if scheduler.followed > followed {
                scheduler.decide_refused();
            } else if !scheduler.refused.is_empty() {
                // Decided again at once it would be refused again, for as long as nothing changes.
                ctx.run_later(PAUSE, |scheduler, ctx| {
                    scheduler.decide_refused();
                    scheduler.proceed(ctx);
                });
            }
            scheduler.proceed(ctx);
        }));
    }

    fn decide_refused(&mut self) {
        for decision in std::mem::take(&mut self.refused) {
            self.board.failed(&decision);
        }
    }

    /// Gives volumes back as far as there is room in one transaction; the rest has its turn with the
    /// next pass.
    fn give_back(&mut self, ctx: &mut Context<Self>, mut unused: Vec<Unused>) {
        let (view, mut room) = (self.store.view(), Room::new());
        let fitting = unused.iter().take_while(|unused| {
            let volume = view.volume(&unused.volume);
            let bytes = volume.map_or(0, |volume| wire::Volume::from(&**volume).encoded_len());
            room.take_other(bytes)
        });
        let left = unused.split_off(fitting.count());
        self.board.not_given_back(left);
        if unused.is_empty() {
            return;
        }
        self.writes += 1;
        let written = unused.clone();
        let outcome =
            self.store.transact(move |head| unpublish(head, &written).map(|()| Vec::new()));
        ctx.spawn(outcome.into_actor(self).map(move |outcome, scheduler, ctx| {
            let failed = match outcome {
                // Only the first of a transaction may be larger than there is room for.
                Err(error @ TransactError::TooLarge { .. }) => {
                    scheduler.writes -= 1;
                    let first = unused.remove(0);
                    tracing::error!(volume = %first.volume, %error, "cannot be given back");
                    unused
                }
                outcome => scheduler.conclude(ctx, outcome, || unused),
            };
            scheduler.board.not_given_back(failed);
            scheduler.proceed(ctx);
        }));
    }

    /// A transaction is over. Returns what was not written of `asked`.
    fn conclude<T>(
        &mut self,
        ctx: &mut Context<Self>,
        outcome: Result<Vec<T>, TransactError<store::Error>>,
        asked: impl FnOnce() -> Vec<T>,
    ) -> Vec<T> {
        self.writes -= 1;
        match outcome {
            Ok(failed) => failed,
            Err(TransactError::Aborted(error)) => fail(&error),
            Err(
                error @ (TransactError::NotWritten(_)
                | TransactError::OutcomeUnknown
                | TransactError::TooLarge { .. }),
            ) => {
                tracing::debug!(%error, "assignments were not written");
                if error == TransactError::OutcomeUnknown && self.trust != Trust::Unsure {
                    self.make_sure(ctx);
                }
                self.pause(ctx);
                asked()
            }
        }
    }

    fn pause(&mut self, ctx: &mut Context<Self>) {
        if !self.is_pausing {
            self.is_pausing = true;
            ctx.run_later(PAUSE, |scheduler, ctx| {
                scheduler.is_pausing = false;
                scheduler.proceed(ctx);
            });
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Actor for Scheduler {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.make_sure(ctx);
        ctx.run_interval(FORGET_EVERY, |scheduler, _| scheduler.board.forget_old_failures(now()));
    }
}

// The store tells one change at a time.
supervised!(Scheduler, mailbox = 4);

impl Handler<Change> for Scheduler {
    type Result = ();

    fn handle(&mut self, change: Change, ctx: &mut Self::Context) {
        match change {
            Change::Committed { view, changes } => self.board.follow(view, &changes, now()),
            Change::Resync { view } => {
                self.trust = self.trust.begun_at(view.index());
                self.board.resync(view);
            }
        }
        self.followed += 1;
        self.decide_refused();
        if cfg!(debug_assertions) && self.followed.is_multiple_of(VERIFY_EVERY) {
            self.board.verify();
        }
        self.proceed(ctx);
    }
}
