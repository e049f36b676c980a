//! A member that goes on alone: what it writes, as a table; then with its log cut off at every
//! write, with later restarts, and with members that join or come back.

use std::time::Duration;

use bytes::Bytes;
use protocol::{
    raftpb::{Message, MessageType},
    wire::RaftMember,
};
use raft::eraftpb::ConfState;
use tokio::time::{sleep, timeout};

use super::{
    LONG,
    rig::{Machine, Network, create, create_each, run},
};
use crate::{
    log::{
        Entry, EntryKind, HardState, Recovered, SnapshotInfo,
        simulated::{Crash, Temper},
    },
    raft::{
        Error, GetStatus, Join, Receive, Removed, Status, TICK,
        logic::{Change, go_alone},
        membership::Membership,
    },
};

fn member(raft_id: u64, addr: &str) -> RaftMember {
    let status = Some(Default::default());
    RaftMember { raft_id, node_id: format!("node-{raft_id}"), addr: addr.to_owned(), status }
}

/// A change from a word as `v1`: whoever votes, learns or goes.
fn change(word: &str) -> Option<Change> {
    let id = || word[1..].parse().expect("a raft id");
    match &word[..1] {
        "v" => Some(Change::Votes(member(id(), "known:1"))),
        "l" => Some(Change::Learns(member(id(), "known:1"))),
        "g" => Some(Change::Goes(id())),
        _ => None,
    }
}

fn word(entry: &Entry) -> String {
    match Change::decode(&entry.data).expect("a change") {
        Change::Votes(member) if member.addr == "known:1" => format!("v{}", member.raft_id),
        Change::Votes(member) => format!("v{} at {}", member.raft_id, member.addr),
        Change::Goes(id) => format!("g{id}"),
        other @ (Change::Learns(_) | Change::Moves(_)) => format!("{other:?}"),
    }
}

/// Entries in term 4 behind a snapshot of that many; so many are known to be committed.
fn log(covered: u64, words: &str, commit: u64) -> Recovered {
    let entry = |(index, word): (u64, &str)| {
        let change = change(word).map(|change| change.encode());
        let kind = if change.is_some() { EntryKind::ConfChange } else { EntryKind::Normal };
        Entry { index, term: 4, kind, data: change.unwrap_or_default() }
    };
    let snapshot = SnapshotInfo { index: covered, term: 3, membership: Bytes::new() };
    Recovered {
        hard_state: HardState { term: 4, vote: 2, commit },
        snapshot: (covered > 0).then_some(snapshot),
        entries: (covered + 1..).zip(words.split_whitespace()).map(entry).collect(),
        ..Recovered::default()
    }
}

/// What the member 1 writes: where it begins, and the changes.
fn written(members: (ConfState, Membership), log: &Recovered) -> String {
    let Some(append) = go_alone(&member(1, "own:1"), members, log) else {
        return "nothing".to_owned();
    };
    let (first, last) = (&append.entries[0], &append.entries[append.entries.len() - 1]);
    let state = append.hard_state.expect("it says what is committed");
    assert_eq!((state.term, state.commit), (first.term, last.index));
    let words: Vec<_> = append.entries.iter().map(word).collect();
    format!("{} {}", first.index, words.join(" "))
}

#[track_caller]
fn check(words: &str, commit: u64, expected: &str) {
    assert_eq!(written(Default::default(), &log(0, words, commit)), expected, "{words}");
}

#[test]
fn all_others_are_removed() {
    check("v1 v2 v3 -", 4, "5 g2 g3");
    check("v1 v2 v3 g2 -", 5, "6 g3");
    check("v2 v3 v1 l4", 4, "5 g2 g3 g4");
    check("v1", 1, "nothing");
    check("v1 v2 - g2 -", 5, "nothing");
}

#[test]
fn whoever_does_not_vote_does_so_first() {
    check("v2 l1", 2, "3 v1 g2");
    check("v2 -", 2, "3 v1 at own:1 g2");
    check("l1", 1, "2 v1 at own:1");
}

#[test]
fn what_may_have_been_acknowledged_stays() {
    check("v1 v2 v3 - -", 3, "6 g2 g3");
    check("v1 v2 v3 l4 -", 3, "6 g2 g3 g4");
}

