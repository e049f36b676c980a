//! Makes new tasks ready to be placed: without networks, that is their endpoint and a status.

mod logic;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use protocol::id::TaskId;

use crate::{
    environment::Environment,
    store::{self, CHANGES_PER_TRANSACTION, Change, Store, TransactError},
    supervised,
    supervision::{Address, Life, Recipient, fail},
};

/// How long to wait after a transaction that was not written, or may not have been.
const PAUSE: Duration = Duration::from_millis(200);

/// The allocator. One lives where the leader does.
pub struct Allocator {
    store: Store,
    environment: Environment,
    changes: Recipient<Change>,
    due: BTreeSet<TaskId>,
    /// A transaction, or the pause after one, is on its way.
    busy: bool,
}

impl Allocator {
    /// The allocator of a manager that leads; for `Tree::child_with_address`.
    pub fn new(store: Store, environment: Environment, _: Life, own: &Address<Self>) -> Self {
        Self { store, environment, changes: own.recipient(), due: BTreeSet::new(), busy: false }
    }

    /// Allocates what is due, one transaction at a time.
    fn proceed(&mut self, ctx: &mut Context<Self>) {
        if self.busy || self.due.is_empty() {
            return;
        }
        self.busy = true;
        let rest = match self.due.iter().nth(CHANGES_PER_TRANSACTION).cloned() {
            Some(first) => self.due.split_off(&first),
            None => BTreeSet::new(),
        };
        let tasks = std::mem::replace(&mut self.due, rest);
        let (asked, now) = (tasks.clone(), self.environment.clock.now());
        let written = self.store.transact(move |head| logic::allocate(head, tasks, now));
        ctx.spawn(written.into_actor(self).map(|outcome, allocator, ctx| {
            allocator.written(ctx, asked, outcome);
        }));
    }

    fn written(
        &mut self,
        ctx: &mut Context<Self>,
        asked: BTreeSet<TaskId>,
        outcome: Result<BTreeSet<TaskId>, TransactError<store::Error>>,
    ) {
        let pause = match outcome {
            Ok(left) => {
                self.due.extend(left);
                Duration::ZERO
            }
            Err(TransactError::Aborted(error)) => fail(&error),
            Err(
                error @ (TransactError::NotWritten(_)
                | TransactError::OutcomeUnknown
                | TransactError::TooLarge { .. }),
            ) => {
                tracing::debug!(%error, "decides again");
                self.due.extend(asked);
                PAUSE
            }
        };
        if pause.is_zero() {
            self.busy = false;
            self.proceed(ctx);
        } else {
            ctx.run_later(pause, |allocator, ctx| {
                allocator.busy = false;
                allocator.proceed(ctx);
            });
        }
    }
}

impl Actor for Allocator {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.store.subscribe("allocator", self.changes.clone());
    }
}

// The store tells one change at a time.
supervised!(Allocator, mailbox = 4);

impl Handler<Change> for Allocator {
    type Result = ();

    fn handle(&mut self, change: Change, ctx: &mut Self::Context) {
        match change {
            Change::Committed { view, changes } => {
                self.due.extend(logic::touched(&view, &changes));
            }
            Change::Resync { view } => self.due = logic::everything(&view),
        }
        self.proceed(ctx);
    }
}
