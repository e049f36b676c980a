//! Which messages of peers may reach raft-rs: it panics on those that no correct peer sends.

use raft::eraftpb::{Message, MessageType};

/// Why a message is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::raft) enum Rejected {
    #[error("it is for another member")]
    NotForUs,
    #[error("it comes from nobody")]
    FromNobody,
    #[error("its type number {0} is unknown")]
    UnknownType(i32),
    #[error("messages of its type never come from a peer")]
    LocalType,
    #[error("its entries do not follow each other")]
    Gap,
    #[error("the terms of its entries fall, or are beyond its own")]
    Terms,
    #[error("it claims that entries are committed which this member does not have")]
    CommitBeyondLog,
    #[error("it contradicts what is committed")]
    ContradictsCommitted,
    #[error("it carries no snapshot")]
    NoSnapshot,
}

/// What a message is held against.
pub(in crate::raft) struct Ours {
    pub(in crate::raft) id: u64,
    pub(in crate::raft) last_index: u64,
}

/// Checks a message of a peer. `term_at` gives the term of a committed entry, if it is still known.
pub(in crate::raft) fn check(
    message: &Message,
    ours: &Ours,
    committed_term: impl Fn(u64) -> Option<u64>,
) -> Result<(), Rejected> {
    if message.get_to() != ours.id {
        return Err(Rejected::NotForUs);
    }
    if message.get_from() == 0 || message.get_from() == ours.id {
        return Err(Rejected::FromNobody);
    }
    match message.get_msg_type() {
        MessageType::MsgAppend => check_entries(message, committed_term),
        MessageType::MsgHeartbeat if message.get_commit() > ours.last_index => {
            Err(Rejected::CommitBeyondLog)
        }
        MessageType::MsgSnapshot if message.get_snapshot().get_metadata().get_index() == 0 => {
            Err(Rejected::NoSnapshot)
        }
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgPropose
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum => Err(Rejected::LocalType),
        MessageType::MsgHeartbeat
        | MessageType::MsgSnapshot
        | MessageType::MsgAppendResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgTransferLeader
        | MessageType::MsgTimeoutNow
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse => Ok(()),
    }
}

fn check_entries(
    message: &Message,
    committed_term: impl Fn(u64) -> Option<u64>,
) -> Result<(), Rejected> {
    let (mut index, mut term) = (message.get_index(), message.get_log_term());
    for entry in message.get_entries() {
        index += 1;
        if entry.get_index() != index {
            return Err(Rejected::Gap);
        }
        if entry.get_term() < term || entry.get_term() > message.get_term() {
            return Err(Rejected::Terms);
        }
        term = entry.get_term();
        if committed_term(index).is_some_and(|committed| committed != term) {
            return Err(Rejected::ContradictsCommitted);
        }
    }
    Ok(())
}
