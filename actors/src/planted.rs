//! Bugs that the harness has to find: each is one line at its place, compiled out of everything
//! but the build that shows that the checkers see it, and off there until a run asks for it.

/// Whether this bug is planted in this run. In a build without the feature `planted` it is `false`.
#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

#[cfg(feature = "planted")]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is($crate::planted::Bug::$bug)
    };
}

#[cfg(feature = "planted")]
pub use bugs::{Bug, is, plant};

#[cfg(feature = "planted")]
mod bugs {
    use std::cell::Cell;

    /// What is wrong.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Bug {
        /// The log answers before the sync.
        AcknowledgeBeforeSync,
        /// A leader that loses its term forgets who waits for its writes.
        TailDroppedSilently,
        /// Subscribers are not told that a snapshot has replaced everything.
        ResyncLost,
        /// Transactions run on what is committed, not on the head.
        DecidedOnCommitted,
        /// raft-rs sends appends in batches, of what several messages ask for.
        BatchAppend,
        /// Every version is 1.
        VersionNotRising,
        /// What is removed stays in the indices.
        IndexLeftBehind,
        /// A name is free as soon as its service is being deleted.
        NameFreedEarly,
        /// The loops of a leader outlive its term.
        LoopsOutliveTerm,
        /// A snapshot has no configs.
        SnapshotMissesKind,
        /// A transaction that fails keeps its permit.
        PermitLeaked,
        /// A replacement does not wait until the task before it has stopped.
        StaleTimer,
        /// Raft speaks before what it says is on the disk.
        SentBeforeSaved,
        /// Tasks are made as the committed view asks for, whatever is on its way by then.
        SlotsOfCommitted,
        /// What a certificate says counts although its node was removed or demoted.
        RemovedStillServed,
        /// A join token is not compared.
        AnyTokenLetsIn,
        /// A node is given up after one period of silence.
        GraceTooShort,
        /// A leader never doubts that it hears.
        NeverDoubts,
        /// Nobody tells an agent that a task is to stop.
        StopsUntold,
        /// A status is written although it is lower than what is known.
        StatusFalls,
    }

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug for the runs on this thread, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether this bug is planted.
    pub fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}
