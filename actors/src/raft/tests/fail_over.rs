//! What a member does when dialling another is refused: who stands, when, and who does not.

use std::time::Duration;

use protocol::raftpb::{self, MessageType};
use tokio::time::{Instant, sleep, timeout};

use super::rig::{Machine, Network, create, run};
use crate::{
    log::simulated::Crash,
    raft::{Delivery, GetStatus, Join, Receive, Report, Status, TICK, logic::place_in_line},
};

const SECOND: Duration = Duration::from_secs(1);

/// How often the transport says that dialling is refused.
const REPEATED_EVERY: Duration = Duration::from_millis(75);

#[test]
fn members_stand_one_after_the_other() {
    let places = |leader: u64, voters: &[u64]| {
        (1..=5).map(|own| place_in_line(own, leader, voters)).collect::<Vec<_>>()
    };
    let five = [1, 2, 3, 4, 5];
    assert_eq!(places(1, &five)[1..], [Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!(places(3, &five), [Some(0), Some(1), Some(2), Some(2), Some(3)]);
    // Whoever learns does not stand, and raft may list them in any order.
    assert_eq!(places(5, &[5, 4, 2])[..4], [None, Some(0), None, Some(1)]);
}

async fn status(machine: &Machine) -> Status {
    machine.peer().send(GetStatus).await.expect("alive").expect("a member")
}

/// Tells a member that dialling another is refused.
async fn refuse(machine: &Machine, to: usize) {
    let report = Report { to: to as u64 + 1, delivery: Delivery::Refused };
    machine.peer().send(report).await.expect("alive");
}

/// Some members hear again and again that the leader's port refuses them, until another leads or
/// five seconds have passed. Returns how long that took.
async fn until_another_leads(
    network: &Network,
    machines: &[Machine],
    gone: usize,
    hear: &[usize],
) -> Duration {
    // A connection ends after what came over it.
    sleep(TICK / 10).await;
    let began = Instant::now();
    let mut due = began;
    while network.leader(machines).is_none() && began.elapsed() < 5 * SECOND {
        if Instant::now() >= due {
            due += REPEATED_EVERY;
            for one in hear {
                refuse(&machines[*one], gone).await;
            }
        }
        sleep(Duration::from_millis(1)).await;
    }
    began.elapsed()
}

async fn several(count: u64, seed: u64) -> (Network, Vec<Machine>, usize) {
    let network = Network::default();
    let mut machines = network.several(count, seed);
    machines.iter_mut().for_each(Machine::start);
    let leader = network.until_leader(&machines).await;
    create(&machines[leader].store(), "before").await.expect("written");
    (network, machines, leader)
}

#[test]
fn another_leads_within_a_tick_when_all_are_refused() {
    for (count, seed) in [(3, 61), (3, 62), (3, 63), (5, 64), (5, 65), (5, 66)] {
        run(async || {
            let (network, mut machines, leader) = several(count, seed).await;
            machines[leader].crash(Crash::Process);
            let others: Vec<_> = (0..machines.len()).filter(|one| *one != leader).collect();
            let took = until_another_leads(&network, &machines, leader, &others).await;
            assert!(took < TICK, "seed {seed} took {took:?}");
            let next = network.leader(&machines).expect("one leads");
            create(&machines[next].store(), "after").await.expect("written");
        });
    }
}

#[test]
fn another_leads_although_the_first_in_line_is_gone_too() {
    run(async || {
        let (network, mut machines, leader) = several(5, 67).await;
        let others: Vec<_> = (0..5).filter(|one| *one != leader).collect();
        machines[leader].crash(Crash::Process);
        machines[others[0]].crash(Crash::Power);
        let took = until_another_leads(&network, &machines, leader, &others[1..]).await;
        assert!(took < TICK, "{took:?}");
    });
}

/// The others have heard of the leader within an election timeout, and promise nobody else a vote
/// before that is over.
#[test]
fn where_one_alone_is_refused_another_leads_when_the_lease_is_over() {
    run(async || {
        let (network, mut machines, leader) = several(3, 68).await;
        machines[leader].crash(Crash::Process);
        let hears = (leader + 1) % 3;
        let took = until_another_leads(&network, &machines, leader, &[hears]).await;
        let election = TICK * 10;
        assert!((election - 2 * TICK..election + 3 * TICK).contains(&took), "{took:?}");
    });
}

/// A member that comes back has the entry by which another votes, and nobody to say that it is committed.
#[test]
fn one_that_was_just_added_is_elected_by_whoever_has_its_entry() {
    run(async || {
        let (network, mut machines, leader) = several(2, 90).await;
        let other = 1 - leader;
        let (node_id, address) = ("node-3".to_owned(), "node-3:4242".to_owned());
        let join = Join { node_id: node_id.clone(), address, learns: false };
        let joined = machines[leader].peer().send(join).await.expect("alive").expect("joined");
        let mut added = network.joined(&node_id, &joined);
        added.start();
        while status(&added).await.voters.len() < 3 {
            sleep(Duration::from_millis(1)).await;
        }
        for machine in &mut machines {
            machine.crash(Crash::Power);
        }
        machines[other].start();
        sleep(SECOND / 2).await;
        assert_eq!(status(&machines[other]).await.voters.len(), 2, "it does not know yet");
        let group = network.standing(other as u64 + 1).group();
        assert_eq!(group.leader, None);
        assert!(group.member(joined.raft_id).is_some(), "it has to be found");
        sleep(10 * SECOND).await;
        assert_eq!(status(&machines[other]).await.leader, Some(joined.raft_id));
        create(&added.store(), "after").await.expect("two of three are there");
    });
}

/// The member that was added has an entry that one of the old ones misses, whose vote it needs, and which
/// does not know it.
#[test]
fn one_that_was_just_added_is_elected_by_whoever_is_behind() {
    run(async || {
        let (network, mut machines, leader) = several(3, 92).await;
        let (behind, other) = ((leader + 1) % 3, (leader + 2) % 3);
        network.cut_off(behind as u64 + 1);
        let (node_id, address) = ("node-4".to_owned(), "node-4:4242".to_owned());
        let join = Join { node_id: node_id.clone(), address, learns: false };
        let joined = machines[leader].peer().send(join).await.expect("alive").expect("joined");
        let mut added = network.joined(&node_id, &joined);
        added.start();
        sleep(SECOND).await;
        network.cut_off(other as u64 + 1);
        let last = timeout(TICK / 2, create(&machines[leader].store(), "last")).await;
        last.expect_err("two of four are not enough");
        machines[leader].crash(Crash::Power);
        network.heal();
        sleep(20 * SECOND).await;
        assert_eq!(status(&machines[other]).await.leader, Some(joined.raft_id));
        create(&added.store(), "after").await.expect("three of four are there");
        assert_eq!(added.names(), ["after", "before", "last"]);
    });
}

#[test]
fn a_leader_of_swarmkits_is_missed_as_slowly_as_it_speaks() {
    for (is_foreign, expected) in [(false, TICK * 9..TICK * 25), (true, 9 * SECOND..22 * SECOND)] {
        run(async || {
            let (network, machines, leader) = several(3, 91).await;
            let leads = leader as u64 + 1;
            for other in (1..=3).filter(|other| *other != leads) {
                network.standing(other).note_kind(leads, is_foreign);
            }
            let began = Instant::now();
            network.cut_off(leads);
            let others: Vec<_> = (0..3).filter(|one| *one != leader).collect();
            while others.iter().all(|one| machines[*one].told.borrow().last() == Some(&None)) {
                assert!(began.elapsed() < 30 * SECOND);
                sleep(TICK).await;
            }
            assert!(expected.contains(&began.elapsed()), "{is_foreign}: {:?}", began.elapsed());
        });
    }
}

#[test]
fn a_leader_that_lives_is_not_disturbed_by_one_that_cannot_reach_it() {
    for count in [3, 5] {
        run(async || {
            let (network, machines, leader) = several(count, 69).await;
            let before = status(&machines[leader]).await;
            let hears = (leader + 1) % machines.len();
            for _ in 0..60 {
                refuse(&machines[hears], leader).await;
                sleep(REPEATED_EVERY).await;
            }
            create(&machines[leader].store(), "after").await.expect("written");
            sleep(SECOND).await;
            let after = status(&machines[leader]).await;
            assert_eq!((network.leader(&machines), after.term), (Some(leader), before.term));
            let follower = status(&machines[hears]).await;
            assert_eq!((follower.leader, follower.applied), (before.leader, after.applied));
        });
    }
}

#[test]
fn nobody_stands_for_another_than_the_leader() {
    run(async || {
        let (_, machines, leader) = several(3, 70).await;
        let before = status(&machines[leader]).await;
        let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
        refuse(&machines[one], other).await;
        refuse(&machines[leader], one).await;
        let followed = status(&machines[one]).await.leader;
        assert_eq!((followed, status(&machines[leader]).await.leader), (before.leader, followed));
    });
}

#[test]
fn whoever_learns_stands_for_nobody() {
    run(async || {
        let (network, machines, leader) = several(3, 71).await;
        let join =
            Join { node_id: "node-4".to_owned(), address: "node-4:4242".to_owned(), learns: true };
        let joined = machines[leader].peer().send(join).await.expect("alive").expect("let in");
        let mut learner = network.joined("node-4", &joined);
        learner.start();
        // It has just heard of the leader, and is not promoted before the next tick.
        while status(&learner).await.learners.is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
        let before = status(&learner).await;
        assert_eq!(
            (before.leader, &before.learners),
            (Some(leader as u64 + 1), &vec![joined.raft_id])
        );
        refuse(&learner, leader).await;
        assert_eq!(status(&learner).await, before);
    });
}

/// A node that was a manager once, and has kept its certificate, makes up a raft id.
#[test]
fn nobody_unknown_deposes_a_leader_that_is_followed() {
    run(async || {
        let (_, mut machines, leader) = several(3, 72).await;
        let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
        let before = status(&machines[one]).await;
        let made_up = |to: usize| raftpb::Message {
            r#type: Some(MessageType::MsgHeartbeat.into()),
            from: Some(99),
            to: Some(to as u64 + 1),
            term: Some(before.term + 5),
            ..raftpb::Message::default()
        };
        for to in [one, leader] {
            machines[to].peer().send(Receive(made_up(to))).await.expect("alive").expect("heard");
            let after = status(&machines[to]).await;
            assert_eq!((after.term, after.leader), (before.term, before.leader));
        }
        // Who follows nobody may be behind, and not know who leads.
        machines[leader].crash(Crash::Process);
        machines[other].crash(Crash::Process);
        sleep(3 * SECOND).await;
        machines[one].peer().send(Receive(made_up(one))).await.expect("alive").expect("heard");
        assert_eq!(status(&machines[one]).await.leader, Some(99));
    });
}
