//! Why the log cannot be opened, or cannot be written any more.

use std::{io, sync::Arc};

/// Why a request to the log was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A read, write or sync failed, now or earlier. Final: whether the last write is on the disk
    /// is unknown, so the member must stop acknowledging and its process must end.
    #[error("the log is closed: {action} {file} failed")]
    Failed {
        /// What was tried.
        action: Action,
        /// The file it was tried on, or the directory itself.
        file: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Something that was acknowledged is not there any more. The files are left as they are.
    #[error(
        "{file} is damaged at byte {offset}: what was acknowledged there cannot be read; restore \
         the raft directory from a copy, or remove it and let this manager join again"
    )]
    Damaged {
        /// The damaged file.
        file: String,
        /// The place of the first record that cannot be read, in bytes from its beginning.
        offset: u64,
    },
    /// A file that acknowledged data was in is not in the directory.
    #[error(
        "{file} is missing: it holds data that was acknowledged; restore the raft directory from \
         a copy, or remove it and let this manager join again"
    )]
    Missing {
        /// The missing file.
        file: String,
    },
    /// The records are whole, but the key is not the one they were sealed with.
    #[error(
        "{file} cannot be decrypted: the data key in swarm-node.key is not the one that this raft \
         directory was written with"
    )]
    WrongKey {
        /// The first file that did not open.
        file: String,
    },
    /// A later release wrote the file.
    #[error(
        "{file} has format version {version}, and this swarmd reads up to {supported}: run the \
         release that wrote it, or a later one"
    )]
    UnknownVersion {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
        /// The highest version that can be read.
        supported: u32,
    },
    /// The directory belongs to SwarmKit.
    #[error(
        "the raft directory holds a SwarmKit log ({name}), which this swarmd cannot read; it has \
         been left as it is. Start with an empty --state-dir and join the running cluster with \
         --join-addr and --join-token, or begin a new one"
    )]
    Foreign {
        /// What was found.
        name: String,
    },
    /// `Recover` has not been asked, or not since this life of the writer began.
    #[error("the log has not been recovered")]
    NotRecovered,
    /// No member has been written: `Begin` comes first.
    #[error("the log belongs to no member yet")]
    NotBegun,
    /// `Begin` was asked of a log that has a member.
    #[error("the log belongs to a member already")]
    AlreadyBegun,
    /// A snapshot of this member could not be written. Nobody relies on it, so the log goes on.
    #[error("the snapshot was not written: {action} {file} failed")]
    NotSaved {
        /// What was tried.
        action: Action,
        /// The file it was tried on.
        file: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Another snapshot is still being written.
    #[error("another snapshot is being written")]
    SnapshotRunning,
}

/// What was done to a file when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Listing the directory.
    List,
    /// Creating and preallocating.
    Create,
    /// Opening.
    Open,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Making writes or names durable.
    Sync,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
}

impl std::fmt::Display for Action {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::List => "listing",
            Self::Create => "creating",
            Self::Open => "opening",
            Self::Read => "reading",
            Self::Write => "writing",
            Self::Sync => "syncing",
            Self::Rename => "renaming",
            Self::Remove => "removing",
        })
    }
}
