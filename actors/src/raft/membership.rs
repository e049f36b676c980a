//! Which member is which node, where it is reached, and who may never come back: what raft-rs does
//! not keep.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use protocol::{
    raftpb,
    wire::{ClusterSnapshot, RaftMember},
};
use raft::eraftpb::ConfState;

use super::{
    Founder,
    logic::{Change, members_from_wire, members_to_wire},
};

/// The nodes of the members, as the log has told them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Membership {
    members: BTreeMap<u64, RaftMember>,
    /// Ids that were taken from a member. They are never given again.
    removed: BTreeSet<u64>,
}

/// What a snapshot on disk says of the members.
#[derive(Clone, PartialEq, Message)]
struct Saved {
    #[prost(message, optional, tag = "1")]
    state: Option<raftpb::ConfState>,
    #[prost(message, repeated, tag = "2")]
    members: Vec<RaftMember>,
    #[prost(uint64, repeated, tag = "3")]
    removed: Vec<u64>,
}

impl Membership {
    /// From the lists that a snapshot carries.
    pub(super) fn of(snapshot: ClusterSnapshot) -> Self {
        let members = snapshot.members.into_iter().map(|member| (member.raft_id, member));
        Self { members: members.collect(), removed: snapshot.removed.into_iter().collect() }
    }

    /// Follows a change. Returns whether it counts: nobody goes or moves who is not there, and no
    /// id comes back.
    pub(super) fn follow(&mut self, change: &Change) -> bool {
        let id = change.member();
        let known = self.members.contains_key(&id);
        match change {
            Change::Learns(member) | Change::Votes(member) if !self.removed.contains(&id) => {
                self.members.insert(id, member.clone());
                true
            }
            Change::Moves(member) if known => {
                self.members.insert(id, member.clone());
                true
            }
            Change::Goes(_) if known => {
                self.members.remove(&id);
                self.removed.insert(id);
                true
            }
            Change::Learns(_) | Change::Votes(_) | Change::Moves(_) | Change::Goes(_) => false,
        }
    }

    /// A member by its id.
    pub(super) fn get(&self, id: u64) -> Option<&RaftMember> {
        self.members.get(&id)
    }

    /// The member that a node is.
    pub(super) fn of_node(&self, node_id: &str) -> Option<&RaftMember> {
        self.members.values().find(|member| member.node_id == node_id)
    }

    /// Whether an id was taken from a member.
    pub(super) fn is_removed(&self, id: u64) -> bool {
        self.removed.contains(&id)
    }

    /// Every id that was taken from a member.
    pub(super) fn removed(&self) -> impl Iterator<Item = u64> {
        self.removed.iter().copied()
    }

    /// The members' ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = u64> {
        self.members.keys().copied()
    }

    /// As a snapshot carries it.
    pub(super) fn to_snapshot(&self) -> ClusterSnapshot {
        ClusterSnapshot {
            members: self.members.values().cloned().collect(),
            removed: self.removed().collect(),
        }
    }

    /// The members, for the rest of the program.
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
        let ClusterSnapshot { members, removed } = self.to_snapshot();
        Saved { state, members, removed }.encode_to_vec().into()
    }

    /// Reads what a snapshot on disk says.
    pub(super) fn decode(saved: Bytes) -> Option<(ConfState, Self)> {
        let Saved { state, members, removed } = Saved::decode(saved).ok()?;
        Some((members_from_wire(state?), Self::of(ClusterSnapshot { members, removed })))
    }
}
