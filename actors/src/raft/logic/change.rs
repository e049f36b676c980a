//! The entries that change the members, as they are in the log and travel.

use bytes::Bytes;
use prost::Message as _;
use protocol::{
    raftpb::{self, ConfChangeType},
    wire::RaftMember,
};
use raft::eraftpb;

/// Tells one that learns from one that moves. raft-rs drops a proposal with a number that it does
/// not know; it knows no `UpdateNode`, has its number 2 for learners, and not the 3 of others. So
/// both are a 2 here, and this is the id of the change of a learner.
const LEARNS: u64 = 1;

/// One change of the members.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::raft) enum Change {
    /// A node takes part without a vote.
    Learns(RaftMember),
    /// A member, new or learning so far, votes from now on.
    Votes(RaftMember),
    /// A member is reached elsewhere.
    Moves(RaftMember),
    /// A member is gone for good.
    Goes(u64),
}

impl Change {
    /// Whom it is about.
    pub(in crate::raft) fn member(&self) -> u64 {
        match self {
            Self::Learns(member) | Self::Votes(member) | Self::Moves(member) => member.raft_id,
            Self::Goes(member) => *member,
        }
    }

    /// Reads an entry; `None` where it is damaged or says something that nobody here says.
    pub(in crate::raft) fn decode(entry: &Bytes) -> Option<Self> {
        let change = raftpb::ConfChange::decode(entry.clone()).ok()?;
        let kind = ConfChangeType::try_from(change.r#type.unwrap_or_default()).ok()?;
        let id = change.node_id();
        if kind == ConfChangeType::ConfChangeRemoveNode {
            return Some(Self::Goes(id));
        }
        let learns = change.id() == LEARNS;
        let member = RaftMember::decode(change.context?).ok()?;
        if id == 0 || member.raft_id != id {
            return None;
        }
        Some(match kind {
            ConfChangeType::ConfChangeRemoveNode => Self::Goes(id),
            ConfChangeType::ConfChangeAddNode => Self::Votes(member),
            ConfChangeType::ConfChangeAddLearnerNode => Self::Learns(member),
            ConfChangeType::ConfChangeUpdateNode if learns => Self::Learns(member),
            ConfChangeType::ConfChangeUpdateNode => Self::Moves(member),
        })
    }

    /// The entry.
    pub(in crate::raft) fn encode(&self) -> Bytes {
        let (kind, context) = match self {
            Self::Votes(member) => (ConfChangeType::ConfChangeAddNode, member.encode_to_vec()),
            Self::Learns(member) | Self::Moves(member) => {
                (ConfChangeType::ConfChangeUpdateNode, member.encode_to_vec())
            }
            Self::Goes(_) => (ConfChangeType::ConfChangeRemoveNode, Vec::new()),
        };
        let change = raftpb::ConfChange {
            id: matches!(self, Self::Learns(_)).then_some(LEARNS),
            r#type: Some(kind.into()),
            node_id: Some(self.member()),
            context: Some(context.into()),
        };
        change.encode_to_vec().into()
    }

    /// What raft-rs has to know of it: who votes and who learns, and nothing of addresses.
    pub(in crate::raft) fn to_raft(&self) -> Option<eraftpb::ConfChange> {
        let mut change = eraftpb::ConfChange::default();
        change.set_node_id(self.member());
        change.set_change_type(match self {
            Self::Votes(_) => eraftpb::ConfChangeType::AddNode,
            Self::Learns(_) => eraftpb::ConfChangeType::AddLearnerNode,
            Self::Goes(_) => eraftpb::ConfChangeType::RemoveNode,
            Self::Moves(_) => return None,
        });
        Some(change)
    }
}
