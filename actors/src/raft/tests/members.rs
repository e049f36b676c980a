//! Who joins, is promoted, is removed and leads next.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use protocol::wire::RaftMember;
use tokio::time::{sleep, timeout};

use super::{
    LONG,
    rig::{Machine, Network, create, run},
};
use crate::{
    log::simulated::Crash,
    raft::{
        ChangeError, Error, GetStatus, Join, Joined, Removal, Remove, Removed, Status,
        TransferLeadership,
        changing::Changing,
        logic::{Change, Group, RemovalStep, new_member_id},
        membership::Membership,
    },
};

const SECOND: Duration = Duration::from_secs(1);

fn group(voters: &[u64], reachable: &[u64]) -> Group {
    Group {
        own: 1,
        voters: voters.iter().copied().collect(),
        reachable: reachable.iter().copied().collect(),
        last: 500,
        ..Group::default()
    }
}

#[test]
fn a_removal_leaves_those_who_can_agree() {
    let loses = Err(ChangeError::LosesQuorum);
    let propose = Ok(RemovalStep::Propose);
    let hand_over = |to| Ok(RemovalStep::HandOver(to));
    let cases: [(&[u64], &[u64], u64, _); 10] = [
        (&[1, 2, 3], &[2, 3], 3, propose),
        (&[1, 2, 3], &[2], 3, propose),
        (&[1, 2, 3], &[3], 3, loses),
        (&[1, 2, 3], &[2], 1, loses),
        (&[1, 2, 3], &[2, 3], 1, hand_over(3)),
        (&[1, 2], &[2], 2, propose),
        (&[1, 2], &[2], 1, hand_over(2)),
        (&[1, 2], &[], 2, propose),
        (&[1], &[], 1, loses),
        (&[1, 2, 3], &[2, 3], 4, Err(ChangeError::UnknownMember)),
    ];
    for (voters, reachable, removed, expected) in cases {
        let outcome = group(voters, reachable).remove(removed);
        assert_eq!(outcome, expected, "{removed} of {voters:?}, reaching {reachable:?}");
    }
    let learners = Group { learners: BTreeSet::from([4]), ..group(&[1, 2, 3], &[]) };
    assert_eq!(learners.remove(4), propose, "a learner is needed by nobody");
}

#[test]
fn whoever_is_furthest_along_leads_next() {
    let along = BTreeMap::from([(2, 480), (3, 500), (4, 500), (5, 499)]);
    let succeeds = |reachable: &[u64]| {
        Group { matched: along.clone(), ..group(&[1, 2, 3, 5], reachable) }.successor()
    };
    assert_eq!(succeeds(&[2, 3, 4, 5]), Some(3));
    assert_eq!(succeeds(&[2, 4, 5]), Some(5), "4 does not vote");
    assert_eq!(succeeds(&[4]), None);
}

#[test]
fn whoever_could_not_take_over_is_asked_after_the_others() {
    let matched = BTreeMap::from([(2, 480), (3, 500), (4, 490)]);
    for (declined, expected) in [
        (vec![], 3),
        (vec![(3, 7)], 4),
        (vec![(3, 7), (4, 9)], 2),
        (vec![(3, 7), (4, 9), (2, 11)], 3),
        (vec![(3, 13), (4, 9), (2, 11)], 4),
    ] {
        let (declined, matched) = (BTreeMap::from_iter(declined), matched.clone());
        let found = Group { declined, matched, ..group(&[1, 2, 3, 4], &[2, 3, 4]) }.successor();
        assert_eq!(found, Some(expected));
    }
}

#[test]
fn it_is_remembered_for_a_while_who_could_not_take_over() {
    let mut changing = Changing::default();
    for (to, leads, leader) in [(3, true, 1), (2, false, 2)] {
        changing.transfer(to, 20, Box::new(|_| ()));
        // raft-rs has given up, or another leads.
        changing.settle_transfer(leads, leader, None);
    }
    assert_eq!(changing.declined().keys().collect::<Vec<_>>(), [&3]);
    (0..2_000).for_each(|_| changing.tick());
    assert!(changing.declined().is_empty());
}

