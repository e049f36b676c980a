//! What the role that a node should have asks for (`store-and-raft` §9.4).

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use protocol::{
    id::NodeId,
    objects::Node,
    wire::{
        self,
        NodeRole::{self, Manager, Worker},
    },
};

use crate::{
    agenda::Room,
    raft::Status,
    store::{Changes, Error, Transaction, View},
};

/// The raft group, as it was a moment ago.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Members {
    /// The raft id of this manager, which leads.
    pub(super) own: u64,
    /// The node of each member, those that learn among them.
    pub(super) nodes: BTreeMap<u64, NodeId>,
}

impl From<Status> for Members {
    fn from(status: Status) -> Self {
        let node = |member: crate::raft::Founder| (member.raft_id, NodeId::from(&*member.node_id));
        Self { own: status.raft_id, nodes: status.members.into_iter().map(node).collect() }
    }
}

impl Members {
    fn contains(&self, node: &NodeId) -> bool {
        self.nodes.values().any(|member| member == node)
    }
}

/// What becomes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It has the role that it should have.
    Stays,
    /// It gets this role.
    Becomes(NodeRole),
    /// It gets no other role as long as it is a member of the raft group, or may be one.
    Waits,
}

/// What a look at the head has found and done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Who has got another role.
    pub(super) changed: Vec<(NodeId, NodeRole)>,
    /// Who gets another role once raft has let it go.
    pub(super) waiting: BTreeSet<NodeId>,
    /// The members that raft is to let go, in this order.
    pub(super) leaving: Vec<u64>,
    /// Whom there was no room for in the transaction.
    pub(super) rest: BTreeSet<NodeId>,
}

/// Whether a node has another role than it should.
fn is_due(node: &Node) -> bool {
    role(node) != node.spec.desired_role()
}

fn role(node: &Node) -> NodeRole {
    NodeRole::try_from(node.role).unwrap_or_default()
}

/// The nodes of a change that have another role than they should, or are gone.
pub(super) fn touched(changes: &Changes) -> BTreeSet<NodeId> {
    let touched = changes.nodes.iter().filter(|(_, node)| node.after.as_deref().is_none_or(is_due));
    touched.map(|(id, _)| id.clone()).collect()
}

/// All nodes that have another role than they should.
pub(super) fn everybody(view: &View) -> BTreeSet<NodeId> {
    view.nodes().filter(|node| is_due(node)).map(|node| node.id.clone()).collect()
}

/// What becomes of a node. Who is in the raft group may be unknown.
pub(super) fn next(node: &Node, members: Option<&Members>) -> Next {
    match (role(node), node.spec.desired_role()) {
        (Worker, Manager) => Next::Becomes(Manager),
        (Manager, Worker) => match members {
            Some(members) if !members.contains(&node.id) => Next::Becomes(Worker),
            Some(_) | None => Next::Waits,
        },
        (Worker, Worker) | (Manager, Manager) => Next::Stays,
    }
}

/// The members whose nodes are gone, or should be workers; this manager last, since it hands over
/// leadership, and with it what is left to do. A node that is a worker already is no exception: it
/// may have joined again between being let go and getting its role.
pub(super) fn leaving(head: &View, members: &Members) -> Vec<u64> {
    let is_wanted =
        |node: &NodeId| head.node(node).is_some_and(|node| node.spec.desired_role() == Manager);
    let unwanted = members.nodes.iter().filter(|(_, node)| !is_wanted(node));
    let mut leaving: Vec<_> = unwanted.map(|(raft_id, _)| *raft_id).collect();
    leaving.sort_by_key(|raft_id| (*raft_id == members.own, *raft_id));
    leaving
}

/// Gives nodes the roles that they can have, and says what raft has to do first.
pub(super) fn carry_out(
    head: &mut Transaction,
    due: BTreeSet<NodeId>,
    members: Option<&Members>,
) -> Result<Found, Error> {
    let leaving = members.map(|members| leaving(head, members)).unwrap_or_default();
    let mut found = Found { leaving, ..Found::default() };
    let mut room = Room::new();
    for id in due {
        let Some(node) = head.node(&id).cloned() else { continue };
        match next(&node, members) {
            Next::Stays => {}
            Next::Becomes(role) => {
                let changed = Node { role: role.into(), ..(*node).clone() };
                if !room.take_other(wire::Node::from(&changed).encoded_len()) {
                    found.rest.insert(id);
                    continue;
                }
                head.update(changed)?;
                found.changed.push((id, role));
            }
            Next::Waits => drop(found.waiting.insert(id)),
        }
    }
    Ok(found)
}
