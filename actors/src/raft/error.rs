//! Why a peer cannot begin, or cannot go on.

use crate::{log, store};

/// Why a peer ends. None of it gets better by trying again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be read or written.
    #[error(transparent)]
    Log(#[from] log::Error),
    /// The log is another node's.
    #[error(
        "the raft directory belongs to node {found}, and this is node {expected}: was the state \
         directory put together from two?"
    )]
    AnotherNode {
        /// The node that wrote it.
        found: String,
        /// This node.
        expected: String,
    },
    /// The snapshot in the log cannot be read.
    #[error("the snapshot cannot be read")]
    Snapshot(#[from] store::Unreadable),
    /// The members in the snapshot cannot be read.
    #[error("the members in the snapshot cannot be read")]
    Members,
    /// This member was taken out of the group, for ever.
    #[error(transparent)]
    Removed(#[from] super::Removed),
    /// raft-rs refuses the configuration.
    #[error("raft cannot begin: {0}")]
    Refused(String),
}
