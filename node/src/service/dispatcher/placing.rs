//! Where a node finds the managers that it is told of.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use protocol::{
    address::Address,
    id::NodeId,
    wire::{Peer, SessionMessage, WeightedPeer},
};

use crate::remote::Directory;

/// Knows where managers are that only say that they listen on all their addresses.
#[derive(Clone)]
pub(super) struct Places {
    own: NodeId,
    directory: Directory,
}

impl Places {
    /// Of the others than this node, the directory knows from where they call.
    pub(super) fn new(own: NodeId, directory: Directory) -> Self {
        Self { own, directory }
    }

    /// Says where each manager is, to a node that reaches this one at the address `here`. One of which
    /// nobody knows is left out: to the node, it would be on its own machine.
    pub(super) fn put(&self, mut told: SessionMessage, here: Option<IpAddr>) -> SessionMessage {
        let place = |WeightedPeer { peer, weight }| {
            let Peer { node_id, addr } = peer?;
            let addr = self.find(&node_id, &addr, here)?;
            Some(WeightedPeer { peer: Some(Peer { node_id, addr }), weight })
        };
        told.managers = told.managers.into_iter().filter_map(place).collect();
        told
    }

    fn find(&self, node_id: &str, addr: &str, here: Option<IpAddr>) -> Option<String> {
        let address = Address::from_str(addr).ok()?;
        if !address.is_everywhere() {
            return Some(addr.to_owned());
        }
        if node_id == self.own.as_str() {
            return here.map(|here| address.seen_from(here).to_string());
        }
        let found = self.directory.address_of(node_id)?;
        // To others, that would be their own machine.
        let is_at_home = here.is_some_and(|here| here.is_loopback());
        (is_at_home || !is_loopback(&found)).then_some(found)
    }
}

fn is_loopback(address: &str) -> bool {
    SocketAddr::from_str(address).is_ok_and(|address| address.ip().to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use actors::raft::{Founder, Standing};

    use super::*;

    #[test]
    fn who_listens_everywhere_is_where_it_was_reached_or_has_called_from() {
        let standing = Standing::default();
        let member = |raft_id, address: &str| Founder {
            raft_id,
            node_id: format!("m{raft_id}"),
            address: address.to_owned(),
        };
        let members = [
            member(1, "0.0.0.0:4242"),
            member(2, "host:1"),
            member(3, "[::]:7"),
            member(4, "0.0.0.0:4242"),
            member(5, ""),
            member(6, "0.0.0.0:6"),
        ];
        standing.name(members.to_vec());
        let directory = Directory::new(standing);
        directory.see(3, IpAddr::from([10, 0, 0, 3]));
        directory.see(6, IpAddr::from([127, 0, 0, 1]));
        let places = Places::new("m1".into(), directory);
        let (reached, third) = (IpAddr::from([10, 0, 0, 1]), ("m3", "10.0.0.3:7"));
        for (here, expected) in [
            (Some(reached), vec![("m1", "10.0.0.1:4242"), ("m2", "host:1"), third]),
            (None, vec![("m2", "host:1"), third]),
            (
                Some(IpAddr::from([127, 0, 0, 1])),
                vec![("m1", "127.0.0.1:4242"), ("m2", "host:1"), third, ("m6", "127.0.0.1:6")],
            ),
        ] {
            let peer = |member: &Founder| {
                let Founder { raft_id: _, node_id, address } = member.clone();
                WeightedPeer { peer: Some(Peer { node_id, addr: address }), weight: 10 }
            };
            let managers = members.iter().map(peer).collect();
            let told = places.put(SessionMessage { managers, ..Default::default() }, here);
            let found: Vec<_> = told.managers.into_iter().filter_map(|it| it.peer).collect();
            let found: Vec<_> = found.iter().map(|peer| (&*peer.node_id, &*peer.addr)).collect();
            assert_eq!(found, expected, "{here:?}");
        }
    }
}
