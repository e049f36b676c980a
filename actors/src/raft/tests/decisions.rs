//! What the peer decides beside raft-rs.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use protocol::raftpb::{self, ConfChangeType, MessageType};
use raft::eraftpb;

use crate::raft::logic::{Ours, Rejected, check, conf_change, election_ticks, from_wire, to_wire};

const OURS: Ours = Ours { id: 1, last_index: 10 };

fn message(kind: MessageType) -> raftpb::Message {
    raftpb::Message {
        r#type: Some(kind.into()),
        from: Some(2),
        to: Some(1),
        term: Some(5),
        ..Default::default()
    }
}

fn append(entries: &[(u64, u64)]) -> raftpb::Message {
    let entry = |&(index, term): &(u64, u64)| raftpb::Entry {
        index: Some(index),
        term: Some(term),
        ..Default::default()
    };
    let entries = entries.iter().map(entry).collect();
    raftpb::Message { index: Some(8), log_term: Some(3), entries, ..message(MessageType::MsgApp) }
}

fn verdict(message: raftpb::Message) -> Result<(), Rejected> {
    check(&from_wire(message)?, &OURS, |index| (index <= 9).then_some(4))
}

#[test]
fn only_what_a_correct_peer_sends_reaches_raft() {
    let cases = [
        ("an append", append(&[(9, 4), (10, 4)]), Ok(())),
        ("a heartbeat", message(MessageType::MsgHeartbeat), Ok(())),
        ("a gap", append(&[(9, 4), (11, 4)]), Err(Rejected::Gap)),
        ("a gap at the start", append(&[(10, 4)]), Err(Rejected::Gap)),
        ("falling terms", append(&[(9, 4), (10, 3)]), Err(Rejected::Terms)),
        ("a term before its predecessor", append(&[(9, 2)]), Err(Rejected::Terms)),
        ("a term of the future", append(&[(9, 4), (10, 6)]), Err(Rejected::Terms)),
        ("another committed entry", append(&[(9, 5)]), Err(Rejected::ContradictsCommitted)),
        (
            "a commit that we cannot have",
            raftpb::Message { commit: Some(11), ..message(MessageType::MsgHeartbeat) },
            Err(Rejected::CommitBeyondLog),
        ),
        (
            "for another",
            raftpb::Message { to: Some(3), ..message(MessageType::MsgHeartbeat) },
            Err(Rejected::NotForUs),
        ),
        (
            "from nobody",
            raftpb::Message { from: None, ..message(MessageType::MsgHeartbeat) },
            Err(Rejected::FromNobody),
        ),
        (
            "from ourselves",
            raftpb::Message { from: Some(1), ..message(MessageType::MsgHeartbeat) },
            Err(Rejected::FromNobody),
        ),
        ("a proposal", message(MessageType::MsgProp), Err(Rejected::LocalType)),
        ("a local message", message(MessageType::MsgHup), Err(Rejected::LocalType)),
        ("an empty snapshot", message(MessageType::MsgSnap), Err(Rejected::NoSnapshot)),
        (
            "an unknown type",
            raftpb::Message { r#type: Some(99), ..message(MessageType::MsgApp) },
            Err(Rejected::UnknownType(99)),
        ),
    ];
    for (name, message, expected) in cases {
        assert_eq!(verdict(message), expected, "{name}");
    }
}

#[test]
fn a_go_message_with_an_empty_snapshot_has_none() {
    let empty = raftpb::Snapshot {
        metadata: Some(raftpb::SnapshotMetadata::default()),
        data: Some(Bytes::new()),
    };
    let sent = raftpb::Message { snapshot: Some(empty), ..message(MessageType::MsgHeartbeat) };
    assert!(!from_wire(sent).unwrap().has_snapshot());
}

#[test]
fn a_change_of_address_changes_no_vote() {
    let change = |kind: ConfChangeType| {
        let change = raftpb::ConfChange {
            r#type: Some(kind.into()),
            node_id: Some(7),
            ..Default::default()
        };
        conf_change(&change.encode_to_vec().into())
            .map(|change| (change.get_change_type(), change.get_node_id()))
    };
    use eraftpb::ConfChangeType::{AddLearnerNode, AddNode, RemoveNode};
    assert_eq!(change(ConfChangeType::ConfChangeAddNode), Some((AddNode, 7)));
    assert_eq!(change(ConfChangeType::ConfChangeRemoveNode), Some((RemoveNode, 7)));
    assert_eq!(change(ConfChangeType::ConfChangeAddLearnerNode), Some((AddLearnerNode, 7)));
    assert_eq!(change(ConfChangeType::ConfChangeUpdateNode), None);
    assert_eq!(conf_change(&Bytes::from_static(&[0xff; 5])), None);
}

#[test]
fn members_that_tie_are_separated_by_a_later_term() {
    // The second pair's seeds differ exactly as its ids do.
    for (one, other) in [((7, 1), (7, 2)), ((9, 1), (10, 2)), ((0, 1), (u64::MAX, 1))] {
        let draw = |(seed, member), term| election_ticks(seed, member, term, &(10..20));
        let together = (1..1_000).filter(|term| draw(one, *term) == draw(other, *term)).count();
        assert!((50..200).contains(&together), "about one in ten: {together}");
    }
}

proptest! {
    #[test]
    fn a_wait_is_within_its_range(
        seed: u64, member: u64, term: u64, start in 1_usize..50, more in 0_usize..50,
    ) {
        let ticks = election_ticks(seed, member, term, &(start..start + more));
        prop_assert!(ticks >= start && (more == 0 || ticks < start + more));
    }

    #[test]
    fn no_bytes_make_the_guard_panic(bytes: Vec<u8>) {
        if let Ok(message) = raftpb::Message::decode(&*bytes) {
            let _ = verdict(message);
        }
    }

    #[test]
    fn a_message_survives_both_forms(
        index: u64, log_term: u64, commit: u64, reject: bool, hint: u64,
        context: Vec<u8>, data: Vec<Vec<u8>>,
    ) {
        let entry = |(number, data): (u64, Vec<u8>)| raftpb::Entry {
            r#type: Some(0),
            index: Some(number),
            term: Some(5),
            data: Some(data.into()),
        };
        let sent = raftpb::Message {
            index: Some(index),
            log_term: Some(log_term),
            commit: Some(commit),
            reject: Some(reject),
            reject_hint: Some(hint),
            context: Some(context.into()),
            entries: (1..).zip(data).map(entry).collect(),
            ..message(MessageType::MsgApp)
        };
        prop_assert_eq!(to_wire(from_wire(sent.clone()).unwrap()), sent);
    }
}
