//! Which managers a node is told of (cluster-security-dispatch §10.1).

use std::str::FromStr;

use protocol::{address::Address, wire};

use crate::raft::Founder;

/// How likely a node calls a manager that it knows nothing of.
const WEIGHT: i64 = 10;

/// The members of the raft group that a node can reach. One that only says that it listens on all
/// its addresses is left out: to whoever reads that, it would mean its own machine.
pub(crate) fn named(members: &[Founder]) -> Vec<wire::WeightedPeer> {
    let reachable = members.iter().filter(|member| !is_unspecified(&member.address));
    let named = reachable.map(|Founder { raft_id: _, node_id, address }| {
        let peer = wire::Peer { node_id: node_id.clone(), addr: address.clone() };
        wire::WeightedPeer { peer: Some(peer), weight: WEIGHT }
    });
    named.collect()
}

/// Whether nobody could call there.
fn is_unspecified(address: &str) -> bool {
    Address::from_str(address).map_or(true, |address| address.is_everywhere())
}
