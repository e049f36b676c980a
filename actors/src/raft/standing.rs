//! Who leads and who the members are, for readers on any thread that must not wait for the peer.

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::ArcSwap;
use protocol::raftpb::{self, MessageType};

use super::Founder;

/// What a peer knows of its group, as it was a moment ago. Clones are the same one; it outlives the
/// lives of the peer.
#[derive(Clone, Default)]
pub struct Standing(Arc<Known>);

#[derive(Default)]
struct Known {
    group: ArcSwap<Group>,
    /// Members that are SwarmKit's.
    foreign: ArcSwap<BTreeSet<u64>>,
}

/// A group as one member sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The member's own raft id; 0 while it takes no part.
    pub raft_id: u64,
    /// The newest term that it knows.
    pub term: u64,
    /// Who leads that term, as far as it knows.
    pub leader: Option<u64>,
    /// Whether its own store takes writes.
    pub leads: bool,
    /// All members, with their nodes; while none of them leads, those as well whom the end of the
    /// log makes members.
    pub members: Vec<Founder>,
    /// How often the list of members has changed in this life.
    pub(super) revision: u64,
}

/// Where the leader of a group is, for one of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leader<'a> {
    /// It is this member, and it is ready.
    Here,
    /// It is another.
    There(&'a Founder),
    /// There is none, none is known, or it is about to begin.
    Nowhere,
}

/// What becomes of a message that has come for a member, before its peer hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// It is for the peer.
    Hear,
    /// It is for somebody else, or nobody may ask for that: it came, and nothing follows.
    Ignore,
    /// It passes for the message of a member that has another node.
    Foreign,
}

impl Standing {
    /// Returns what is known now.
    pub fn group(&self) -> Arc<Group> {
        self.0.group.load_full()
    }

    /// Notes whether a member is one of SwarmKit's: those know no learners, and speak once a second.
    pub fn note_kind(&self, raft_id: u64, is_foreign: bool) {
        if self.is_foreign(raft_id) != is_foreign {
            let group = self.group();
            self.0.foreign.rcu(|foreign| {
                let mut foreign = BTreeSet::clone(foreign);
                // Ids are never used again; those that are gone are forgotten.
                let counts = |id| group.member(id).is_some() || group.leader == Some(id);
                foreign.retain(|id| *id != raft_id && counts(*id));
                foreign.extend(is_foreign.then_some(raft_id));
                foreign
            });
        }
    }

    /// Whether a member is known to be one of SwarmKit's.
    pub fn is_foreign(&self, raft_id: u64) -> bool {
        self.0.foreign.load().contains(&raft_id)
    }

    /// Publishes what a test wants a member to see.
    #[cfg(any(test, feature = "testing"))]
    pub fn pretend(&self, raft_id: u64, leader: Option<u64>, members: Vec<Founder>) {
        let leads = leader == Some(raft_id);
        self.publish(Group { raft_id, leader, leads, members, ..Group::default() });
    }

    /// Says who the members are, without a peer.
    #[cfg(any(test, feature = "testing"))]
    pub fn name(&self, members: Vec<Founder>) {
        self.publish(Group { members, ..Group::clone(&self.group()) });
    }

    pub(super) fn publish(&self, group: Group) {
        self.0.group.store(Arc::new(group));
    }

    /// A life of the peer ends or begins: nobody leads here. What comes next is published whatever
    /// it is.
    pub(super) fn forget_leader(&self) {
        let group =
            Group { leader: None, leads: false, revision: 0, ..Group::clone(&self.group()) };
        self.publish(group);
    }
}

impl Group {
    /// Returns a member by its raft id.
    pub fn member(&self, raft_id: u64) -> Option<&Founder> {
        self.members.iter().find(|member| member.raft_id == raft_id)
    }

    /// Judges a message by what it says of itself and by the node whose certificate was shown.
    pub fn judge(&self, message: &raftpb::Message, node_id: Option<&str>) -> Intake {
        let kind = message.r#type();
        if self.raft_id != 0 && message.to != Some(self.raft_id) {
            // Meant for whoever had this address before.
            return Intake::Ignore;
        }
        match self.member(message.from.unwrap_or_default()) {
            Some(member) if node_id.is_some_and(|node_id| node_id != member.node_id) => {
                Intake::Foreign
            }
            // Only the leader proposes.
            Some(_) | None if kind == MessageType::MsgProp => Intake::Ignore,
            Some(_) | None => Intake::Hear,
        }
    }

    /// Returns where the leader is.
    pub fn leader(&self) -> Leader<'_> {
        match self.leader {
            Some(leader) if leader == self.raft_id && self.leads => Leader::Here,
            Some(leader) if leader != self.raft_id => {
                self.member(leader).map_or(Leader::Nowhere, Leader::There)
            }
            Some(_) | None => Leader::Nowhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_is_where_it_can_be_asked() {
        let member = |raft_id| Founder {
            raft_id,
            node_id: format!("node{raft_id}"),
            address: format!("host{raft_id}:1"),
        };
        let members = vec![member(1), member(2)];
        for (leader, leads, expected) in [
            (None, false, Leader::Nowhere),
            (Some(1), false, Leader::Nowhere),
            (Some(1), true, Leader::Here),
            (Some(2), false, Leader::There(&members[1])),
            (Some(3), false, Leader::Nowhere),
        ] {
            let members = members.clone();
            let group = Group { raft_id: 1, leader, leads, members, ..Group::default() };
            assert_eq!(group.leader(), expected, "{leader:?} {leads}");
        }
    }

    #[test]
    fn only_members_are_heard_in_the_name_of_members() {
        let member = Founder { raft_id: 2, node_id: "two".to_owned(), address: String::new() };
        let group = Group { raft_id: 1, members: vec![member], ..Group::default() };
        let kinds = (MessageType::MsgApp, MessageType::MsgVote, MessageType::MsgProp);
        let (append, vote, propose) = kinds;
        for (kind, to, from, node_id, expected) in [
            (append, 1, 2, Some("two"), Intake::Hear),
            (append, 1, 2, None, Intake::Hear),
            (append, 1, 2, Some("three"), Intake::Foreign),
            (append, 3, 2, Some("two"), Intake::Ignore),
            (append, 1, 3, Some("three"), Intake::Hear),
            (vote, 1, 2, Some("two"), Intake::Hear),
            (propose, 1, 2, Some("two"), Intake::Ignore),
        ] {
            let message = raftpb::Message {
                r#type: Some(kind.into()),
                to: Some(to),
                from: Some(from),
                ..raftpb::Message::default()
            };
            assert_eq!(group.judge(&message, node_id), expected, "{kind:?} {to} {from}");
        }
    }

    #[test]
    fn of_what_kind_members_are_is_known_while_they_are_members_or_lead() {
        let member = |raft_id| Founder { raft_id, node_id: String::new(), address: String::new() };
        let standing = Standing::default();
        standing.pretend(1, Some(9), vec![member(1), member(2)]);
        for raft_id in [2, 8, 9] {
            standing.note_kind(raft_id, true);
        }
        assert_eq!([2, 8, 9].map(|id| standing.is_foreign(id)), [true, false, true]);
        standing.note_kind(2, false);
        assert_eq!([2, 8, 9].map(|id| standing.is_foreign(id)), [false, false, true]);
    }

    #[test]
    fn whoever_ends_leads_nobody() {
        let standing = Standing::default();
        standing.publish(Group { raft_id: 1, leader: Some(1), leads: true, ..Group::default() });
        standing.forget_leader();
        let group = standing.group();
        assert_eq!((group.leader, group.leads, group.raft_id), (None, false, 1));
    }
}
