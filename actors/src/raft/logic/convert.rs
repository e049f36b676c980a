//! The messages of peers in our own types, and in those of raft-rs.
//!
//! Bytes from the network are decoded by `protocol::raftpb` alone. The forms differ in the fields
//! behind 12, none of which is used, and in the numbers of membership changes: see `change.rs`.

use protocol::raftpb;
use raft::eraftpb::{
    ConfState, Entry, EntryType, HardState, Message, MessageType, Snapshot, SnapshotMetadata,
};

use super::Rejected;
use crate::log;

/// The numbers of a message type are the same in both forms.
fn message_type(number: i32) -> Result<MessageType, Rejected> {
    Ok(match raftpb::MessageType::try_from(number) {
        Ok(raftpb::MessageType::MsgHup) => MessageType::MsgHup,
        Ok(raftpb::MessageType::MsgBeat) => MessageType::MsgBeat,
        Ok(raftpb::MessageType::MsgProp) => MessageType::MsgPropose,
        Ok(raftpb::MessageType::MsgApp) => MessageType::MsgAppend,
        Ok(raftpb::MessageType::MsgAppResp) => MessageType::MsgAppendResponse,
        Ok(raftpb::MessageType::MsgVote) => MessageType::MsgRequestVote,
        Ok(raftpb::MessageType::MsgVoteResp) => MessageType::MsgRequestVoteResponse,
        Ok(raftpb::MessageType::MsgSnap) => MessageType::MsgSnapshot,
        Ok(raftpb::MessageType::MsgHeartbeat) => MessageType::MsgHeartbeat,
        Ok(raftpb::MessageType::MsgHeartbeatResp) => MessageType::MsgHeartbeatResponse,
        Ok(raftpb::MessageType::MsgUnreachable) => MessageType::MsgUnreachable,
        Ok(raftpb::MessageType::MsgSnapStatus) => MessageType::MsgSnapStatus,
        Ok(raftpb::MessageType::MsgCheckQuorum) => MessageType::MsgCheckQuorum,
        Ok(raftpb::MessageType::MsgTransferLeader) => MessageType::MsgTransferLeader,
        Ok(raftpb::MessageType::MsgTimeoutNow) => MessageType::MsgTimeoutNow,
        Ok(raftpb::MessageType::MsgReadIndex) => MessageType::MsgReadIndex,
        Ok(raftpb::MessageType::MsgReadIndexResp) => MessageType::MsgReadIndexResp,
        Ok(raftpb::MessageType::MsgPreVote) => MessageType::MsgRequestPreVote,
        Ok(raftpb::MessageType::MsgPreVoteResp) => MessageType::MsgRequestPreVoteResponse,
        Ok(
            raftpb::MessageType::MsgStorageAppend
            | raftpb::MessageType::MsgStorageAppendResp
            | raftpb::MessageType::MsgStorageApply
            | raftpb::MessageType::MsgStorageApplyResp
            | raftpb::MessageType::MsgForgetLeader,
        )
        | Err(_) => return Err(Rejected::UnknownType(number)),
    })
}

