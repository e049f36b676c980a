//! Gives networks, nodes, services and tasks what no two may have. Decides on what is committed
//! plus its own promises; on the head each is written only if everything is still as it was.

mod logic;
#[cfg(test)]
mod tests;

use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use prost::Message as _;
use protocol::{objects::Object, wire};

use self::logic::{
    board::Board,
    decide::Pass,
    decision::{Decided, Decision, write},
};
use crate::{
    agenda::Room,
    environment::Environment,
    store::{self, CHANGES_PER_TRANSACTION, Change, Store, TransactError},
    supervised,
    supervision::{Address, Life, Recipient, fail},
};

/// How much one pass looks at: what fills a transaction, and takes a few milliseconds if all of it is
/// given addresses. The rest has its turn after other messages.
const LOOKED_AT_MAX: usize = CHANGES_PER_TRANSACTION;

/// How many transactions may be on their way: enough that the store never waits for the next.
const WRITES_MAX: usize = 4;

/// How long to wait after a transaction that was not written, or may not have been.
const PAUSE: Duration = Duration::from_millis(200);

/// How often everything that waits is looked at again, and everything else for faults of ours.
const RETRY_EVERY: Duration = Duration::from_secs(5 * 60);

/// In debug builds, after how many changes what is in use is checked.
const VERIFY_EVERY: u64 = 32;

/// The allocator. One lives where the leader does.
pub struct Allocator {
    store: Store,
    environment: Environment,
    changes: Recipient<Change>,
    board: Board,
    trust: Trust,
    /// The next pass is on its way through the mailbox.
    is_passing: bool,
    /// A transaction was not written lately.
    is_pausing: bool,
    /// How many transactions are on their way.
    writes: usize,
    /// How many changes were followed.
    followed: u64,
}

/// Whether everything that any allocator has written is on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Something may have been written that is neither committed nor promised.
    Unsure,
    /// An empty transaction is on its way: when it is answered, all before it is committed.
    Asking,
    /// It is.
    Sure,
}

impl Allocator {
    /// The allocator of a manager that leads; for `Tree::child_with_address`.
    pub fn new(store: Store, environment: Environment, _: Life, own: &Address<Self>) -> Self {
        Self {
            store,
            environment,
            changes: own.recipient(),
            board: Board::default(),
            trust: Trust::Unsure,
            is_passing: false,
            is_pausing: false,
            writes: 0,
            followed: 0,
        }
    }

    fn proceed(&mut self, ctx: &mut Context<Self>) {
        if self.is_pausing {
            return;
        }
        match self.trust {
            Trust::Unsure => self.ask(ctx),
            Trust::Asking => {}
            Trust::Sure => {
                let may_pass = !self.is_passing && self.writes < WRITES_MAX;
                if may_pass && !self.board.is_idle() {
                    self.is_passing = true;
                    // A message to itself would be handled before the other actors of this thread.
                    let next = tokio::task::yield_now().into_actor(self);
                    ctx.spawn(next.map(|(), allocator, ctx| allocator.pass(ctx)));
                }
            }
        }
    }

    /// Decides about something.
    fn pass(&mut self, ctx: &mut Context<Self>) {
        self.is_passing = false;
        if self.trust == Trust::Sure {
            let (view, now) = (self.store.view(), self.environment.clock.now());
            let Pass { decisions, unmet, overlooked } =
                self.board.decide(&view, now, LOOKED_AT_MAX);
            if !overlooked.is_empty() {
                tracing::warn!(?overlooked, "a full pass found work that no change had announced");
            }
            for (due, lack) in unmet {
                tracing::warn!(?due, %lack, "cannot be allocated");
            }
            self.write_all(ctx, decisions);
        }
        self.proceed(ctx);
    }

    /// Waits until every write that there may be is committed, and begins anew.
    fn ask(&mut self, ctx: &mut Context<Self>) {
        self.trust = Trust::Asking;
        let outcome = self.store.transact(|_| Ok::<_, store::Error>(()));
        ctx.spawn(outcome.into_actor(self).map(|outcome, allocator, ctx| {
            if outcome.is_ok() {
                allocator.trust = Trust::Sure;
                allocator.board.begin(allocator.store.view());
            } else {
                allocator.trust = Trust::Unsure;
                allocator.pause(ctx);
            }
            allocator.proceed(ctx);
        }));
    }

