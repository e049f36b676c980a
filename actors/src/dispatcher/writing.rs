//! What agents said, on its way into the store: as much as comes in one moment goes in one write,
//! and one write is on its way at a time.

use std::time::{Duration, Instant};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use futures_util::future::join_all;
use protocol::wire::node_status::State;
use tokio::sync::oneshot;

use super::{
    Dispatcher,
    logic::intake::{NodeChange, Part, Stamp, write},
    now,
};
use crate::{
    store::{self, TransactError},
    supervision::fail,
};

/// How long after a write what agents say waits for more to go into the next one. What comes later than
/// that waits for nothing.
const WRITE_AFTER: Duration = Duration::from_millis(100);

/// What became of a part: what of it is left to write.
type Written = Result<Option<Part>, TransactError<store::Error>>;

/// One write of what agents say is on its way, or waits for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// Neither; this is when the last write began.
    Idle(Instant),
    /// One waits.
    Later,
    /// One is on its way, since then.
    Now(Instant),
}

impl Dispatcher {
    /// Writes what agents said, together with what they say in the next moment.
    pub(super) fn write_soon(&mut self, ctx: &mut Context<Self>) {
        if self.intake.is_empty() {
            return;
        }
        let wait = match self.writing {
            Writing::Now(_) => return,
            Writing::Later if self.intake.is_full() => Duration::ZERO,
            Writing::Later => return,
            Writing::Idle(_) if self.intake.is_full() => Duration::ZERO,
            Writing::Idle(wrote) => (wrote + WRITE_AFTER).saturating_duration_since(now()),
        };
        if wait.is_zero() {
            return self.write_now(ctx);
        }
        self.writing = Writing::Later;
        ctx.run_later(wait, |dispatcher, ctx| {
            if dispatcher.writing == Writing::Later {
                dispatcher.write_now(ctx);
            }
        });
    }

    /// Writes it now, unless an earlier write is on its way: what waits goes with the next.
    pub(super) fn write_now(&mut self, ctx: &mut Context<Self>) {
        if let Writing::Now(_) = self.writing {
            return;
        }
        self.writing = Writing::Now(now());
        let stamp = Stamp { by: self.leader.clone().into(), at: self.environment.clock.now() };
        let waiting = std::mem::take(&mut self.registering);
        let parts = self.intake.take().into_iter().map(|part| {
            let (written, stamp) = (part.clone(), stamp.clone());
            let outcome = self.store.transact(move |head| write(head, written, &stamp));
            async move { (part, outcome.await) }
        });
        let written = join_all(parts).into_actor(self);
        ctx.spawn(written.map(move |outcomes, dispatcher, ctx| {
            dispatcher.written(ctx, outcomes, waiting);
        }));
    }

    fn written(
        &mut self,
        ctx: &mut Context<Self>,
        outcomes: Vec<(Part, Written)>,
        mut waiting: Vec<oneshot::Sender<()>>,
    ) {
        if let Writing::Now(began) = self.writing {
            self.writing = Writing::Idle(began);
        }
        let mut whole = true;
        for (part, outcome) in outcomes {
            let left = match outcome {
                Ok(left) => left,
                Err(TransactError::NotWritten(_) | TransactError::OutcomeUnknown) => Some(part),
                Err(error @ TransactError::TooLarge { .. }) => {
                    tracing::error!(%error, of = part.first(), "an update is dropped");
                    if part.is_awaited() {
                        // Whoever it is tries again; nobody is told that it is committed.
                        waiting.clear();
                    }
                    part.without_first()
                }
                // Decided and written on one state of the store, so only a fault of ours can be
                // refused.
                Err(TransactError::Aborted(error)) => fail(&error),
            };
            if let Some(left) = left {
                whole &= !left.is_awaited();
                self.intake.give_back(left);
            }
        }
        if whole {
            for committed in waiting {
                committed.send(()).ok();
            }
        } else {
            self.registering.extend(waiting);
        }
        self.write_soon(ctx);
    }
}

/// A node comes into this state, and nothing else is known of it.
pub(super) fn moved(state: State, message: &'static str) -> NodeChange {
    NodeChange { state, message, addr: None, description: None }
}
