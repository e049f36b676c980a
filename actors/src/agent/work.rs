//! Something that an actor waits for and can drop at once.
//!
//! Cancelling a future of an actix context takes effect some polls later, and until then it may
//! still report its end. Here whoever drops the `Work` knows that the future is gone.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    rc::Rc,
    task::Poll,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, fut::wrap_future};
use futures_util::future::LocalBoxFuture;

type Slot<T> = Rc<RefCell<Option<LocalBoxFuture<'static, T>>>>;

/// A future at work for an actor; dropping this drops the future.
pub(super) struct Work {
    forget: Box<dyn Fn()>,
}

impl Work {
    /// Lets the actor go on with other things until the future ends; then `ended` is called.
    pub(super) fn begin<A, T>(
        ctx: &mut Context<A>,
        future: impl Future<Output = T> + 'static,
        ended: impl FnOnce(&mut A, T, &mut Context<A>) + 'static,
    ) -> Self
    where
        A: Actor<Context = Context<A>>,
        T: 'static,
    {
        let slot: Slot<T> = Rc::new(RefCell::new(Some(Box::pin(future))));
        let polled = slot.clone();
        let driver = poll_fn(move |cx| {
            let mut slot = polled.borrow_mut();
            let Some(future) = slot.as_mut() else { return Poll::Ready(None) };
            let Poll::Ready(result) = future.as_mut().poll(cx) else { return Poll::Pending };
            *slot = None;
            Poll::Ready(Some(result))
        });
        ctx.spawn(wrap_future::<_, A>(driver).map(|result, actor, ctx| {
            if let Some(result) = result {
                ended(actor, result, ctx);
            }
        }));
        Self { forget: Box::new(move || drop(slot.take())) }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        (self.forget)();
    }
}