    /// Writes decisions in as many transactions as it takes.
    fn write_all(&mut self, ctx: &mut Context<Self>, decisions: Vec<Decision>) {
        let (mut together, mut room) = (Vec::new(), Room::new());
        for decision in decisions {
            if !take_room(&mut room, &decision.object) {
                self.write(ctx, std::mem::take(&mut together));
                room = Room::new();
                take_room(&mut room, &decision.object);
            }
            together.push(decision);
        }
        if !together.is_empty() {
            self.write(ctx, together);
        }
    }

    fn write(&mut self, ctx: &mut Context<Self>, decisions: Vec<Decision>) {
        self.writes += 1;
        let dues: Vec<_> = decisions.iter().map(Decision::decided).collect();
        let outcome = self.store.transact(move |head| write(head, decisions));
        ctx.spawn(outcome.into_actor(self).map(move |outcome, allocator, ctx| {
            allocator.writes -= 1;
            allocator.conclude(ctx, outcome, dues);
            allocator.proceed(ctx);
        }));
    }

    fn conclude(
        &mut self,
        ctx: &mut Context<Self>,
        outcome: Result<Vec<Decided>, TransactError<store::Error>>,
        mut dues: Vec<Decided>,
    ) {
        match outcome {
            Ok(failed) => self.board.failed(failed),
            Err(TransactError::Aborted(error)) => fail(&error),
            Err(error @ TransactError::NotWritten(_)) => {
                tracing::debug!(%error, "decides again");
                self.board.failed(dues);
                self.pause(ctx);
            }
            // What was promised may be written yet, so it stays promised until that is known.
            Err(TransactError::OutcomeUnknown) => {
                self.trust = Trust::Unsure;
                self.pause(ctx);
            }
            Err(error @ TransactError::TooLarge { .. }) => {
                // Only the first of a transaction may be larger than there is room for.
                let first = dues.remove(0);
                tracing::error!(due = ?first, %error, "cannot be written");
                self.board.give_up(first);
                self.board.failed(dues);
            }
        }
    }

    fn pause(&mut self, ctx: &mut Context<Self>) {
        if !self.is_pausing {
            self.is_pausing = true;
            ctx.run_later(PAUSE, |allocator, ctx| {
                allocator.is_pausing = false;
                allocator.proceed(ctx);
            });
        }
    }
}

/// Takes room in a transaction for an object.
fn take_room(room: &mut Room, object: &Object) -> bool {
    match object {
        Object::Task(task) => room.take([&**task]),
        Object::Network(one) => room.take_other(wire::Network::from(&**one).encoded_len()),
        Object::Node(one) => room.take_other(wire::Node::from(&**one).encoded_len()),
        Object::Service(one) => room.take_other(wire::Service::from(&**one).encoded_len()),
        Object::Cluster(_)
        | Object::Config(_)
        | Object::Extension(_)
        | Object::Resource(_)
        | Object::Secret(_)
        | Object::Volume(_) => unreachable!("the allocator writes no {:?}", object.kind()),
    }
}

impl Actor for Allocator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.store.subscribe("allocator", self.changes.clone());
        ctx.run_interval(RETRY_EVERY, |allocator, ctx| {
            allocator.board.retry();
            allocator.proceed(ctx);
        });
        self.proceed(ctx);
    }
}

// The store tells one change at a time.
supervised!(Allocator, mailbox = 4);

impl Handler<Change> for Allocator {
    type Result = ();

    fn handle(&mut self, change: Change, ctx: &mut Self::Context) {
        match change {
            Change::Committed { view, changes } => self.board.follow(view, &changes),
            Change::Resync { view } => self.board.resync(view),
        }
        self.followed += 1;
        if cfg!(debug_assertions) && self.followed.is_multiple_of(VERIFY_EVERY) {
            self.board.verify();
        }
        self.proceed(ctx);
    }
}