#[test]
fn a_learner_is_promoted_within_a_hundred_entries() {
    let promotes = |matched, reachable: &[u64]| {
        let learners = BTreeSet::from([4]);
        let matched = BTreeMap::from([(4, matched)]);
        Group { learners, matched, ..group(&[1, 2, 3], reachable) }.promotable()
    };
    assert_eq!(promotes(399, &[4]), None);
    assert_eq!(promotes(400, &[4]), Some(4));
    assert_eq!(promotes(500, &[2, 3]), None, "it was not heard of");
    let new = Group { last: 50, ..group(&[1], &[4]) };
    let new = Group { learners: BTreeSet::from([4]), ..new };
    assert_eq!(new.promotable(), None, "a short log does not make it one that has caught up");
}

#[test]
fn an_id_is_never_given_twice() {
    let mut given = BTreeSet::new();
    for _ in 0..1_000 {
        let id = new_member_id(7, 20, |id| given.contains(&id));
        assert!(id != 0 && given.insert(id));
    }
}

#[test]
fn a_removed_id_does_not_come_back() {
    let member = |addr: &str| RaftMember {
        raft_id: 4,
        node_id: "node-4".to_owned(),
        addr: addr.to_owned(),
        status: Some(Default::default()),
    };
    let mut membership = Membership::default();
    let mut follow = |change| membership.follow(&change);
    assert!(!follow(Change::Goes(4)), "nobody");
    assert!(!follow(Change::Moves(member("a:1"))), "nobody yet");
    assert!(follow(Change::Learns(member("a:1"))));
    assert!(follow(Change::Votes(member("a:1"))));
    assert!(follow(Change::Moves(member("b:1"))));
    assert!(follow(Change::Goes(4)));
    assert!(!follow(Change::Learns(member("a:1"))));
    assert!(!follow(Change::Votes(member("a:1"))));
    let (_, again) = Membership::decode(membership.encode(&Default::default())).expect("whole");
    assert_eq!(again, membership, "a snapshot keeps it");
    assert!(again.is_removed(4) && again.shown().is_empty());
}

async fn status(machine: &Machine) -> Status {
    machine.peer().send(GetStatus).await.expect("alive").expect("a member")
}

async fn join(leader: &Machine, node_id: &str, address: &str) -> Result<Joined, ChangeError> {
    let join = Join { node_id: node_id.to_owned(), address: address.to_owned(), learns: true };
    leader.peer().send(join).await.expect("alive")
}

async fn remove(leader: &Machine, raft_id: u64) -> Result<Removal, ChangeError> {
    leader.peer().send(Remove { raft_id }).await.expect("alive")
}

async fn transfer(leader: &Machine, to: Option<u64>) -> Result<u64, ChangeError> {
    leader.peer().send(TransferLeadership { to }).await.expect("alive")
}

/// Three machines, and who of them leads.
async fn three(seed: u64) -> (Network, Vec<Machine>, usize) {
    let network = Network::default();
    let mut machines = network.three(seed);
    machines.iter_mut().for_each(Machine::start);
    let leader = network.until_leader(&machines).await;
    (network, machines, leader)
}

#[test]
fn a_node_learns_and_then_votes() {
    run(async || {
        let (network, mut machines, leader) = three(30).await;
        create(&machines[leader].store(), "before").await.expect("written");
        let joined = join(&machines[leader], "node-4", "node-4:4242").await.expect("joined");
        let about = status(&machines[leader]).await;
        assert_eq!(about.learners, [joined.raft_id], "it is applied when it is answered");
        assert_eq!((about.voters.len(), about.members), (3, joined.members.clone()));
        let mut fourth = network.joined("node-4", &joined);
        fourth.start();
        sleep(2 * SECOND).await;
        assert_eq!(status(&machines[leader]).await.voters.len(), 4);
        create(&machines[leader].store(), "after").await.expect("the numbers still fit");
        sleep(SECOND).await;
        machines.push(fourth);
        for machine in &machines {
            assert_eq!(machine.names(), ["after", "before"]);
            let about = status(machine).await;
            assert_eq!((about.voters.len(), about.learners.len()), (4, 0));
        }
        machines[3].crash(Crash::Power);
        machines[3].start();
        sleep(SECOND).await;
        assert_eq!(status(&machines[3]).await.voters.len(), 4, "it knows so from its own disk");
    });
}

