//! Which managers a node is told of (cluster-security-dispatch §10.1).

use protocol::wire;

use crate::raft::Founder;

/// How likely a node calls a manager that it knows nothing of.
const WEIGHT: i64 = 10;

/// The members of the raft group. One may only say that it listens on all its addresses: where that is
/// for a node, only the connection of that node tells.
pub(crate) fn named(members: &[Founder]) -> Vec<wire::WeightedPeer> {
    let named = members.iter().map(|Founder { raft_id: _, node_id, address }| {
        let peer = wire::Peer { node_id: node_id.clone(), addr: address.clone() };
        wire::WeightedPeer { peer: Some(peer), weight: WEIGHT }
    });
    named.collect()
}
