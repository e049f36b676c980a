//! Members that are too far behind for entries: what they are sent is made, kept and read in
//! slices.

use bytes::Bytes;
use prost::Message;
use protocol::wire;
use raft::eraftpb::{self, ConfState, MessageType, SnapshotMetadata};
use tokio::sync::oneshot::error::TryRecvError;

use super::{
    rig::{create_each, create_many, large},
    *,
};
use crate::{
    raft::{
        Join, Receive, logic,
        receiving::{Progress, Receiving},
        sending::Sending,
        storage::Place,
    },
    store::{Transaction, View},
};

#[test]
fn a_member_that_is_far_behind_gets_a_snapshot() {
    run(async || {
        let network = Network::default();
        let (mut machines, leader, behind) = network.three_with_snapshots(10, 10, 2).await;
        machines[behind].crash(Crash::Power);
        create_each(&machines[leader].store(), 0..50).await;
        machines[behind].start();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(machines[behind].names().len(), 50);
        machines[behind].store().view().verify_indices();
        machines[behind].crash(Crash::Power);
        machines[behind].start();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(machines[behind].names().len(), 50, "also from its own disk");
        let status = machines[behind].peer().send(GetStatus).await.expect("alive");
        assert_eq!(status.expect("a member").members, machines[0].config.founders);
    });
}

#[test]
fn thousands_of_objects_come_by_snapshot() {
    run(async || {
        let network = Network::default();
        let (mut machines, leader, behind) = network.three_with_snapshots(20, 5, 1).await;
        machines[behind].crash(Crash::Power);
        create_many(&machines[leader].store(), 4_000).await;
        sleep(Duration::from_secs(1)).await;
        machines[behind].start();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(network.snapshots(), 1);
        let (sent, held) = (machines[leader].store().view(), machines[behind].store().view());
        assert_eq!(held.services().count(), 4_000);
        assert_eq!(held, sent);
        held.verify_indices();
    });
}

#[test]
fn a_newcomer_takes_a_snapshot_that_was_made_before_it_joined() {
    run(async || {
        let network = Network::default();
        let (machines, leader, _) = network.three_with_snapshots(22, 1_000, 1_000).await;
        let leader = &machines[leader];
        create_each(&leader.store(), 0..10).await;
        let before = leader.peer().send(GetStatus).await.expect("alive").expect("a member");
        let (node_id, address) = ("node-4".to_owned(), "node-4:4242".to_owned());
        let join = Join { node_id: node_id.clone(), address, learns: false };
        let older = leader.store().view();
        let joined = leader.peer().send(join).await.expect("alive").expect("joined");
        network.cut_off(joined.raft_id);
        let mut newcomer = network.joined(&node_id, &joined);
        newcomer.start();

        let mut about = SnapshotMetadata::default();
        about.set_index(before.applied);
        about.set_term(before.term);
        about.mut_conf_state().set_voters(before.voters);
        let mut sending = Sending::default();
        sending.begin(about, members(), &older);
        while sending.advance() {}
        let mut message = eraftpb::Message::default();
        message.set_msg_type(MessageType::MsgSnapshot);
        message.from = before.raft_id;
        message.to = joined.raft_id;
        message.term = before.term;
        message.set_snapshot(sending.give(before.raft_id, before.applied).expect("it is ready"));
        let message = logic::to_wire(message);
        newcomer.peer().send(Receive(message)).await.expect("alive").expect("taken");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(newcomer.names().len(), 10);
        let about = newcomer.peer().send(GetStatus).await.expect("alive").expect("a member");
        assert_eq!(about.learners, [joined.raft_id], "it does not know better yet");

        network.heal();
        create_each(&leader.store(), 10..20).await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!((network.snapshots(), newcomer.names().len()), (0, 20));
        let about = newcomer.peer().send(GetStatus).await.expect("alive").expect("a member");
        assert_eq!((about.voters.len(), about.learners.len()), (4, 0), "entries told it");
    });
}

