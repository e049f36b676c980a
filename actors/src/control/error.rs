//! Why a control call is refused.

use crate::store;

/// A refusal, by what a client can do about it (validation.md §1). The texts reach users as they
/// are, so each is one that they can act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request itself is wrong, whatever the state of the cluster.
    #[error("{0}")]
    InvalidArgument(String),
    /// What it is about does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The name is taken.
    #[error("{0}")]
    AlreadyExists(String),
    /// Valid, but not in the state that the cluster is in.
    #[error("{0}")]
    FailedPrecondition(String),
    /// Asks for something that is not offered.
    #[error("{0}")]
    Unimplemented(String),
    /// A text that clients know without a code of its own.
    #[error("{0}")]
    Unknown(String),
    /// What the cluster has stored cannot be used.
    #[error("{0}")]
    Internal(String),
    /// The store refused the write.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// The refusal of a request that lacks an id, a version or a spec.
    pub fn incomplete() -> Self {
        Self::invalid("invalid argument")
    }

    pub(super) fn invalid(text: impl Into<String>) -> Self {
        Self::InvalidArgument(text.into())
    }

    /// No object of this kind, as users call it, has this id.
    pub(super) fn not_found(kind: &str, id: &str) -> Self {
        Self::NotFound(format!("{kind} {id} not found"))
    }
}
