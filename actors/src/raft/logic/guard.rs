//! Which messages of peers may reach raft-rs: it panics on those that no correct peer sends.

use std::collections::BTreeSet;

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
    #[error("the members in its snapshot contradict each other")]
    SnapshotMembers,
    #[error("it is of no term")]
    NoTerm,
    #[error("it acknowledges entries that this member does not have")]
    AcknowledgesBeyondLog,
}

/// No log comes this far; what claims to would overflow.
const INDEX_MAX: u64 = u64::MAX / 2;

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
        // Members ask nobody but themselves for these.
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgPropose
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum
        | MessageType::MsgTransferLeader
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp => Err(Rejected::LocalType),
        // A candidate that gets one would go back to the first term, and forget its vote.
        _ if message.get_term() == 0 => Err(Rejected::NoTerm),
        MessageType::MsgAppend => check_entries(message, committed_term),
        MessageType::MsgHeartbeat if message.get_commit() > ours.last_index => {
            Err(Rejected::CommitBeyondLog)
        }
        MessageType::MsgAppendResponse
            if !message.get_reject() && message.get_index() > ours.last_index =>
        {
            Err(Rejected::AcknowledgesBeyondLog)
        }
        MessageType::MsgSnapshot => check_snapshot(message),
        MessageType::MsgHeartbeat
        | MessageType::MsgAppendResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgTimeoutNow
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse => Ok(()),
    }
}

/// The group has voters and learners; joint groups never are in a snapshot of ours or SwarmKit's.
fn check_snapshot(message: &Message) -> Result<(), Rejected> {
    let about = message.get_snapshot().get_metadata();
    if about.get_index() == 0 || about.get_index() > INDEX_MAX {
        return Err(Rejected::NoSnapshot);
    }
    if about.get_term() == 0 || about.get_term() > message.get_term() {
        return Err(Rejected::Terms);
    }
    let members = about.get_conf_state();
    let voters: BTreeSet<_> = members.get_voters().iter().collect();
    let learners: BTreeSet<_> = members.get_learners().iter().collect();
    let is_plain = members.get_voters_outgoing().is_empty()
        && members.get_learners_next().is_empty()
        && !members.get_auto_leave();
    let is_set = voters.len() == members.get_voters().len()
        && learners.len() == members.get_learners().len()
        && voters.is_disjoint(&learners)
        && !voters.contains(&0)
        && !learners.contains(&0);
    if voters.is_empty() || !is_plain || !is_set {
        return Err(Rejected::SnapshotMembers);
    }
    Ok(())
}

fn check_entries(
    message: &Message,
    committed_term: impl Fn(u64) -> Option<u64>,
) -> Result<(), Rejected> {
    let (mut index, mut term) = (message.get_index(), message.get_log_term());
    // Behind its end, raft-rs takes the term of its log for zero, and would believe that it has all.
    if index > INDEX_MAX || (index == 0) != (term == 0) {
        return Err(Rejected::Terms);
    }
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