#[test]
fn its_own_removal_counts_only_if_it_was_committed() {
    check("v1 v2 v3 - g1 -", 4, "5 g2 g3");
    check("v1 v2 v3 - g1 -", 5, "nothing");
    // The last one could not go.
    check("v1 - g1 -", 4, "nothing");
}

#[test]
fn a_snapshot_says_who_was_a_member_before() {
    let mut state = ConfState::default();
    state.set_voters(vec![1, 2]);
    state.set_learners(vec![3]);
    let mut membership = Membership::default();
    for id in 1..=4 {
        membership.follow(&Change::Votes(member(id, "known:1")));
    }
    membership.follow(&Change::Goes(4));
    let members = (state, membership);
    assert_eq!(written(members.clone(), &log(9, "", 9)), "10 g2 g3");
    assert_eq!(written(members.clone(), &log(9, "- g2", 11)), "12 g3");
    // A snapshot may be newer than the hard state that was to come after it.
    let early = Recovered { hard_state: HardState::default(), ..log(9, "", 9) };
    let append = go_alone(&member(1, ""), members.clone(), &early).expect("others are removed");
    let state = append.hard_state.expect("it says what is committed");
    assert_eq!((state.term, state.vote, append.entries[0].term), (3, 0, 3));
    let (state, mut membership) = members;
    membership.follow(&Change::Goes(1));
    assert_eq!(written((state, membership), &log(9, "", 9)), "nothing", "it was removed");
}

async fn status(machine: &Machine) -> Status {
    machine.peer().send(GetStatus).await.expect("alive").expect("a member")
}

/// Three machines that have written some, and lost power.
async fn three_without_power(network: &Network, seed: u64) -> (Vec<Machine>, usize) {
    let (mut machines, leader, _) = network.three_with_snapshots(seed, 20, 5).await;
    create_each(&machines[leader].store(), 0..30).await;
    machines.iter_mut().for_each(|machine| machine.crash(Crash::Power));
    (machines, leader)
}

/// Asserts that a machine leads alone, and has everything that was acknowledged.
async fn leads_alone(machine: &Machine, services: usize) {
    machine.until_leading().await;
    let status = status(machine).await;
    let own = machine.config.member.raft_id;
    assert_eq!((status.voters, status.members.len()), (vec![own], 1));
    let others: Vec<_> = (1..=3).filter(|id| *id != own).collect();
    assert_eq!(status.removed, others);
    create(&machine.store(), &format!("s{services:03}")).await.expect("written");
    assert_eq!(machine.names().len(), services + 1);
    machine.store().view().verify_indices();
}

#[test]
fn one_of_three_goes_on_alone_with_all_that_was_acknowledged() {
    run(async || {
        let network = Network::default();
        let (mut machines, leader) = three_without_power(&network, 81).await;
        let mut alone = machines.swap_remove(leader);
        alone.config.force_new_cluster = true;
        alone.start();
        leads_alone(&alone, 30).await;
        // The flag may stay where it is, and be taken away: nothing changes any more.
        for (round, force_new_cluster) in [true, false, true].into_iter().enumerate() {
            alone.crash(Crash::Power);
            alone.config.force_new_cluster = force_new_cluster;
            alone.start();
            leads_alone(&alone, 31 + round).await;
        }
    });
}

#[test]
fn a_member_that_is_cut_off_at_any_write_goes_on_alone_in_the_end() {
    for (changes, crash) in
        (0..10).flat_map(|changes| [(changes, Crash::Process), (changes, Crash::Power)])
    {
        run(async || {
            let network = Network::default();
            let (mut machines, leader) = three_without_power(&network, 82 + changes).await;
            let alone = &mut machines[leader];
            let off = Temper { changes_until_off: Some(changes), ..Temper::default() };
            alone.disk.set_temper(off);
            alone.config.force_new_cluster = true;
            alone.start();
            sleep(TICK / 2).await;
            alone.crash(crash);
            alone.disk.set_temper(Temper::default());
            alone.start();
            leads_alone(alone, 30).await;
        });
    }
}

