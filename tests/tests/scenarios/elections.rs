//! Who leads, and what may not change that: the traps of raft-rs that have to do with elections,
//! disks and messages.

use std::{collections::BTreeSet, time::Duration};

use actors::raft::{GetCommitted, GetStatus, Receive, TICK};
use futures_util::future::join_all;
use protocol::raftpb::{Entry, Message, MessageType};
use tests::{
    membership,
    net::Temper,
    oracle::Told,
    plan::{Weather, When, at},
    run::{Family, Story, simulate},
    workload,
    world::{Change, Crash, Way, World},
};
use tokio::time::{Instant, sleep, timeout};

use super::SECOND;

/// Two that wait equally long ask for the same votes in the same term, and neither wins. The next
/// term draws anew, so that nobody ties for ever.
#[test]
fn members_that_draw_the_same_wait_elect_a_leader() {
    let mut ties = 0;
    // In these, the two shortest waits are equally long.
    for seed in [25, 26, 32, 39, 47, 49] {
        simulate(async || {
            let began = Instant::now();
            let mut world = World::new(seed).await;
            // Votes that are asked for at once cross each other on the way.
            let millis = Duration::from_millis;
            world
                .cluster
                .network
                .set_temper(Temper { delay: millis(20)..millis(21), ..Temper::calm() });
            world.leader().await;
            assert!(began.elapsed() < 10 * SECOND, "seed {seed} took {:?}", began.elapsed());
            let votes = world.cluster.trace.events().into_iter().filter_map(|event| {
                let rest = event.message.strip_prefix("MsgVote to ")?;
                Some((rest.split_whitespace().nth(2)?.to_owned(), event.actor))
            });
            let candidacies: BTreeSet<_> = votes.collect();
            let terms: BTreeSet<_> = candidacies.iter().map(|(term, _)| term).collect();
            ties += usize::from(terms.len() < candidacies.len());
        });
    }
    assert!(ties > 0, "nowhere did two members ask for votes in one term");
}

/// With `batch_append`, raft-rs sends appends with entries missing between them.
#[test]
fn appends_have_no_gaps_however_messages_come() {
    let weather = Weather { delay_millis_max: 300, lost_percent: 25, repeated_percent: 20 };
    let faults = vec![at(500).lasting(19_000).weather(weather)];
    let report = Story { seed: 41, time: 20 * SECOND, faults, family: Family::Members }.hold();
    assert!(report.counts["fault: message overtaken"] > 100);
}

/// A leader whose heartbeats were answered only after a sync would doubt itself at every stall.
#[test]
fn stalls_of_every_disk_cost_nobody_the_leadership() {
    simulate(async || {
        let mut world = World::new(42).await;
        world.write(2).await;
        let elected = world.count("seen: leader elected");
        let stall = 3 * SECOND / 2;
        world.members().into_iter().for_each(|member| world.slow_disk(member, stall));
        world.keep_busy(50 * SECOND);
        world.watch(55 * SECOND).await;
        assert_eq!(world.count("seen: leader elected"), elected, "it leads as before");
        world.end().await;
    });
}

#[test]
fn a_sole_voter_leads_again_after_every_power_cut() {
    simulate(async || {
        let mut world = World::founded_by(1, 43).await;
        for round in 0..20 {
            world.write(3).await;
            world.slow_disk(1, SECOND / 20);
            let (cluster, oracle) = (world.cluster.clone(), world.oracle.clone());
            let store = world.store(1);
            let names: Vec<_> = (0..5).map(|number| format!("cut-{round}-{number}")).collect();
            let create = |name: &String| workload::create(&cluster, &oracle, &store, name.clone());
            // What is written and not synced is not to be counted on when it campaigns.
            let writes = join_all(names.iter().map(create));
            timeout(SECOND / 25, writes).await.ok();
            world.crash([1], Crash::Power);
            world.start([1]).await;
            let began = Instant::now();
            world.leader().await;
            assert!(began.elapsed() < SECOND, "nobody else is waited for");
        }
        world.end().await;
    });
}

#[test]
fn a_cluster_begins_with_the_first_entry_of_its_log() {
    simulate(async || {
        let mut world = World::founded_by(1, 44).await;
        for _ in 0..2 {
            world.leader().await;
            let peer = world.cluster.member(1).borrow().peer().expect("it lives");
            let page = peer.send(GetCommitted { from: 1 }).await.expect("alive");
            let first = page.entries.first().expect("the log has not been compacted");
            assert_eq!((page.begins, first.index, first.term), (1, 1, 1));
            let status = peer.send(GetStatus).await.expect("alive").expect("a member");
            assert_eq!((status.voters, status.members.len()), (vec![1], 1));
            world.crash([1], Crash::Power);
            world.start([1]).await;
        }
        world.end().await;
    });
}

