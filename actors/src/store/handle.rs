//! How the rest of the program reaches the store: reads without waiting, writes as transactions.

use std::{future::Future, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, oneshot};

use super::{
    Feed, Transaction, View,
    memory::{MemoryStore, Subscribe, Transact},
    subscribers::Change,
    waiting::{Fate, NotWritten, Waiting},
};
use crate::supervision::{Address, Recipient, TrySendError};

/// How many transactions may be on their way at once, over all callers; more wait.
pub(super) const TRANSACTIONS_MAX: usize = 1024;

/// What is committed, for readers on any thread: the newest view and the last transactions. It
/// outlives the lives of the actor and never goes back.
#[derive(Clone, Default)]
pub struct Published {
    view: Arc<ArcSwap<View>>,
    feed: Feed,
}

impl Published {
    /// The newest committed view.
    pub fn view(&self) -> View {
        View::clone(&self.view.load())
    }

    /// The last transactions.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Publishes a view unless a newer one is out already, as when the store starts again.
    pub(super) fn publish(&self, view: &View) {
        if view.index() >= self.view.load().index() {
            self.view.store(Arc::new(view.clone()));
        }
    }
}

/// The store, for everybody.
#[derive(Clone)]
pub struct Store {
    published: Published,
    memory: Address<MemoryStore>,
    entrance: Arc<Semaphore>,
}

/// Why a transaction has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactError<E> {
    /// The closure said no. Nothing was written.
    #[error("{0}")]
    Aborted(E),
    /// Nothing was written, nor will be; asking again is safe.
    #[error("nothing was written: {0}")]
    NotWritten(NotWritten),
    /// It was proposed and may still be written: leadership changed before it was known.
    #[error("it is not known whether the change was written")]
    OutcomeUnknown,
    /// One entry of the log cannot hold it. Nothing was written.
    #[error("the change is too large: {bytes} bytes, at most {}", super::TRANSACTION_BYTES_MAX)]
    TooLarge {
        /// How large it is, encoded.
        bytes: usize,
    },
}

impl Store {
    /// A handle on the actor, which publishes to `published`.
    pub fn new(memory: Address<MemoryStore>, published: Published) -> Self {
        Self { published, memory, entrance: Arc::new(Semaphore::new(TRANSACTIONS_MAX)) }
    }

    /// The newest committed state. Takes no lock and waits for nobody.
    pub fn view(&self) -> View {
        self.published.view()
    }

    /// The last transactions. They are here no sooner than the view shows them.
    pub fn feed(&self) -> &Feed {
        self.published.feed()
    }

    /// Runs `decide` on the newest state of the leader, writes in flight included, and resolves
    /// once everything that it read and wrote is committed and applied here.
    ///
    /// The closure runs on the store's thread: it decides, and waits for nothing. A transaction
    /// that writes nothing is not proposed. Dropping the future does not take the transaction
    /// back.
    pub fn transact<T, E, F>(
        &self,
        decide: F,
    ) -> impl Future<Output = Result<T, TransactError<E>>> + Send + use<T, E, F>
    where
        F: FnOnce(&mut Transaction) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (memory, entrance) = (self.memory.clone(), self.entrance.clone());
        async move {
            let permit = entrance.acquire_owned().await.expect("the entrance is never closed");
            let (answer, answered) = oneshot::channel();
            let run = Box::new(move |transaction: &mut Transaction| {
                let decision = decide(transaction);
                let wanted = decision.is_ok();
                let settle = move |fate| {
                    if planted!(PermitLeaked) && fate != Fate::Committed {
                        permit.forget();
                        return drop(answer.send(settled(decision, fate)));
                    }
                    answer.send(settled(decision, fate)).ok();
                    drop(permit);
                };
                (wanted, Waiting::new(settle))
            });
            // The outcome comes over the channel. A closure that never ran drops it, whether the
            // store does not lead, is full or is gone.
            memory.try_send(Transact { run }).ok();
            answered.await.unwrap_or(Err(TransactError::NotWritten(NotWritten::NotLeading)))
        }
    }

    /// How many transactions are on their way.
    #[cfg(any(test, feature = "testing"))]
    pub fn transactions(&self) -> usize {
        TRANSACTIONS_MAX - self.entrance.available_permits()
    }

    /// Tells `subscriber` what is committed from now on, beginning with the whole. A second
    /// subscription under the same name replaces the first; one whose actor has died ends.
    ///
    /// # Panics
    ///
    /// When more subscribers come at once than there are in a manager.
    pub fn subscribe(&self, name: &'static str, subscriber: Recipient<Change>) {
        match self.memory.try_send(Subscribe { name, subscriber }) {
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => panic!("no room for the subscription of {name}"),
        }
    }
}

/// What a caller is told.
pub(super) fn settled<T, E>(decision: Result<T, E>, fate: Fate) -> Result<T, TransactError<E>> {
    match fate {
        Fate::Committed => decision.map_err(TransactError::Aborted),
        Fate::NotWritten(reason) => Err(TransactError::NotWritten(reason)),
        Fate::OutcomeUnknown => Err(TransactError::OutcomeUnknown),
        Fate::TooLarge { bytes } => Err(TransactError::TooLarge { bytes }),
    }
}