/// From the form of peers to that of raft-rs.
pub(in crate::raft) fn from_wire(wire: raftpb::Message) -> Result<Message, Rejected> {
    let mut message = Message::default();
    message.set_msg_type(message_type(wire.r#type.unwrap_or_default())?);
    message.set_to(wire.to.unwrap_or_default());
    message.set_from(wire.from.unwrap_or_default());
    message.set_term(wire.term.unwrap_or_default());
    message.set_log_term(wire.log_term.unwrap_or_default());
    message.set_index(wire.index.unwrap_or_default());
    message.set_entries(wire.entries.into_iter().map(entry_from_wire).collect());
    message.set_commit(wire.commit.unwrap_or_default());
    message.set_reject(wire.reject.unwrap_or_default());
    message.set_reject_hint(wire.reject_hint.unwrap_or_default());
    message.set_context(wire.context.unwrap_or_default());
    // Go sends an empty snapshot with every message; for raft-rs there is none then.
    if let Some(snapshot) = wire.snapshot.filter(|snapshot| !is_empty(snapshot)) {
        message.set_snapshot(snapshot_from_wire(snapshot));
    }
    Ok(message)
}

fn is_empty(snapshot: &raftpb::Snapshot) -> bool {
    snapshot.metadata.as_ref().and_then(|metadata| metadata.index).unwrap_or_default() == 0
}

/// From the form of raft-rs to that of peers.
pub(in crate::raft) fn to_wire(mut message: Message) -> raftpb::Message {
    let snapshot = message.has_snapshot().then(|| snapshot_to_wire(message.take_snapshot()));
    raftpb::Message {
        r#type: Some(message.get_msg_type() as i32),
        to: Some(message.get_to()),
        from: Some(message.get_from()),
        term: Some(message.get_term()),
        log_term: Some(message.get_log_term()),
        index: Some(message.get_index()),
        entries: message.take_entries().into_iter().map(entry_to_wire).collect(),
        commit: Some(message.get_commit()),
        snapshot,
        reject: Some(message.get_reject()),
        reject_hint: Some(message.get_reject_hint()),
        context: Some(message.take_context()),
        ..raftpb::Message::default()
    }
}

fn entry_from_wire(wire: raftpb::Entry) -> Entry {
    let mut entry = Entry::default();
    entry.set_entry_type(match wire.r#type() {
        raftpb::EntryType::EntryNormal => EntryType::EntryNormal,
        raftpb::EntryType::EntryConfChange => EntryType::EntryConfChange,
        raftpb::EntryType::EntryConfChangeV2 => EntryType::EntryConfChangeV2,
    });
    entry.set_term(wire.term.unwrap_or_default());
    entry.set_index(wire.index.unwrap_or_default());
    entry.set_data(wire.data.unwrap_or_default());
    entry
}

fn entry_to_wire(mut entry: Entry) -> raftpb::Entry {
    raftpb::Entry {
        r#type: Some(entry.get_entry_type() as i32),
        term: Some(entry.get_term()),
        index: Some(entry.get_index()),
        data: Some(entry.take_data()),
    }
}

fn snapshot_from_wire(wire: raftpb::Snapshot) -> Snapshot {
    let metadata = wire.metadata.unwrap_or_default();
    let mut about = SnapshotMetadata::default();
    about.set_conf_state(members_from_wire(metadata.conf_state.unwrap_or_default()));
    about.set_index(metadata.index.unwrap_or_default());
    about.set_term(metadata.term.unwrap_or_default());
    let mut snapshot = Snapshot::default();
    snapshot.set_metadata(about);
    snapshot.set_data(wire.data.unwrap_or_default());
    snapshot
}

fn snapshot_to_wire(mut snapshot: Snapshot) -> raftpb::Snapshot {
    let mut about = snapshot.take_metadata();
    let members = members_to_wire(about.take_conf_state());
    raftpb::Snapshot {
        data: Some(snapshot.take_data()),
        metadata: Some(raftpb::SnapshotMetadata {
            conf_state: Some(members),
            index: Some(about.get_index()),
            term: Some(about.get_term()),
        }),
    }
}

/// From the form of snapshots to that of raft-rs.
pub(in crate::raft) fn members_from_wire(wire: raftpb::ConfState) -> ConfState {
    let mut members = ConfState::default();
    members.set_voters(wire.voters);
    members.set_learners(wire.learners);
    members.set_voters_outgoing(wire.voters_outgoing);
    members.set_learners_next(wire.learners_next);
    members.set_auto_leave(wire.auto_leave.unwrap_or_default());
    members
}

/// From the form of raft-rs to that of snapshots.
pub(in crate::raft) fn members_to_wire(mut members: ConfState) -> raftpb::ConfState {
    raftpb::ConfState {
        voters: members.take_voters(),
        learners: members.take_learners(),
        voters_outgoing: members.take_voters_outgoing(),
        learners_next: members.take_learners_next(),
        auto_leave: Some(members.get_auto_leave()),
    }
}

/// From the log to raft-rs.
pub(in crate::raft) fn from_entry(logged: log::Entry) -> Entry {
    let mut entry = Entry::default();
    entry.set_entry_type(match logged.kind {
        log::EntryKind::Normal => EntryType::EntryNormal,
        log::EntryKind::ConfChange => EntryType::EntryConfChange,
    });
    entry.set_index(logged.index);
    entry.set_term(logged.term);
    entry.set_data(logged.data);
    entry
}

/// From raft-rs to the log.
pub(in crate::raft) fn to_entry(entry: &Entry) -> log::Entry {
    log::Entry {
        index: entry.get_index(),
        term: entry.get_term(),
        kind: match entry.get_entry_type() {
            EntryType::EntryNormal => log::EntryKind::Normal,
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => log::EntryKind::ConfChange,
        },
        data: entry.data.clone(),
    }
}

/// What must not be forgotten, from the log to raft-rs.
pub(in crate::raft) fn from_hard_state(logged: log::HardState) -> HardState {
    let mut state = HardState::default();
    state.set_term(logged.term);
    state.set_vote(logged.vote);
    state.set_commit(logged.commit);
    state
}

/// What must not be forgotten, from raft-rs to the log.
pub(in crate::raft) fn to_hard_state(state: &HardState) -> log::HardState {
    log::HardState { term: state.get_term(), vote: state.get_vote(), commit: state.get_commit() }
}