/// Whether it happened or not is decided by one write.
#[test]
fn a_member_that_is_cut_off_and_not_forced_again_is_alone_or_one_of_three() {
    let mut outcomes = [0, 0];
    for changes in 0..10 {
        run(async || {
            let network = Network::default();
            let (mut machines, leader) = three_without_power(&network, 83).await;
            let alone = &mut machines[leader];
            let off = Temper { changes_until_off: Some(changes), ..Temper::default() };
            alone.disk.set_temper(off);
            alone.config.force_new_cluster = true;
            alone.start();
            sleep(TICK / 2).await;
            alone.crash(Crash::Power);
            alone.disk.set_temper(Temper::default());
            alone.config.force_new_cluster = false;
            alone.start();
            sleep(TICK / 2).await;
            let voters = status(alone).await.voters;
            if voters.len() == 1 {
                outcomes[0] += 1;
                return leads_alone(alone, 30).await;
            }
            outcomes[1] += 1;
            for other in (0..3).filter(|other| *other != leader) {
                machines[other].start();
            }
            let next = network.until_leader(&machines).await;
            create(&machines[next].store(), "s030").await.expect("written");
            sleep(Duration::from_secs(3)).await;
            assert!(machines.iter().all(|machine| machine.names().len() == 31));
        });
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

#[test]
fn those_who_were_removed_are_told_so_from_the_first_message_on() {
    run(async || {
        let network = Network::default();
        let (mut machines, leader) = three_without_power(&network, 84).await;
        machines[leader].config.force_new_cluster = true;
        machines[leader].start();
        let (own, other) = (leader as u64 + 1, (leader as u64 + 1) % 3 + 1);
        let vote = Message {
            r#type: Some(MessageType::MsgVote.into()),
            from: Some(other),
            to: Some(own),
            term: Some(99),
            ..Message::default()
        };
        // It is answered once the log has been read, before anything else happens.
        let answer = machines[leader].peer().send(Receive(vote)).await.expect("alive");
        assert_eq!(answer, Err(Removed));
        machines[leader].until_leading().await;
        let back = other as usize - 1;
        machines[back].start();
        sleep(Duration::from_secs(10)).await;
        let ended = machines[back].ended.borrow().clone();
        assert!(matches!(ended.as_slice(), [Error::Removed(_)]), "{ended:?}");
        leads_alone(&machines[leader], 30).await;
    });
}

#[test]
fn others_join_a_cluster_that_was_forced() {
    run(async || {
        let network = Network::default();
        let (mut machines, leader) = three_without_power(&network, 85).await;
        let mut alone = machines.swap_remove(leader);
        alone.config.force_new_cluster = true;
        alone.start();
        leads_alone(&alone, 30).await;
        // Or it would go on alone again.
        alone.config.force_new_cluster = false;
        let mut members = vec![alone];
        // One of them is a node that was there before, with an empty disk.
        for node_id in ["node-4", &machines[0].config.member.node_id] {
            let join = Join {
                node_id: node_id.to_owned(),
                address: format!("{node_id}:4242"),
                learns: true,
            };
            let joined = members[0].peer().send(join).await.expect("alive").expect("let in");
            let mut machine = network.joined(node_id, &joined);
            machine.start();
            members.push(machine);
        }
        sleep(Duration::from_secs(3)).await;
        assert_eq!(status(&members[0]).await.voters.len(), 3);
        members[0].crash(Crash::Power);
        let next = network.until_leader(&members).await;
        let written = timeout(LONG, create(&members[next].store(), "after")).await;
        assert_eq!(written, Ok(Ok(())));
        members[0].start();
        sleep(Duration::from_secs(3)).await;
        assert!(members.iter().all(|machine| machine.names().len() == 32));
    });
}

#[test]
fn who_has_joined_since_stays_when_the_peer_dies() {
    run(async || {
        let network = Network::default();
        let (mut machines, leader) = three_without_power(&network, 87).await;
        let alone = &mut machines[leader];
        alone.config.force_new_cluster = true;
        alone.start();
        leads_alone(alone, 30).await;
        let join =
            Join { node_id: "node-4".to_owned(), address: "node-4:4242".to_owned(), learns: true };
        alone.peer().send(join).await.expect("alive").expect("let in");
        alone.store().transact(|_| -> Result<(), ()> { panic!("a bug") }).await.ok();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(status(alone).await.members.len(), 2);
    });
}

#[test]
fn a_log_that_holds_nothing_yet_is_founded_as_ever() {
    run(async || {
        let mut machine = Machine::alone(86);
        machine.config.force_new_cluster = true;
        machine.start();
        machine.until_leading().await;
        let status = status(&machine).await;
        assert_eq!((status.voters, status.removed.len()), (vec![1], 0));
    });
}
