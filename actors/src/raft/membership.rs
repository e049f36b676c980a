//! Which member is which node, and where it is reached: what raft-rs does not keep.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use protocol::{raftpb, wire::RaftMember};
use raft::eraftpb::ConfState;

use super::{
    Founder,
    logic::{members_from_wire, members_to_wire},
};

/// The nodes of the members, as the log has told them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Membership {
    members: BTreeMap<u64, RaftMember>,
}

/// What a snapshot on disk says of the members.
#[derive(Clone, PartialEq, Message)]
struct Saved {
    #[prost(message, optional, tag = "1")]
    state: Option<raftpb::ConfState>,
    #[prost(message, repeated, tag = "2")]
    members: Vec<RaftMember>,
}

impl Membership {
    /// From a list of members, as a snapshot carries it.
    pub(super) fn of(members: Vec<RaftMember>) -> Self {
        Self { members: members.into_iter().map(|member| (member.raft_id, member)).collect() }
    }

    /// Follows an entry of the log that changes the members.
    pub(super) fn follow(&mut self, entry: &Bytes) {
        let Ok(change) = raftpb::ConfChange::decode(entry.clone()) else { return };
        let id = change.node_id();
        match change.r#type() {
            raftpb::ConfChangeType::ConfChangeRemoveNode => {
                self.members.remove(&id);
            }
            raftpb::ConfChangeType::ConfChangeAddNode
            | raftpb::ConfChangeType::ConfChangeAddLearnerNode
            | raftpb::ConfChangeType::ConfChangeUpdateNode => {
                if let Some(Ok(member)) = change.context.map(RaftMember::decode) {
                    self.members.insert(id, member);
                }
            }
        }
    }

    /// The members, by raft id.
    pub(super) fn list(&self) -> Vec<RaftMember> {
        self.members.values().cloned().collect()
    }

    /// As [`Membership::list`], for the rest of the program.
    pub(super) fn shown(&self) -> Vec<Founder> {
        let shown = |member: &RaftMember| Founder {
            raft_id: member.raft_id,
            node_id: member.node_id.clone(),
            address: member.addr.clone(),
        };
        self.members.values().map(shown).collect()
    }

    /// What a snapshot on disk says of the members.
    pub(super) fn encode(&self, state: &ConfState) -> Bytes {
        let state = Some(members_to_wire(state.clone()));
        Saved { state, members: self.list() }.encode_to_vec().into()
    }

    /// Reads what a snapshot on disk says.
    pub(super) fn decode(saved: Bytes) -> Option<(ConfState, Self)> {
        let Saved { state, members } = Saved::decode(saved).ok()?;
        Some((members_from_wire(state?), Self::of(members)))
    }
}
