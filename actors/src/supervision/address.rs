//! Where messages go: actix addresses with permits, since actix's own bound does not hold (each
//! clone of its address has a slot of its own).

use std::{fmt, future::Future, sync::Arc};

use actix::{Actor, Addr, Context, Handler, Message, dev::MessageResponse};
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{Supervised, census::Record};

/// The actor died before it answered, or it is gone for good. Whether the message had effects is
/// not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the actor is gone or died before it answered")]
pub struct Closed;

/// Why a message was not taken; it is given back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrySendError<M> {
    /// As many messages wait as may.
    #[error("the mailbox is full")]
    Full(M),
    /// The actor is gone for good.
    #[error("the actor is gone")]
    Closed(M),
}

impl<M> fmt::Debug for TrySendError<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full(_) => "Full",
            Self::Closed(_) => "Closed",
        })
    }
}

type Open<A> = Box<dyn FnOnce(&mut A, &mut Context<A>) + Send>;

/// A message on its way, with the permit that it occupies until it has been handled or dropped.
///
/// A handler that answers by a future gives the permit back when it returns, not when the future
/// ends: what such a future may hold is bounded by whoever writes the handler.
pub struct Letter<A: Actor<Context = Context<A>>> {
    open: Open<A>,
    record: Arc<Record>,
    message: &'static str,
    _permit: OwnedSemaphorePermit,
}

impl<A: Actor<Context = Context<A>>> Letter<A> {
    /// Lets the actor handle what is inside.
    pub fn deliver(self, actor: &mut A, ctx: &mut Context<A>) {
        tracing::trace!(actor = self.record.path(), message = self.message, "handles");
        #[cfg(any(test, feature = "testing"))]
        {
            super::testing::die_if_doomed(self.record.path(), super::testing::When::BeforeHandling);
            super::testing::handles(self.record.path(), self.message);
        }
        (self.open)(actor, ctx);
        self.record.handled();
        #[cfg(any(test, feature = "testing"))]
        super::testing::die_if_doomed(self.record.path(), super::testing::When::AfterHandling);
    }
}

impl<A: Actor<Context = Context<A>>> Message for Letter<A> {
    type Result = ();
}

/// Where messages for one actor go. It stays the same over the actor's restarts.
pub struct Address<A: Supervised> {
    actix: Addr<A>,
    permits: Arc<Semaphore>,
    record: Arc<Record>,
}

impl<A: Supervised> Clone for Address<A> {
    fn clone(&self) -> Self {
        Self {
            actix: self.actix.clone(),
            permits: self.permits.clone(),
            record: self.record.clone(),
        }
    }
}

impl<A: Supervised> fmt::Debug for Address<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({})", self.record.path())
    }
}

impl<A: Supervised> Address<A> {
    pub(super) fn new(actix: Addr<A>, permits: Arc<Semaphore>, record: Arc<Record>) -> Self {
        Self { actix, permits, record }
    }

    /// Waits for a permit, delivers, and waits for the answer.
    ///
    /// Dropping the future before the message was delivered takes it back; after that it is
    /// handled all the same.
    pub fn send<M>(
        &self,
        message: M,
    ) -> impl Future<Output = Result<M::Result, Closed>> + Send + use<A, M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let address = self.clone();
        async move {
            let permit = address.permits.clone().acquire_owned().await.map_err(|_| Closed)?;
            let (answer, answered) = oneshot::channel();
            address.post::<M>(permit, move |actor, ctx| {
                actor.handle(message, ctx).handle(ctx, Some(answer));
            });
            answered.await.map_err(|_| Closed)
        }
    }

    /// Delivers at once, and wants no answer.
    pub fn try_send<M>(&self, message: M) -> Result<(), TrySendError<M>>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        if self.permits.is_closed() || !self.actix.connected() {
            return Err(TrySendError::Closed(message));
        }
        match self.permits.clone().try_acquire_owned() {
            Ok(permit) => {
                self.post::<M>(permit, move |actor, ctx| {
                    actor.handle(message, ctx).handle(ctx, None);
                });
                Ok(())
            }
            Err(_) => Err(TrySendError::Full(message)),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is where the permit comes from")]
    fn post<M>(
        &self,
        permit: OwnedSemaphorePermit,
        open: impl FnOnce(&mut A, &mut Context<A>) + Send + 'static,
    ) {
        let record = self.record.clone();
        self.actix.do_send(Letter {
            open: Box::new(open),
            record,
            message: std::any::type_name::<M>(),
            _permit: permit,
        });
    }

    /// The same address for one kind of message, whoever the actor is.
    pub fn recipient<M>(&self) -> Recipient<M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        Recipient { receive: Arc::new(self.clone()) }
    }
}

/// What an address does for one kind of message.
trait Receive<M: Message>: Send + Sync {
    fn send(&self, message: M) -> BoxFuture<'static, Result<M::Result, Closed>>;
    fn try_send(&self, message: M) -> Result<(), TrySendError<M>>;
}

impl<A, M> Receive<M> for Address<A>
where
    A: Supervised + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn send(&self, message: M) -> BoxFuture<'static, Result<M::Result, Closed>> {
        Box::pin(self.send(message))
    }

    fn try_send(&self, message: M) -> Result<(), TrySendError<M>> {
        self.try_send(message)
    }
}

/// Where one kind of message goes, whoever handles it.
pub struct Recipient<M: Message> {
    receive: Arc<dyn Receive<M>>,
}

impl<M: Message> Clone for Recipient<M> {
    fn clone(&self) -> Self {
        Self { receive: self.receive.clone() }
    }
}

impl<M: Message> Recipient<M> {
    /// As [`Address::send`].
    pub fn send(&self, message: M) -> BoxFuture<'static, Result<M::Result, Closed>> {
        self.receive.send(message)
    }

    /// As [`Address::try_send`].
    pub fn try_send(&self, message: M) -> Result<(), TrySendError<M>> {
        self.receive.try_send(message)
    }
}