#[test]
fn what_follows_a_snapshot_on_its_way_is_kept() {
    run(async || {
        let network = Network::default();
        let (mut machines, leader, behind) = network.three_with_snapshots(21, 10, 2).await;
        machines[behind].crash(Crash::Power);
        create_each(&machines[leader].store(), 0..50).await;
        network.slow_snapshots(Duration::from_secs(5));
        machines[behind].start();
        sleep(Duration::from_secs(1)).await;
        create_each(&machines[leader].store(), 50..100).await;
        sleep(Duration::from_secs(20)).await;
        assert_eq!(machines[behind].names().len(), 100);
        assert_eq!(network.snapshots(), 1, "entries are enough after it");
        create_each(&machines[leader].store(), 100..120).await;
        sleep(Duration::from_secs(1)).await;
        let page = machines[leader].peer().send(GetCommitted { from: 1 }).await.expect("alive");
        assert!(page.entries.len() < 20, "{} are left once nobody needs them", page.entries.len());
    });
}

fn view(services: usize) -> View {
    let mut transaction = Transaction::begin(&View::default());
    for number in 0..services {
        transaction.create(large(number)).expect("it is new");
    }
    transaction.seal(9, Default::default()).view
}

fn about(index: u64) -> SnapshotMetadata {
    let mut members = ConfState::default();
    members.set_voters(vec![1, 2]);
    members.set_learners(vec![3]);
    let mut about = SnapshotMetadata::default();
    about.set_index(index);
    about.set_term(4);
    about.set_conf_state(members);
    about
}

fn members() -> wire::ClusterSnapshot {
    let member = wire::RaftMember { raft_id: 1, node_id: "n".to_owned(), ..Default::default() };
    wire::ClusterSnapshot { members: vec![member], removed: vec![5, 6] }
}

/// A snapshot that is ready for members 1 to 3, and in how many slices it was made.
fn made(view: &View) -> (Sending, usize) {
    let mut sending = Sending::default();
    sending.begin(about(9), members(), view);
    let slices = std::iter::repeat_with(|| sending.advance()).take_while(|more| *more).count();
    (sending, slices)
}

#[test]
fn a_snapshot_is_made_in_slices_and_is_what_it_would_be_in_one_piece() {
    let view = view(3_000);
    let (sending, slices) = made(&view);
    let snapshot = sending.give(2, 9).expect("it is ready");
    let expected = snapshot.data.len() / (64 << 10);
    assert!(expected > 40 && slices >= expected, "{slices} slices for {expected} times 64 KiB");
    assert_eq!(snapshot.get_metadata(), &about(9));
    let decoded = wire::Snapshot::decode(snapshot.data.clone()).expect("it is whole");
    assert_eq!(decoded.encode_to_vec(), snapshot.data, "no other bytes");
    assert_eq!(decoded.membership, Some(members()));
    assert_eq!(decoded.store.expect("it has one").services.len(), 3_000);
}

#[test]
fn whom_a_snapshot_helps() {
    for (case, to, cut, helps) in [
        ("a voter", 2, 5, true),
        ("a learner", 3, 5, true),
        ("entries follow it at once", 2, 9, true),
        ("the log begins behind it", 2, 10, false),
        ("a member that it does not know", 4, 5, false),
    ] {
        let (sending, _) = made(&view(1));
        assert!(!sending.is_wanted(), "{case}: nobody has asked");
        assert_eq!(sending.give(to, cut).is_some(), helps, "{case}");
        assert_eq!(sending.is_wanted(), !helps, "{case}: another is made only if it has to be");
    }
}

#[test]
fn one_that_is_being_made_is_waited_for() {
    let mut sending = Sending::default();
    assert_eq!(sending.give(2, 5), None);
    assert!(sending.is_wanted());
    sending.begin(about(9), members(), &view(100));
    assert_eq!(sending.give(2, 5), None);
    assert!(!sending.is_wanted());
    while sending.advance() {}
    assert!(sending.give(2, 5).is_some());
}

#[test]
fn a_snapshot_is_kept_as_long_as_a_member_needs_it() {
    let (mut sending, _) = made(&view(1));
    let wait = |sending: &mut Sending, ticks: usize, on_its_way: bool| {
        (0..ticks).for_each(|_| sending.tick(on_its_way));
        sending.index()
    };
    assert_eq!(wait(&mut sending, 100, true), Some(9), "it is on its way");
    assert_eq!(wait(&mut sending, 20, false), Some(9), "it may be asked for again");
    sending.give(2, 5).expect("it is ready");
    assert_eq!(wait(&mut sending, 20, false), Some(9), "it was");
    assert_eq!(wait(&mut sending, 2, false), None, "nobody needs it");
}

