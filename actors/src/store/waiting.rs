//! Callers who wait for the outcome of a transaction. None is ever left without an answer.

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Committed,
    NotWritten(NotWritten),
    OutcomeUnknown,
    TooLarge { bytes: usize },
}

/// Why nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWritten {
    /// Another manager leads, or none does.
    #[error("this manager does not lead")]
    NotLeading,
    /// Raft has as much in flight as it may.
    #[error("too many changes are in flight")]
    Busy,
    /// An earlier write that it built on was not written.
    #[error("a change that it built on was not written")]
    CutOff,
}

type Settle = Box<dyn FnOnce(Fate) + Send>;

/// One caller. Dropped without an answer, it says what is known by then.
pub(super) struct Waiting {
    settle: Option<Settle>,
    /// What is said when nobody comes to say more.
    otherwise: Fate,
}

impl Waiting {
    pub(super) fn new(settle: impl FnOnce(Fate) + Send + 'static) -> Self {
        let otherwise = Fate::NotWritten(NotWritten::NotLeading);
        Self { settle: Some(Box::new(settle)), otherwise }
    }

    /// From here on the write may happen whatever becomes of this process.
    pub(super) fn proposed(&mut self) {
        self.otherwise = Fate::OutcomeUnknown;
    }

    pub(super) fn settle(mut self, fate: Fate) {
        if let Some(settle) = self.settle.take() {
            settle(fate);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take() {
            settle(self.otherwise);
        }
    }
}
