//! What follows an attempt to make the store ready for the loops.

use std::sync::Arc;

use super::Fatal;
use crate::{cluster, store::TransactError};

/// What came of writing the first objects.
pub(super) type Seeded = Result<(), TransactError<Arc<cluster::Error>>>;

/// What a leader does next.
#[derive(Debug)]
pub(super) enum Next {
    /// The store holds what every leader relies on.
    StartLoops,
    /// Nothing was written, or nobody knows: writing it again does no harm.
    SeedAgain,
    /// No attempt will do better.
    End(Fatal),
}

/// Decides on the outcome of an attempt.
pub(super) fn after(seeded: Seeded) -> Next {
    match seeded {
        Ok(()) => Next::StartLoops,
        Err(TransactError::NotWritten(_) | TransactError::OutcomeUnknown) => Next::SeedAgain,
        Err(TransactError::Aborted(error)) => Next::End(Fatal::Cluster(error)),
        Err(TransactError::TooLarge { bytes }) => Next::End(Fatal::TooLarge { bytes }),
    }
}