/// SwarmKit's managers know no learners.
#[test]
fn a_node_that_does_not_learn_votes_at_once() {
    run(async || {
        let (network, machines, leader) = three(31).await;
        create(&machines[leader].store(), "before").await.expect("written");
        let (node_id, address) = ("node-4".to_owned(), "node-4:4242".to_owned());
        let join = Join { node_id, address, learns: false };
        let joined = machines[leader].peer().send(join).await.expect("alive").expect("joined");
        let about = status(&machines[leader]).await;
        assert_eq!((about.voters.len(), about.learners), (4, vec![]));
        let mut fourth = network.joined("node-4", &joined);
        fourth.start();
        sleep(2 * SECOND).await;
        assert_eq!(fourth.names(), ["before"]);
    });
}

#[test]
fn who_asks_again_is_the_same_member() {
    run(async || {
        let (_, machines, leader) = three(31).await;
        let leader = &machines[leader];
        let first = join(leader, "node-4", "node-4:4242").await.expect("joined");
        let since = status(leader).await.members_since;
        assert_eq!(join(leader, "node-4", "node-4:4242").await, Ok(first.clone()));
        let moved = join(leader, "node-4", "moved:1").await.expect("moved");
        assert_eq!(moved.raft_id, first.raft_id);
        let about = status(leader).await;
        assert_eq!(about.members, moved.members);
        assert!(moved.members.iter().any(|member| member.address == "moved:1"));
        assert_eq!(about.learners, [first.raft_id], "an address makes nobody a learner or a voter");
        assert_eq!(about.members_since, since);
        let voter = about.members.iter().find(|member| about.voters.contains(&member.raft_id));
        let voter = voter.expect("three vote");
        join(leader, &voter.node_id, "elsewhere:1").await.expect("moved");
        assert_eq!(status(leader).await.voters, about.voters);
    });
}

#[test]
fn changes_at_once_happen_one_after_the_other() {
    run(async || {
        let (_, machines, leader) = three(32).await;
        let leader = &machines[leader];
        let (one, other, third) = tokio::join!(
            join(leader, "node-4", "node-4:4242"),
            join(leader, "node-5", "node-5:4242"),
            create(&leader.store(), "between"),
        );
        third.expect("written");
        let ids = [one.expect("joined").raft_id, other.expect("joined").raft_id];
        let learners: BTreeSet<_> = status(leader).await.learners.into_iter().collect();
        assert_eq!(learners, BTreeSet::from(ids));
        let removed = tokio::join!(remove(leader, ids[0]), remove(leader, ids[0]));
        assert_eq!(removed, (Ok(Removal::Removed), Err(ChangeError::UnknownMember)));
        assert_eq!(status(leader).await.removed, [ids[0]]);
    });
}

#[test]
fn a_removed_member_ends_and_stays_out() {
    run(async || {
        let (network, mut machines, leader) = three(33).await;
        let gone = (leader + 1) % 3;
        let raft_id = machines[gone].config.member.raft_id;
        // It does not hear of its removal, and asks when it is back.
        network.cut_off(raft_id);
        assert_eq!(remove(&machines[leader], raft_id).await, Ok(Removal::Removed));
        sleep(3 * SECOND).await;
        assert!(machines[gone].ended.borrow().is_empty());
        network.heal();
        sleep(3 * SECOND).await;
        let removed = |machine: &Machine| {
            matches!(machine.ended.borrow().as_slice(), [Error::Removed(Removed)])
        };
        assert!(removed(&machines[gone]), "{:?}", machines[gone].ended);
        machines[gone].crash(Crash::Process);
        machines[gone].ended.borrow_mut().clear();
        machines[gone].start();
        sleep(3 * SECOND).await;
        assert!(removed(&machines[gone]), "{:?}", machines[gone].ended);
        create(&machines[leader].store(), "without").await.expect("two of two");
        let again = join(&machines[leader], "node-9", "node-9:4242").await.expect("joined");
        assert_ne!(again.raft_id, raft_id);
    });
}

