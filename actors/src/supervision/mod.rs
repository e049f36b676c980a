//! Supervision on actix: an actor that panics or stops by itself is built anew behind the same
//! address, under a budget that its tree shares.
//!
//! `actix::Supervisor` does not survive a panic, and actix's mailbox bound does not hold; both are
//! made good here and nowhere else. What is decided stands in `logic.rs`.

mod address;
mod census;
mod child;
mod logic;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod tree;

use std::{any::Any, cell::RefCell};

use actix::{Actor, Context, Handler};

pub use address::{Address, Closed, Letter, Recipient, TrySendError};
pub use census::{ActorReport, ActorState, Census};
pub use logic::Budget;
pub use tree::{Lost, Tree};

/// Which life of an actor this is, from 0. I/O that a dead life started is told by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life(pub u64);

/// An actor that can be supervised. Implemented by [`supervised!`](crate::supervised).
pub trait Supervised:
    Actor<Context = Context<Self>> + actix::Supervised + Handler<Letter<Self>> + Unpin
{
    /// How many messages may wait before senders do.
    const MAILBOX: usize;
}

/// Lets an actor be supervised: `supervised!(Scheduler, mailbox = 1024);`
#[macro_export]
macro_rules! supervised {
    ($actor:ty, mailbox = $capacity:expr) => {
        impl ::actix::Supervised for $actor {
            fn restarting(&mut self, _: &mut ::actix::Context<Self>) {
                $crate::supervision::take_next_life(self);
            }
        }

        impl ::actix::Handler<$crate::supervision::Letter<Self>> for $actor {
            type Result = ();

            fn handle(
                &mut self,
                letter: $crate::supervision::Letter<Self>,
                ctx: &mut ::actix::Context<Self>,
            ) {
                letter.deliver(self, ctx);
            }
        }

        impl $crate::supervision::Supervised for $actor {
            const MAILBOX: usize = $capacity;
        }
    };
}

/// Ends the life of an actor that cannot go on, with the reason; its tree decides what follows.
///
/// # Panics
///
/// Always: that is how a life ends.
pub fn fail(reason: &dyn std::fmt::Display) -> ! {
    std::panic::panic_any(reason.to_string())
}

thread_local! {
    /// The actor that replaces the one that died. actix keeps the dead one to itself, and only
    /// tells it that it is being restarted: there it takes its successor from here.
    static NEXT_LIFE: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// Lets the successor of an actor take its place. Only `supervised!` calls it.
pub fn take_next_life<A: 'static>(actor: &mut A) {
    let next = NEXT_LIFE.with_borrow_mut(Option::take);
    let next = next.expect("a life is laid down before a restart");
    *actor = *next.downcast().expect("it is of the type that is restarted");
}

fn lay_down_next_life<A: 'static>(actor: A) {
    NEXT_LIFE.set(Some(Box::new(actor)));
}
