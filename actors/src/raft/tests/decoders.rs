//! Changes of the group, members and snapshots that nobody wrote, or that are damaged.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use prost::Message as _;
use protocol::{
    raftpb,
    wire::{self, ClusterSnapshot, RaftMember},
};
use raft::eraftpb::ConfState;

use crate::{
    damage::damage,
    log::{Entry, EntryKind, Recovered},
    raft::{
        logic::{Change, go_alone},
        membership::Membership,
        receiving::{Progress, Receiving},
        storage::Place,
    },
};

fn member(id: u64) -> RaftMember {
    RaftMember {
        raft_id: id,
        node_id: format!("node-{id}"),
        addr: format!("10.0.0.{id}:4242"),
        ..RaftMember::default()
    }
}

/// A snapshot in the form of peers that holds one service.
fn snapshot() -> Vec<u8> {
    let service = wire::Service { id: "s".into(), ..wire::Service::default() };
    let members = ClusterSnapshot { members: vec![member(1), member(2)], removed: vec![3] };
    let store = wire::StoreSnapshot { services: vec![service], ..wire::StoreSnapshot::default() };
    let snapshot = wire::Snapshot { version: 0, membership: Some(members), store: Some(store) };
    snapshot.encode_to_vec()
}

/// Reads it to its end, or to its first fault.
fn receive(data: Vec<u8>) {
    let message = raftpb::Message {
        r#type: Some(raftpb::MessageType::MsgSnap.into()),
        snapshot: Some(raftpb::Snapshot { data: Some(data.into()), metadata: None }),
        ..raftpb::Message::default()
    };
    let mut receiving = Receiving::default();
    if receiving.add(message, Place { index: 9, term: 4 }).is_ok() {
        while let Ok(Progress::More) = receiving.advance() {}
    }
}

proptest! {
    #[test]
    fn no_snapshot_of_a_leader_makes_a_member_panic(
        damage in damage(), bytes in vec(any::<u8>(), 0..64),
    ) {
        receive(damage.done_to(snapshot()));
        receive(bytes);
    }

    #[test]
    fn no_change_of_the_group_makes_a_member_panic(
        id in 1..9_u64, kind in 0..4_u8, damage in damage(), bytes in vec(any::<u8>(), 0..64),
    ) {
        let change = match kind {
            0 => Change::Learns(member(id)),
            1 => Change::Votes(member(id)),
            2 => Change::Moves(member(id)),
            _ => Change::Goes(id),
        };
        let written = change.encode();
        prop_assert_eq!(Change::decode(&written), Some(change));
        let damaged = Bytes::from(damage.done_to(written.into()));
        let others = Bytes::from(bytes);
        let entry = |(index, data)| Entry { index, term: 1, kind: EntryKind::ConfChange, data };
        let entries = (1..).zip([damaged.clone(), others.clone()]).map(entry).collect();
        let log = Recovered { entries, ..Recovered::default() };
        let _ = go_alone(&member(1), Default::default(), &log);
        for read in [Change::decode(&damaged), Change::decode(&others)].into_iter().flatten() {
            let mut membership = Membership::default();
            membership.follow(&read);
            let _ = read.to_raft();
        }
    }

    #[test]
    fn no_members_on_disk_make_a_member_panic(
        damage in damage(), bytes in vec(any::<u8>(), 0..64),
    ) {
        let members = ClusterSnapshot { members: vec![member(1), member(2)], removed: vec![3] };
        let state = ConfState { voters: vec![1, 2], ..ConfState::default() };
        let membership = Membership::of(members);
        let written = membership.encode(&state);
        prop_assert_eq!(Membership::decode(written.clone()), Some((state, membership)));
        let _ = Membership::decode(damage.done_to(written.into()).into());
        let _ = Membership::decode(bytes.into());
    }
}