#[test]
fn two_become_one_that_goes_on_alone() {
    run(async || {
        let (network, mut machines, leader) = three(34).await;
        for step in 1..=2 {
            let gone = (leader + step) % 3;
            let raft_id = machines[gone].config.member.raft_id;
            assert_eq!(remove(&machines[leader], raft_id).await, Ok(Removal::Removed));
            machines[gone].crash(Crash::Power);
        }
        let own = machines[leader].config.member.raft_id;
        let refused = remove(&machines[leader], own).await;
        assert_eq!(refused, Err(ChangeError::LosesQuorum));
        create(&machines[leader].store(), "alone").await.expect("written");
        machines[leader].crash(Crash::Power);
        machines[leader].start();
        network.until_leader(&machines).await;
        assert_eq!(machines[leader].names(), ["alone"]);
        assert_eq!(status(&machines[leader]).await.removed.len(), 2);
    });
}

#[test]
fn a_leader_hands_over_before_it_is_removed() {
    run(async || {
        let (network, machines, leader) = three(35).await;
        let own = machines[leader].config.member.raft_id;
        let Ok(Removal::HandedOver { to }) = remove(&machines[leader], own).await else {
            panic!("it still leads");
        };
        let next = network.until_leader(&machines).await;
        assert_eq!(machines[next].config.member.raft_id, to);
        assert_eq!(remove(&machines[next], own).await, Ok(Removal::Removed));
        sleep(3 * SECOND).await;
        let ended = machines[leader].ended.borrow().clone();
        assert!(matches!(ended.as_slice(), [Error::Removed(Removed)]), "{ended:?}");
        create(&machines[next].store(), "after").await.expect("written");
    });
}

#[test]
fn leadership_goes_to_whom_it_is_meant_for() {
    run(async || {
        let (network, machines, leader) = three(36).await;
        let chosen = (leader + 2) % 3;
        let to = machines[chosen].config.member.raft_id;
        let handed = timeout(LONG, transfer(&machines[leader], Some(to))).await;
        assert_eq!(handed, Ok(Ok(to)));
        sleep(SECOND).await;
        assert_eq!(network.until_leader(&machines).await, chosen);
        assert_eq!(transfer(&machines[leader], None).await, Err(ChangeError::NotLeading));
        assert_eq!(transfer(&machines[chosen], Some(99)).await, Err(ChangeError::UnknownMember));
        assert_eq!(transfer(&machines[chosen], Some(to)).await, Ok(to), "it leads already");
        network.cut_off(machines[leader].config.member.raft_id);
        let lost = transfer(&machines[chosen], Some(machines[leader].config.member.raft_id)).await;
        assert_eq!(lost, Err(ChangeError::NotHandedOver));
        create(&machines[chosen].store(), "still").await.expect("it leads as before");
    });
}

#[test]
fn a_leader_that_is_cut_off_changes_nobody() {
    run(async || {
        let (network, machines, leader) = three(37).await;
        let raft_id = machines[leader].config.member.raft_id;
        network.cut_off(raft_id);
        let joined = timeout(LONG, join(&machines[leader], "node-4", "node-4:4242")).await;
        assert_eq!(joined, Ok(Err(ChangeError::OutcomeUnknown)));
        assert_eq!(
            join(&machines[leader], "node-4", "node-4:4242").await,
            Err(ChangeError::NotLeading)
        );
        network.heal();
        sleep(5 * SECOND).await;
        let next = network.until_leader(&machines).await;
        assert_eq!(status(&machines[next]).await.learners, Vec::<u64>::new());
    });
}

#[test]
fn a_learner_that_was_removed_asks_around() {
    run(async || {
        let (network, machines, leader) = three(38).await;
        let joined = join(&machines[leader], "node-4", "node-4:4242").await.expect("joined");
        let mut fourth = network.joined("node-4", &joined);
        fourth.start();
        sleep(Duration::from_millis(20)).await;
        network.cut_off(joined.raft_id);
        assert_eq!(remove(&machines[leader], joined.raft_id).await, Ok(Removal::Removed));
        sleep(5 * SECOND).await;
        assert!(fourth.ended.borrow().is_empty(), "{:?}", fourth.ended);
        network.heal();
        sleep(5 * SECOND).await;
        let ended = fourth.ended.borrow().clone();
        assert!(matches!(ended.as_slice(), [Error::Removed(Removed)]), "{ended:?}");
    });
}
