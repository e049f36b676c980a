//! Which managers nodes are told of.

use crate::{dispatcher::logic::managers::named, raft::Founder};

#[test]
fn only_managers_that_can_be_reached_are_named() {
    for (address, expected) in [
        ("10.0.0.1:4242", true),
        ("[fd00::1]:4242", true),
        ("manager-1:4242", true),
        ("0.0.0.0:4242", false),
        ("[::]:4242", false),
        ("", false),
    ] {
        let member = Founder { raft_id: 1, node_id: "m".to_owned(), address: address.to_owned() };
        let named = named(&[member]);
        assert_eq!(named.len(), usize::from(expected), "{address}");
        for manager in named {
            let peer = manager.peer.expect("a peer");
            assert_eq!((&*peer.node_id, &*peer.addr, manager.weight), ("m", address, 10));
        }
    }
}