/// raft-rs panics at any of these.
#[test]
fn messages_that_no_peer_sends_kill_nobody() {
    simulate(async || {
        let mut world = World::new(45).await;
        world.write(5).await;
        let follower = world.followers().await[0];
        let leader = world.leader().await;
        let peer = world.cluster.member(follower).borrow().peer().expect("it lives");
        let status = peer.send(GetStatus).await.expect("alive").expect("a member");
        let message = |kind: MessageType| Message {
            r#type: Some(kind.into()),
            from: Some(leader),
            to: Some(follower),
            term: Some(status.term),
            ..Message::default()
        };
        let append = |index: u64, entries: &[(u64, u64)]| Message {
            index: Some(index),
            log_term: Some(status.term),
            entries: entries
                .iter()
                .map(|(index, term)| Entry {
                    index: Some(*index),
                    term: Some(*term),
                    ..Entry::default()
                })
                .collect(),
            ..message(MessageType::MsgApp)
        };
        let (last, term) = (status.last, status.term);
        let malformed = [
            append(last, &[(last + 2, term)]),
            append(last, &[(last + 1, term), (last + 2, term - 1)]),
            append(last - 1, &[(last, term + 1)]),
            append(0, &[(1, 0)]),
            Message { commit: Some(last + 1_000), ..message(MessageType::MsgHeartbeat) },
            message(MessageType::MsgSnap),
            Message { from: Some(follower), ..message(MessageType::MsgHeartbeat) },
            message(MessageType::MsgHup),
            message(MessageType::MsgProp),
        ];
        for message in malformed {
            peer.send(Receive(message)).await.expect("it lives on").ok();
        }
        world.write(5).await;
        let status = peer.send(GetStatus).await.expect("alive").expect("a member");
        assert_eq!(status.term, term, "nobody had to be elected");
        world.end().await;
    });
}

/// What is committed at the moment of an election must not be forgotten by those who elect.
#[test]
fn leadership_is_handed_round_under_load() {
    simulate(async || {
        let mut world = World::new(46).await;
        world.leader().await;
        world.keep_busy(20 * SECOND);
        for to in [1, 2, 3, 1, 2, 3] {
            world.change(Change::HandsOver(Some(to))).await;
            world.watch(SECOND).await;
            assert_eq!(world.leader().await, to);
        }
        world.end().await;
    });
}

/// A candidate that is asked to lead while its own snapshot is on the way would panic.
#[test]
fn nobody_hands_over_to_a_member_that_is_cut_off() {
    simulate(async || {
        let mut world = World::new(47).await;
        world.write(3).await;
        let (leader, follower) = (world.leader().await, world.followers().await[0]);
        world.cut_off(follower, Way::Both);
        let (cluster, oracle) = (world.cluster.clone(), world.oracle.clone());
        let change = Change::HandsOver(Some(follower));
        let end = Instant::now() + 10 * SECOND;
        let done = membership::carry_out(&cluster, &oracle, change, end).await;
        assert!(!done, "it cannot be reached");
        assert_eq!(world.leader().await, leader);
        let name = "after".to_owned();
        let store = world.store(leader);
        workload::create(&cluster, &oracle, &store, name.clone()).await;
        assert_eq!(oracle.of(&name), Some(Told::Acknowledged), "and the old leader goes on");
        world.end().await;
    });
}

/// How long it takes until another leads, from the end of a leader on.
async fn fail_over(world: &mut World, crash: Crash) -> Duration {
    let leader = world.leader().await;
    world.write(1).await;
    let began = Instant::now();
    world.crash([leader], crash);
    while world.cluster.leading().is_none() {
        sleep(Duration::from_millis(1)).await;
    }
    let took = began.elapsed();
    assert_ne!(world.leader().await, leader);
    world.start([leader]).await;
    world.write(1).await;
    took
}

/// The machine of a process that has ended refuses connections; one without power says nothing.
#[test]
fn another_leads_within_a_few_ticks_after_a_process_has_ended() {
    for founders in [3, 5] {
        let (mut refused, mut silent) = (Vec::new(), Vec::new());
        for seed in 80..90 {
            simulate(async || {
                let mut world = World::founded_by(founders, seed).await;
                refused.push(fail_over(&mut world, Crash::Process).await);
                silent.push(fail_over(&mut world, Crash::Power).await);
                world.end().await;
            });
        }
        refused.sort();
        let (half, worst) = (refused[refused.len() / 2], refused[refused.len() - 1]);
        assert!(half < TICK && worst < 3 * TICK, "{founders}: {refused:?}");
        assert!(silent.iter().all(|took| *took > 9 * TICK), "{founders}: {silent:?}");
    }
}

/// What a fault list can say of one death: it is not the end of a member's promises.
#[test]
fn a_leader_whose_log_dies_gives_way_or_goes_on() {
    let deaths = (1..=3).flat_map(|member| {
        let millis = 2_000 * member;
        [
            at(millis).death(member, "log/writer", When::AfterHandling),
            at(millis + 700).death(member, "core/store", When::BeforeHandling),
        ]
    });
    let faults = deaths.collect();
    let report =
        Story { seed: 48, time: Duration::from_secs(12), faults, family: Family::Members }.hold();
    let died = ["fault: actor died after handling", "fault: actor died before handling"];
    assert_eq!(died.map(|what| report.counts[what]), [3, 3]);
}