/// A snapshot as a peer sends it.
fn sent(term: u64, index: u64, data: Bytes) -> (raftpb::Message, Place) {
    let metadata = raftpb::SnapshotMetadata { conf_state: None, index: Some(index), term: Some(4) };
    let message = raftpb::Message {
        r#type: Some(raftpb::MessageType::MsgSnap.into()),
        term: Some(term),
        snapshot: Some(raftpb::Snapshot { data: Some(data), metadata: Some(metadata) }),
        ..Default::default()
    };
    (message, Place { index, term: 4 })
}

#[test]
fn a_snapshot_is_read_in_slices_and_then_said_to_have_arrived() {
    let expected = view(1_000);
    let data = made(&expected).0.give(2, 5).expect("it is ready").data;
    let mut receiving = Receiving::default();
    let (message, place) = sent(7, 9, data);
    let mut first = receiving.add(message.clone(), place).expect("it is whole");
    let mut again = receiving.add(message, place).expect("it is whole");
    let mut slices = 0;
    let waiting = loop {
        match receiving.advance().expect("it can be read") {
            Progress::More => slices += 1,
            Progress::Whole(message, waiting) => {
                let data = message.snapshot.expect("it is still one").data;
                assert_eq!(data, None, "raft-rs does without");
                break waiting;
            }
            Progress::Nothing => panic!("there was something"),
        }
    };
    assert!(slices >= 15, "{slices} slices of a megabyte");
    assert_eq!(first.try_recv(), Err(TryRecvError::Empty), "raft-rs does not have it yet");
    assert_eq!(waiting.len(), 2, "the same snapshot again is not read again");
    waiting.into_iter().for_each(|waiting| waiting.send(()).expect("somebody waits"));
    assert_eq!((first.try_recv(), again.try_recv()), (Ok(()), Ok(())));
    assert!(receiving.take(&about(8)).is_none(), "raft-rs has taken another");
    assert!(matches!(receiving.advance(), Ok(Progress::Nothing)));
}

#[test]
fn a_newer_snapshot_takes_the_place_of_one_that_is_being_read() {
    for (case, term, index, replaces) in [
        ("a later entry", 7, 10, true),
        ("a later leader", 8, 9, true),
        ("an earlier entry", 7, 8, false),
        ("an earlier leader", 6, 10, false),
    ] {
        let data = made(&view(200)).0.give(2, 5).expect("it is ready").data;
        let mut receiving = Receiving::default();
        let (message, place) = sent(7, 9, data.clone());
        let mut first = receiving.add(message, place).expect("it is whole");
        assert!(matches!(receiving.advance(), Ok(Progress::More)), "{case}");
        let (message, place) = sent(term, index, data);
        receiving.add(message, place).expect("it is whole");
        let expected = if replaces { TryRecvError::Closed } else { TryRecvError::Empty };
        assert_eq!(first.try_recv(), Err(expected), "{case}");
    }
}

#[test]
fn snapshots_that_cannot_be_read() {
    let service = wire::Service::default().encode_to_vec();
    let unknown = [&[15 << 3 | 2, service.len() as u8][..], &service].concat();
    let inside = |store: &[u8]| [&[3 << 3 | 2, store.len() as u8][..], store].concat();
    for (case, data, reason) in [
        ("a later version", vec![1 << 3, 1], "its version 1 is unknown"),
        ("no message", vec![0xff], "failed to decode"),
        ("a kind that is unknown", inside(&unknown), "object 0 of the snapshot is of a kind"),
        ("no object", inside(&[2 << 3 | 2, 1, 0xff]), "object 0 of the snapshot is damaged"),
        ("cut off", inside(&[2 << 3 | 2, 9, 0]), "object 0 of the snapshot is damaged"),
        ("no message inside", inside(&[2 << 3, 0]), "object 0 of the snapshot is damaged"),
    ] {
        let mut receiving = Receiving::default();
        let (message, place) = sent(7, 9, data.into());
        let read = receiving.add(message, place).and_then(|_| receiving.advance());
        let error = read.err().expect(case).to_string();
        assert!(error.contains("the leader's snapshot cannot be read"), "{case}: {error}");
        assert!(error.contains(reason), "{case}: {error}");
    }
}
