//! What the peer decides beside raft-rs.

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};
use prost::Message as _;
use protocol::{
    raftpb::{self, ConfChangeType, MessageType},
    wire::RaftMember,
};
use raft::{RawNode, eraftpb, storage::MemStorage};

use crate::raft::{
    logger::logger,
    logic::{Change, Ours, Rejected, check, election_ticks, from_wire, to_wire},
};

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

fn append_at(index: u64, log_term: u64) -> raftpb::Message {
    raftpb::Message { index: Some(index), log_term: Some(log_term), ..message(MessageType::MsgApp) }
}

fn snapshot(index: u64, term: u64, voters: &[u64], learners: &[u64]) -> raftpb::Message {
    let conf_state = raftpb::ConfState {
        voters: voters.to_vec(),
        learners: learners.to_vec(),
        ..raftpb::ConfState::default()
    };
    let metadata = raftpb::SnapshotMetadata {
        conf_state: Some(conf_state),
        index: Some(index),
        term: Some(term),
    };
    let snapshot = raftpb::Snapshot { metadata: Some(metadata), data: None };
    raftpb::Message { snapshot: Some(snapshot), ..message(MessageType::MsgSnap) }
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
        ("a term after nothing", append_at(0, 3), Err(Rejected::Terms)),
        ("nothing known of what comes before", append_at(20, 0), Err(Rejected::Terms)),
        ("an index that overflows", append_at(u64::MAX, 3), Err(Rejected::Terms)),
        (
            "of no term",
            raftpb::Message { term: None, ..message(MessageType::MsgHeartbeat) },
            Err(Rejected::NoTerm),
        ),
        (
            "entries that we do not have",
            raftpb::Message { index: Some(11), ..message(MessageType::MsgAppResp) },
            Err(Rejected::AcknowledgesBeyondLog),
        ),
        ("a snapshot", snapshot(12, 4, &[1, 2], &[3]), Ok(())),
        ("a snapshot of the future", snapshot(12, 6, &[1, 2], &[]), Err(Rejected::Terms)),
        (
            "a snapshot at the end of time",
            snapshot(u64::MAX, 4, &[1], &[]),
            Err(Rejected::NoSnapshot),
        ),
        ("nobody votes", snapshot(12, 4, &[], &[1]), Err(Rejected::SnapshotMembers)),
        ("one votes twice", snapshot(12, 4, &[1, 1], &[]), Err(Rejected::SnapshotMembers)),
        ("one learns and votes", snapshot(12, 4, &[1, 2], &[2]), Err(Rejected::SnapshotMembers)),
        ("somebody else's read", message(MessageType::MsgReadIndex), Err(Rejected::LocalType)),
        ("an answer to it", message(MessageType::MsgReadIndexResp), Err(Rejected::LocalType)),
        ("a transfer", message(MessageType::MsgTransferLeader), Err(Rejected::LocalType)),
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
fn every_change_is_read_as_it_was_meant() {
    use eraftpb::ConfChangeType::{AddLearnerNode, AddNode, RemoveNode};
    let member = RaftMember {
        raft_id: 7,
        node_id: "node-7".to_owned(),
        addr: "node-7:4242".to_owned(),
        status: Some(Default::default()),
    };
    let cases = [
        (Change::Votes(member.clone()), Some(AddNode)),
        (Change::Learns(member.clone()), Some(AddLearnerNode)),
        (Change::Goes(7), Some(RemoveNode)),
        // It changes no vote.
        (Change::Moves(member.clone()), None),
    ];
    for (change, kind) in cases {
        let entry = change.encode();
        assert_eq!(Change::decode(&entry), Some(change.clone()));
        let told = change.to_raft();
        assert_eq!(told.as_ref().map(|told| told.get_change_type()), kind, "{change:?}");
        assert!(told.is_none_or(|told| told.get_node_id() == 7));
    }
    let learner = ConfChangeType::ConfChangeAddLearnerNode;
    let of_others = |raft_id| raftpb::ConfChange {
        id: None,
        r#type: Some(learner.into()),
        node_id: Some(raft_id),
        context: Some(member.encode_to_vec().into()),
    };
    let read = |change: raftpb::ConfChange| Change::decode(&change.encode_to_vec().into());
    assert_eq!(read(of_others(7)), Some(Change::Learns(member.clone())));
    assert_eq!(read(of_others(8)), None, "it contradicts itself");
    assert_eq!(Change::decode(&Bytes::from_static(&[0xff; 5])), None);
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

/// A member of three with ten entries, eight of them committed: a follower, a candidate, a leader.
fn member(role: usize) -> RawNode<MemStorage> {
    let storage = MemStorage::new_with_conf_state(([1, 2, 3].to_vec(), Vec::new()));
    let entry = |index| {
        let mut entry = eraftpb::Entry::default();
        entry.set_index(index);
        entry.set_term(if index <= 8 { 3 } else { 4 });
        entry
    };
    storage.wl().append(&(1..=10).map(entry).collect::<Vec<_>>()).expect("the log is empty");
    let mut state = eraftpb::HardState::default();
    state.set_term(5);
    state.set_commit(8);
    storage.wl().set_hardstate(state);
    let config = raft::Config { id: 1, check_quorum: true, pre_vote: true, ..raft::Config::new(1) };
    let mut node = RawNode::new(&config, storage, &logger()).expect("it begins");
    if role > 0 {
        node.campaign().expect("it may");
        let mut grant = eraftpb::Message::default();
        grant.set_msg_type(eraftpb::MessageType::MsgRequestPreVoteResponse);
        grant.set_from(2);
        grant.set_to(1);
        grant.set_term(6);
        node.step(grant.clone()).expect("taken");
        if role > 1 {
            grant.set_msg_type(eraftpb::MessageType::MsgRequestVoteResponse);
            node.step(grant).expect("taken");
        }
    }
    node
}

/// What a peer with a fault in its head might send. Most numbers are near to what is possible.
fn any_message() -> impl Strategy<Value = raftpb::Message> {
    let term = || prop_oneof![8 => 0_u64..9, 1 => any::<u64>()];
    let index = || prop_oneof![8 => 0_u64..14, 1 => any::<u64>()];
    let entries = (index(), vec(term(), 0..4)).prop_map(|(first, terms)| {
        let entry = |(index, term)| raftpb::Entry {
            index: Some(index),
            term: Some(term),
            ..raftpb::Entry::default()
        };
        (first.saturating_add(1)..).zip(terms).map(entry).collect::<Vec<_>>()
    });
    let about = (index(), term(), vec(0_u64..5, 0..4), vec(0_u64..5, 0..2));
    let head = (0_i32..20, 1_u64..5, term(), term(), index(), index());
    let rest = (any::<bool>(), index(), vec(any::<u8>(), 0..9));
    (head, entries, rest, option::weighted(0.3, about)).prop_map(
        |((kind, from, term, log_term, index, commit), entries, (reject, hint, context), about)| {
            let snapshot = about.map(|(index, term, voters, learners)| {
                snapshot(index, term, &voters, &learners).snapshot.expect("it has one")
            });
            let index = match entries.first().and_then(|first| first.index) {
                Some(first) if kind == MessageType::MsgApp as i32 => first - 1,
                Some(_) | None => index,
            };
            raftpb::Message {
                r#type: Some(kind),
                to: Some(1),
                from: Some(from),
                term: Some(term),
                log_term: Some(log_term),
                index: Some(index),
                entries,
                commit: Some(commit),
                snapshot,
                reject: Some(reject),
                reject_hint: Some(hint),
                context: Some(context.into()),
                ..raftpb::Message::default()
            }
        },
    )
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
            // Few bytes say whom they are for.
            let message = raftpb::Message { to: Some(1), from: Some(2), ..message };
            let _ = verdict(message);
        }
    }

    #[test]
    fn what_the_guard_lets_in_makes_no_member_panic(
        role in 0_usize..3, messages in vec(any_message(), 1..8),
    ) {
        let mut node = member(role);
        for message in messages {
            let raft = &node.raft;
            let ours = Ours { id: 1, last_index: raft.raft_log.last_index() };
            let committed_term = |index| {
                let known = index <= raft.raft_log.committed;
                known.then(|| raft.raft_log.term(index).ok()).flatten()
            };
            let let_in = from_wire(message)
                .and_then(|message| check(&message, &ours, committed_term).map(|()| message));
            if let Ok(message) = let_in {
                let term = node.raft.term;
                let _ = node.step(message);
                prop_assert!(node.raft.term >= term, "a term never falls");
            }
            node.tick();
            if node.has_ready() {
                let ready = node.ready();
                let store = node.raft.raft_log.store.clone();
                if !ready.snapshot().is_empty() {
                    store.wl().apply_snapshot(ready.snapshot().clone()).expect("it is newer");
                }
                store.wl().append(ready.entries()).expect("they follow");
                if let Some(state) = ready.hs() {
                    store.wl().set_hardstate(state.clone());
                }
                node.advance_append(ready);
            }
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
