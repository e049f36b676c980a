//! The write-ahead log: what raft acknowledges is in here, synced, before anyone is told.
//!
//! It knows entries, hard states and snapshots as bytes; what is in them is for raft and the
//! store. The byte layout and the rule of recovery are in `docs/design/log.md`.

use actix::Message;
use bytes::Bytes;

mod error;
mod port;

pub use error::{Action, Error};
pub use port::{Cipher, Disk, File};

/// One entry of the raft log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The entry's number; entries follow each other without a gap.
    pub index: u64,
    /// The term of the leader that proposed it.
    pub term: u64,
    /// What `data` is.
    pub kind: EntryKind,
    /// The payload; may be empty.
    pub data: Bytes,
}

/// What the payload of an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A request to the store.
    Normal,
    /// A change of the members.
    ConfChange,
}

/// What raft must not forget beside the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    /// The latest term seen.
    pub term: u64,
    /// The member voted for in that term, 0 for none.
    pub vote: u64,
    /// The highest entry known committed.
    pub commit: u64,
}

/// Whose log this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The raft id.
    pub raft_id: u64,
    /// The node's id.
    pub node_id: String,
    /// The cluster's id; empty while a new cluster has none.
    pub cluster_id: String,
}

/// What a snapshot says beside the objects of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The last entry that the snapshot covers.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The members and the raft configuration at that entry, encoded by raft.
    pub membership: Bytes,
}

/// A snapshot on its way to the disk. The objects are pulled one by one while it is written.
pub struct Snapshot {
    /// What it covers.
    pub info: SnapshotInfo,
    /// The objects of the store, each encoded by the store.
    pub objects: Box<dyn Iterator<Item = Bytes> + Send>,
}

/// Everything that was acknowledged, and perhaps a little that was not.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// Whose log it is; none when the directory is new, and [`Begin`] comes next.
    pub member: Option<Member>,
    /// Fits the rest: `commit` is neither before the snapshot nor after the last entry.
    pub hard_state: HardState,
    /// The newest snapshot; its objects are asked for with [`ReadSnapshot`].
    pub snapshot: Option<SnapshotInfo>,
    /// The entries after the snapshot, without a gap.
    pub entries: Vec<Entry>,
}

/// Reads the directory, cuts what was never acknowledged, and makes the log ready to append to.
///
/// Comes first in every life of the writer, and again when raft is rebuilt.
#[derive(Debug, Message)]
#[rtype(result = "Result<Recovered, Error>")]
pub struct Recover;

/// Starts the log of a new member, after [`Recover`] found none.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Error>")]
pub struct Begin(pub Member);

/// Adds entries and a hard state. Answered when both are durable, in the order of the requests.
///
/// The first entry replaces the entry of its index and everything after it, so a follower cuts a
/// conflicting suffix by appending what replaces it.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Error>")]
pub struct Append {
    /// Consecutive entries; the first is at most one after the last of the log.
    pub entries: Vec<Entry>,
    /// The new hard state, if it has changed.
    pub hard_state: Option<HardState>,
}

/// Writes a snapshot of what this member has applied, in the background: appends go on meanwhile.
/// Answered when it is durable.
#[derive(Message)]
#[rtype(result = "Result<(), Error>")]
pub struct SaveSnapshot(pub Snapshot);

/// Writes a snapshot that came from the leader. Unless the log holds the snapshot's last entry,
/// everything in it is replaced. Requests that follow wait for it.
#[derive(Message)]
#[rtype(result = "Result<(), Error>")]
pub struct InstallSnapshot(pub Snapshot);

/// Removes whole segments whose entries are all at or before `to` and in the newest snapshot,
/// and the snapshots before the newest.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Error>")]
pub struct Compact {
    /// The last entry that is no longer needed.
    pub to: u64,
}

/// Reads a part of the newest snapshot's objects.
#[derive(Debug, Message)]
#[rtype(result = "Result<SnapshotPart, Error>")]
pub struct ReadSnapshot {
    /// Where to begin; [`Cursor::default`] for the first part.
    pub from: Cursor,
}

/// A place between two parts of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor(u64);

/// Some objects of a snapshot, in the order they were written.
#[derive(Debug)]
pub struct SnapshotPart {
    /// About a mebibyte of objects.
    pub objects: Vec<Bytes>,
    /// Where to go on; none after the last object.
    pub next: Option<Cursor>,
}
