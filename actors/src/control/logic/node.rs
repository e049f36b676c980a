//! Nodes: what answers show of them, what users may change, and how one is removed
//! (validation.md §5).

use std::{collections::BTreeMap, sync::Arc};

use prost_types::Timestamp;
use protocol::{
    id::NodeId,
    objects::{Cluster, Kind, Node},
    wire::{self, BlacklistedCertificate, NodeRole, NodeSpec, node_status::State},
};

use crate::{
    ca::logic::node_expiry,
    control::Error,
    store::{Transaction, View},
};

/// How long after its expiry a removed certificate is remembered.
const FORGET_AFTER_SECONDS: i64 = 7 * 24 * 60 * 60;

/// Managers as raft knows them, by node.
pub type Managers = BTreeMap<NodeId, wire::ManagerStatus>;

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

/// Whoever has no vote in the raft group, as a member that still learns, can be spared by it.
fn check_demotion(view: &View, node: &Node, managers: &Managers) -> Result<(), Error> {
    let manager = NodeRole::Manager;
    let acting = view.nodes().filter(|other| other.role == i32::from(manager)).count();
    let stays = |other: &Arc<Node>| other.id != node.id && other.spec.desired_role() == manager;
    // Those that are demoted already do not count, although they may be managers yet.
    let is_last = acting == 1 && node.role == i32::from(manager);
    if is_last || !view.nodes().any(stays) {
        let text = "attempting to demote the last manager of the swarm";
        return Err(Error::FailedPrecondition(text.to_owned()));
    }
    if !managers.contains_key(&node.id) {
        return Ok(());
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
        let expiry = expiry.unwrap_or_else(|| latest_expiry(&cluster, now));
        transaction.update(blacklist(&cluster, id, expiry, now))?;
    }
    Ok(transaction.remove(Kind::Node, node.id.as_id())?)
}

/// When the newest certificate ends that a node of which none is known may have.
fn latest_expiry(cluster: &Cluster, now: Timestamp) -> Timestamp {
    let valid = cluster.spec.ca_config.as_ref().and_then(|ca| ca.node_cert_expiry.as_ref());
    let valid_seconds = i64::try_from(node_expiry(valid).as_secs()).unwrap_or(i64::MAX);
    Timestamp { seconds: now.seconds.saturating_add(valid_seconds), nanos: 0 }
}

fn blacklist(cluster: &Cluster, id: &str, expiry: Timestamp, now: Timestamp) -> Cluster {
    let mut rest = (*cluster.rest).clone();
    drop_expired(&mut rest.blacklisted_certificates, now);
    rest.blacklisted_certificates
        .insert(id.to_owned(), BlacklistedCertificate { expiry: Some(expiry) });
    Cluster { rest: Arc::new(rest), ..cluster.clone() }
}

/// Forgets certificates that ended so long ago that nobody can take them for valid.
pub(super) fn drop_expired(
    blacklisted: &mut BTreeMap<String, BlacklistedCertificate>,
    now: Timestamp,
) {
    let expired = |entry: &BlacklistedCertificate| {
        entry.expiry.is_some_and(|expiry| expiry.seconds + FORGET_AFTER_SECONDS < now.seconds)
    };
    blacklisted.retain(|_, entry| !expired(entry));
}
