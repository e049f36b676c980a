//! RAFT-7, RAFT-8 and ACCESS: whoever was removed leads no more, takes no write and ends; nobody ends
//! as removed who is still a member; and what a certificate says is worth nothing once its node was
//! removed, or is no manager any more, whatever connection it was shown on.

use std::{cell::RefCell, collections::BTreeMap};

use actors::{raft::GetStatus, store::View};
use protocol::wire::NodeRole;

use crate::{
    cluster::Cluster,
    identity::Identity,
    member::{Member, Standing},
};

/// Who has ended as one that was removed.
#[derive(Default)]
pub struct Removed {
    /// By raft id, the machine.
    ended: BTreeMap<u64, u64>,
    claims_seen: usize,
}

impl Removed {
    /// Looks at who leads, and at who has ended.
    pub fn check(&mut self, cluster: &Cluster) {
        for machine in cluster.machines() {
            let machine = machine.borrow();
            if machine.knows_removal() {
                self.ended.insert(machine.raft_id(), machine.id);
            }
        }
        let claims = cluster.claims.borrow();
        for claim in &claims[self.claims_seen..] {
            for removal in cluster.roll().removals() {
                compare(*claim, *removal);
                cluster.counts.count("check: a removed member changes nothing");
            }
        }
        self.claims_seen = claims.len();
    }

    /// In the quiet state, everybody knows.
    pub async fn finish(&self, cluster: &Cluster) {
        let status = cluster.leader_status().await.expect("somebody leads");
        for (raft_id, machine) in &self.ended {
            let is_removed = status.removed.contains(raft_id);
            assert!(is_removed, "removed: m{machine} has ended, and is a member");
        }
        let unaware = unaware(cluster).await;
        assert_eq!(unaware, None, "removed: a machine does not know that it was removed");
        let removed = |machine: &&RefCell<Member>| {
            machine.borrow().standing == Standing::Removed && machine.borrow().is_alive()
        };
        let ended = cluster.machines().filter(removed).count();
        cluster.counts.add("check: a removed member ends", ended as u64);
    }
}

/// Whether a manager's certificate is good for nothing of a manager's, as far as any member knows
/// that to be committed.
pub fn is_void(cluster: &Cluster, identity: &Identity) -> bool {
    cluster.newest_view().is_some_and(|view| is_void_in(&view, identity))
}

fn is_void_in(view: &View, identity: &Identity) -> bool {
    let id = &identity.subject.node_id;
    let removed = view.default_cluster().map(|cluster| &cluster.rest.blacklisted_certificates);
    let is_removed = removed.is_some_and(|removed| removed.contains_key(id.as_str()));
    let worker = NodeRole::Worker;
    let is_worker = view
        .node(id)
        .is_some_and(|node| node.role == i32::from(worker) && node.spec.desired_role() == worker);
    is_removed || is_worker
}

/// Compares what somebody has achieved with what the certificate was worth before.
pub fn check_call(is_void: bool, is_done: bool, what: &str, identity: &Identity) {
    let id = &identity.subject.node_id;
    assert!(!(is_void && is_done), "removed: {id} is no manager any more, and {what}");
}

/// A machine that runs, was removed, and does not know it.
pub async fn unaware(cluster: &Cluster) -> Option<u64> {
    for machine in cluster.machines() {
        let (id, peer) = (machine.borrow().id, machine.borrow().peer());
        let is_removed = machine.borrow().standing == Standing::Removed;
        let Some(peer) = peer.filter(|_| is_removed) else { continue };
        // One that was never told of anybody has nobody to ask.
        let asked = peer.send(GetStatus).await.ok().flatten();
        let knows_somebody = asked.is_some_and(|status| !status.members.is_empty());
        if knows_somebody && !machine.borrow().knows_removal() {
            return Some(id);
        }
    }
    None
}

/// A claim to lead, and a removal that was acknowledged before: raft id and term of both.
fn compare(claim: (u64, u64), removal: (u64, u64)) {
    let leads_again = claim.0 == removal.0 && claim.1 > removal.1;
    assert!(!leads_again, "removed: {} was removed, and leads term {}", claim.0, claim.1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "removed: n1 is no manager any more, and writes")]
    fn a_void_certificate_that_does_something_is_found() {
        let identity = Identity::founding("n1", &Default::default());
        assert!(!is_void_in(&View::default(), &identity), "it may have just joined");
        check_call(false, true, "writes", &identity);
        check_call(true, false, "writes", &identity);
        check_call(true, true, "writes", &identity);
    }

    #[test]
    #[should_panic(expected = "removed: 7 was removed, and leads term 4")]
    fn a_removed_member_that_leads_is_found() {
        compare((7, 3), (7, 3));
        compare((8, 4), (7, 3));
        compare((7, 4), (7, 3));
    }
}
