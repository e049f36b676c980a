//! The raft peer: agrees with the other managers on the log, and feeds the store with it.
//!
//! raft-rs decides; the peer persists, sends and applies what it says, in that order where the
//! order matters. Its types stay in this folder.

use std::{ops::Range, sync::Arc, time::Duration};

use actix::Message;
use protocol::raftpb;

mod change;
mod changing;
mod error;
mod logger;
mod logic;
mod members;
mod membership;
mod peer;
mod reads;
mod receiving;
mod recovery;
mod refused;
mod running;
mod saving;
mod sending;
mod slices;
mod standing;
mod storage;
#[cfg(test)]
mod tests;
mod unsaved;

pub use change::{ChangeError, Join, Joined, Removal, Remove, Removed, TransferLeadership};
pub use error::Error;
pub use peer::Peer;
pub use standing::{Group, Intake, Leader, Standing};

use crate::{
    log,
    store::{Committed, MemoryStore, Published},
    supervision::{Address, Recipient},
};

/// Who this member is, and how it keeps time.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose log this is when it is new. Later the log says so itself, and the node must match.
    pub member: log::Member,
    /// The first members of a new cluster, this one among them; the same list on each. Empty for a
    /// member that joins: the leader tells it everything.
    pub founders: Vec<Founder>,
    /// Where other managers reach this member, if its log does not say so.
    pub address: String,
    /// Whether it goes on alone: all others are lost for good, and too many to do without. They
    /// are removed before anything else happens, and so are those who have joined since when it is
    /// asked for again.
    pub force_new_cluster: bool,
    /// How long a tick is.
    pub tick: Duration,
    /// After how many ticks the leader says that it is there.
    pub heartbeat_ticks: usize,
    /// After how many silent ticks a member doubts its leader; each term draws from the range.
    pub election_ticks: Range<usize>,
    /// After how many applied entries a snapshot is written, while the cluster's settings do not
    /// say it.
    pub snapshot_interval: u64,
    /// How many entries a snapshot leaves in the log, for members that are a little behind; while
    /// the cluster's settings do not say it.
    pub entries_kept: u64,
    /// After how many applied bytes a snapshot is written at the latest. It leaves a quarter as
    /// much in the log, and twice as much while a member is being sent an earlier one.
    pub snapshot_bytes: u64,
    /// What elections are drawn from.
    pub seed: u64,
}

/// Ticks of 100 ms and elections after one to two seconds (architecture D11).
pub const TICK: Duration = Duration::from_millis(100);

impl Config {
    /// The settings of production for a member that founds a cluster of its own.
    pub fn alone(member: log::Member, address: String, seed: u64) -> Self {
        let (raft_id, node_id) = (member.raft_id, member.node_id.clone());
        let founder = Founder { raft_id, node_id, address: address.clone() };
        Self {
            member,
            founders: vec![founder],
            address,
            force_new_cluster: false,
            tick: TICK,
            heartbeat_ticks: 1,
            election_ticks: 10..20,
            snapshot_interval: 10_000,
            entries_kept: 500,
            snapshot_bytes: 256 << 20,
            seed,
        }
    }
}

/// A member with its node; the first of a cluster are known before there is a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founder {
    /// Its raft id.
    pub raft_id: u64,
    /// Its node's id.
    pub node_id: String,
    /// Where other managers reach it.
    pub address: String,
}

/// Whom the peer works with.
#[derive(Clone)]
pub struct Links {
    /// Makes durable what raft wants to remember.
    pub log: Address<log::Writer>,
    /// Applies what is committed.
    pub store: Address<MemoryStore>,
    /// What the store has published: what a snapshot is made of.
    pub published: Published,
    /// Where everybody reads who leads.
    pub standing: Standing,
    /// The way to the other members.
    pub transport: Arc<dyn Transport>,
    /// Hears who leads.
    pub leadership: Recipient<LeadershipChanged>,
    /// Hears of the end.
    pub ended: Recipient<Ended>,
}

/// Carries messages to other members. May lose, delay and repeat them, and keeps a bounded number.
pub trait Transport: Send + Sync + 'static {
    /// Takes a message for the member that it names.
    fn send(&self, message: raftpb::Message);
}

/// A message from another member. A sender that was removed is told so.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), Removed>")]
pub struct Receive(pub raftpb::Message);

/// What became of what was sent to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Report {
    /// The member.
    pub to: u64,
    /// What is known.
    pub delivery: Delivery,
}

/// What became of what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The member cannot be reached.
    Unreachable,
    /// It has the whole snapshot.
    SnapshotArrived,
    /// The snapshot did not arrive.
    SnapshotLost,
    /// The member answers with [`Removed`]: this one is no member any more.
    RefusedAsRemoved,
    /// The connection to the member was closed, and dialling it again is refused: nobody listens
    /// there. Said at once, and again every 60 to 90 ms as long as it is so. What is merely not
    /// answered is [`Delivery::Unreachable`].
    Refused,
}

/// This member begins or ceases to lead. The store knows it already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct LeadershipChanged {
    /// The term in which it leads; `None` when it does not.
    pub term: Option<u64>,
}

/// The peer cannot go on, and no restart helps: the process has to end, or, where the error is
/// [`Error::Removed`], to go on without being a manager.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Ended {
    /// Why.
    pub error: Error,
}

/// Asks until where a read has to wait so that it sees everything that was acknowledged before.
/// Answered once the store here has applied that much.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<u64, NotLeading>")]
pub struct ReadIndex;

/// This member does not lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this manager does not lead")]
pub struct NotLeading;

/// Asks for what the peer knows to be committed from `from` on, as far as its log still has it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "LogPage")]
pub struct GetCommitted {
    /// The first index of interest.
    pub from: u64,
}

/// A part of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPage {
    /// The first index that the log still has.
    pub begins: u64,
    /// Entries without a gap, oldest first; about a mebibyte at most.
    pub entries: Vec<Committed>,
}

/// Asks how the peer stands.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<Status>")]
pub struct GetStatus;

/// How a peer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its raft id.
    pub raft_id: u64,
    /// The newest term that it knows.
    pub term: u64,
    /// Who leads that term, as far as it knows.
    pub leader: Option<u64>,
    /// The last entry that is committed.
    pub committed: u64,
    /// The last entry that the store here has applied.
    pub applied: u64,
    /// The last entry that it has.
    pub last: u64,
    /// The members who vote.
    pub voters: Vec<u64>,
    /// The members who have not caught up yet, and do not vote.
    pub learners: Vec<u64>,
    /// The entry that last changed who votes or learns.
    pub members_since: u64,
    /// Everybody who was a member once and never will be again.
    pub removed: Vec<u64>,
    /// All members, with their nodes.
    pub members: Vec<Founder>,
    /// Whom it has heard of lately, among others than itself.
    pub reachable: Vec<u64>,
}
