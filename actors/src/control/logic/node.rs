//! Nodes: what answers show of them, what users may change, and how one is removed
//! (validation.md §5).

use std::sync::Arc;

use prost_types::Timestamp;
use protocol::{
    id::NodeId,
    objects::{Cluster, Kind, Node},
    wire::{self, BlacklistedCertificate, NodeRole, NodeSpec, node_status::State},
};

use crate::{
    control::Error,
    store::{Transaction, View},
};

/// How long after its expiry a removed certificate is remembered.
const FORGET_AFTER_SECONDS: i64 = 7 * 24 * 60 * 60;

/// Managers as raft knows them, by node.
pub type Managers = std::collections::BTreeMap<NodeId, wire::ManagerStatus>;

/// Returns a node by its id.
pub fn get<'a>(view: &'a View, id: &str) -> Result<&'a Arc<Node>, Error> {
    if id.is_empty() {
        return Err(Error::incomplete());
    }
    view.node(&NodeId::from(id)).ok_or_else(|| Error::not_found("node", id))
}

/// What answers show: the node, with what raft knows of it as a manager.
pub fn shown(node: &Node, managers: &Managers) -> wire::Node {
    let manager_status = managers.get(&node.id).cloned();
    wire::Node { manager_status, ..node.into() }
}

/// Replaces the spec of a node that was read at `version`.
pub fn update(
    transaction: &mut Transaction,
    id: &str,
    version: u64,
    spec: NodeSpec,
    managers: &Managers,
) -> Result<(), Error> {
    let stored = get(transaction, id)?.clone();
    let demoted =
        stored.spec.desired_role() == NodeRole::Manager && spec.desired_role() == NodeRole::Worker;
    if demoted {
        check_demotion(transaction, &stored, managers)?;
    }
    let mut node = Node::clone(&stored);
    node.meta.version = version;
    node.spec = Arc::new(spec);
    Ok(transaction.update(node)?)
}

fn check_demotion(view: &View, node: &Node, managers: &Managers) -> Result<(), Error> {
    let manager = NodeRole::Manager as i32;
    if view.nodes().filter(|other| other.role == manager).count() == 1 && node.role == manager {
        let text = "attempting to demote the last manager of the swarm";
        return Err(Error::FailedPrecondition(text.to_owned()));
    }
    if !managers.contains_key(&node.id) {
        let text = "can't find manager in raft memberlist";
        return Err(Error::NotFound(text.to_owned()));
    }
    let reachable = wire::raft_member_status::Reachability::Reachable as i32;
    let left = managers.iter().filter(|(id, status)| {
        **id != node.id && (status.leader || status.reachability == reachable)
    });
    if left.count() < (managers.len() - 1) / 2 + 1 {
        let text = "can't remove member from the raft: this would result in a loss of quorum";
        return Err(Error::FailedPrecondition(text.to_owned()));
    }
    Ok(())
}

/// Removes a node: its certificate is no longer let in. The dispatcher gives up its tasks, of which
/// there may be more than fit into one transaction.
///
/// `expires` reads from a certificate when it ends, `now` drops entries that are long past that.
pub fn remove(
    transaction: &mut Transaction,
    id: &str,
    force: bool,
    managers: &Managers,
    expires: impl FnOnce(&[u8]) -> Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Error> {
    let node = get(transaction, id)?.clone();
    if node.spec.desired_role() == NodeRole::Manager && managers.contains_key(&node.id) {
        return Err(Error::FailedPrecondition(format!(
            "node {id} is a cluster manager and is a member of the raft cluster. It must be \
             demoted to worker before removal"
        )));
    }
    if node.status.state() == State::Ready && !force {
        let text = format!("node {id} is not down and can't be removed");
        return Err(Error::FailedPrecondition(text));
    }
    if let Some(cluster) = transaction.default_cluster().cloned() {
        let expiry = expires(&node.certificate.certificate);
        transaction.update(blacklist(&cluster, id, expiry, now))?;
    }
    Ok(transaction.remove(Kind::Node, node.id.as_id())?)
}

fn blacklist(cluster: &Cluster, id: &str, expiry: Option<Timestamp>, now: Timestamp) -> Cluster {
    let mut rest = (*cluster.rest).clone();
    let expired = |entry: &BlacklistedCertificate| {
        entry.expiry.is_some_and(|expiry| expiry.seconds + FORGET_AFTER_SECONDS < now.seconds)
    };
    rest.blacklisted_certificates.retain(|_, entry| !expired(entry));
    rest.blacklisted_certificates.insert(id.to_owned(), BlacklistedCertificate { expiry });
    Cluster { rest: Arc::new(rest), ..cluster.clone() }
}
