//! Who belongs to the group: joins, promotions, removals and returns, while clients write.

use std::{collections::BTreeSet, time::Duration};

use actors::{
    raft::{ChangeError, Join, Joined},
    store::ChangeMembers,
};
use prost::Message;
use protocol::{
    raftpb::{ConfChange, ConfChangeType},
    wire::RaftMember,
};
use tests::{
    cluster::Cluster,
    member::{address, node_id},
    membership,
    plan::at,
    run::{Family, Story, simulate},
    world::{Change, Crash, Way, World},
};
use tokio::time::Instant;

use super::SECOND;

#[test]
fn one_grows_to_three_under_a_writer() {
    simulate(async || {
        let mut world = World::founded_by(1, 51).await;
        world.keep_busy(10 * SECOND);
        world.join_and_vote([2, 3]).await;
        let leader = world.leader().await;
        world.crash([leader], Crash::Power);
        world.write(5).await;
        world.end().await;
    });
}

#[test]
fn three_grow_to_seven_and_shrink_back_under_a_writer() {
    simulate(async || {
        let mut world = World::new(52).await;
        world.keep_busy(30 * SECOND);
        world.join_and_vote(4..=7).await;
        assert!(world.count("seen: seven voters") > 0);
        let leader = world.leader().await;
        // Three of seven may go, whoever they are.
        let others: Vec<_> = world.members().into_iter().filter(|one| *one != leader).collect();
        world.crash(others[..3].iter().copied(), Crash::Power);
        world.write(5).await;
        world.start(others[..3].iter().copied()).await;
        for gone in &others[..4] {
            world.remove(*gone).await;
        }
        assert_eq!(world.members().len(), 3);
        world.write(5).await;
        world.end().await;
    });
}

#[test]
fn three_shrink_to_one_that_goes_on_alone() {
    simulate(async || {
        let mut world = World::new(53).await;
        world.write(3).await;
        for gone in world.followers().await {
            world.remove(gone).await;
            world.write(3).await;
        }
        let last = world.leader().await;
        world.crash([last], Crash::Power);
        world.start([last]).await;
        world.write(3).await;
        world.end().await;
    });
}

/// It hands over before; the new leader takes it out. Messages of both kinds reach it all the
/// while, and raft-rs would panic at the first after its removal.
#[test]
fn a_leader_that_is_removed_hands_over_before() {
    simulate(async || {
        let mut world = World::new(54).await;
        world.join_and_vote([4, 5]).await;
        world.keep_busy(15 * SECOND);
        for _ in 0..3 {
            let leader = world.leader().await;
            world.change(Change::LeaderLeaves).await;
            assert!(!world.members().contains(&leader));
            let knows = |cluster: &Cluster| cluster.member(leader).borrow().knows_removal();
            world.watch_until("a removed leader does not end", knows).await;
        }
        assert_eq!(world.members().len(), 2);
        world.end().await;
    });
}

#[test]
fn a_member_that_was_away_when_it_was_removed_is_told() {
    simulate(async || {
        let mut world = World::new(55).await;
        world.join_and_vote([4]).await;
        world.cut_off(4, Way::Both);
        world.remove(4).await;
        world.watch(5 * SECOND).await;
        assert!(!world.cluster.member(4).borrow().knows_removal(), "nobody can tell it");
        world.mend();
        let knows = |cluster: &Cluster| cluster.member(4).borrow().knows_removal();
        world.watch_until("it is not told", knows).await;
        world.end().await;
    });
}

#[test]
fn members_that_come_back_after_their_removal_do_nothing() {
    simulate(async || {
        let mut world = World::new(56).await;
        world.join_and_vote([4, 5, 6]).await;
        let leader = world.leader().await;
        let gone: Vec<_> =
            world.members().into_iter().filter(|one| *one != leader).take(3).collect();
        // They are off when it happens, so that their disks do not know.
        world.crash(gone.iter().copied(), Crash::Power);
        world.start([gone[2]]).await;
        for member in &gone {
            world.remove(*member).await;
        }
        let elected = world.count("seen: leader elected");
        for member in &gone {
            world.change(Change::ComesBack(*member)).await;
        }
        world.write(5).await;
        world.watch(10 * SECOND).await;
        assert_eq!(world.count("seen: leader elected"), elected, "they disturb nobody");
        // With an empty disk, and another id, it is welcome.
        world.join_and_vote([gone[0]]).await;
        world.end().await;
    });
}

#[test]
fn a_learner_crashes_while_its_snapshot_arrives() {
    simulate(async || {
        let mut world = World::new(57).await;
        world.write(120).await;
        world.slow_disk(4, 2 * SECOND);
        world.join(4).await;
        let sent = |cluster: &Cluster| cluster.counts.of("seen: snapshot sent") > 0;
        world.watch_until("the log of the others does not reach back that far", sent).await;
        for _ in 0..3 {
            world.watch(SECOND).await;
            world.crash([4], Crash::Power);
            world.watch(SECOND).await;
            world.start([4]).await;
        }
        world.join_and_vote([]).await;
        world.end().await;
    });
}

#[test]
fn the_log_is_compacted_while_a_follower_is_down() {
    simulate(async || {
        let mut world = World::new(58).await;
        world.write(5).await;
        let follower = world.followers().await[0];
        world.crash([follower], Crash::Power);
        world.write(120).await;
        world.slow_disk(follower, SECOND / 2);
        world.keep_busy(20 * SECOND);
        world.start([follower]).await;
        let sent = |cluster: &Cluster| cluster.counts.of("seen: snapshot sent") > 0;
        world.watch_until("the log of the others does not reach back that far", sent).await;
        // Down once more, with half a snapshot, while the log goes on.
        world.crash([follower], Crash::Power);
        world.write(120).await;
        world.start([follower]).await;
        world.end().await;
    });
}

/// raft-rs commits an empty entry in the place of a change that comes while another is pending.
/// Each waits for its turn, so that all are done, or told what is so.
#[test]
fn changes_that_are_asked_for_at_once_are_all_done() {
    simulate(async || {
        let mut world = World::new(59).await;
        world.write(2).await;
        world.members().into_iter().for_each(|member| world.slow_disk(member, SECOND / 5));
        let (cluster, oracle) = (world.cluster.clone(), world.oracle.clone());
        let end = Instant::now() + 30 * SECOND;
        let follower = world.followers().await[0];
        let changes = [4, 5, 6].map(Change::Joins).into_iter().chain([Change::Leaves(follower)]);
        let changes = changes.map(|change| membership::carry_out(&cluster, &oracle, change, end));
        let done = futures_util::future::join_all(changes).await;
        assert_eq!(done, [true; 4]);
        world.join_and_vote([]).await;
        let leader = world.cluster.leader_status().await.expect("somebody leads");
        assert_eq!((leader.voters.len(), leader.removed), (5, vec![follower]));
        world.end().await;
    });
}

/// Where a member is reached that was elsewhere before.
const MOVED: &str = "moved:4242";

/// Gives the leader a change that its peer does not know to be on its way, and lets machine 4 ask
/// to be let in right behind it. raft-rs has an empty entry in the place of that question.
async fn ask_too_early(
    world: &mut World,
) -> (impl Future<Output = Option<u64>> + use<>, impl Future<Output = Option<Asked>> + use<>) {
    let follower = world.followers().await[0];
    let status = world.cluster.leader_status().await.expect("somebody leads");
    let member = RaftMember {
        raft_id: follower,
        node_id: node_id(follower),
        addr: MOVED.to_owned(),
        status: Some(Default::default()),
    };
    let change = ConfChange {
        id: None,
        r#type: Some(ConfChangeType::ConfChangeUpdateNode.into()),
        node_id: Some(follower),
        context: Some(member.encode_to_vec().into()),
    };
    let change = ChangeMembers { term: status.term, change: change.encode_to_vec().into() };
    let leader = world.cluster.leading().expect("somebody leads").borrow();
    let (memory, peer) = (leader.memory().expect("it lives"), leader.peer().expect("it lives"));
    let join = Join { node_id: node_id(4), address: address(4), learns: true };
    let first = async move { memory.send(change).await.ok().and_then(Result::ok) };
    (first, async move { peer.send(join).await.ok() })
}

/// What came of a question to be let in.
type Asked = Result<Joined, ChangeError>;

/// raft-rs puts an empty entry in the place of a change that comes while another is pending.
/// Whoever asked for it is told, and asking again is enough.
#[test]
fn a_change_that_becomes_an_empty_entry_is_refused() {
    simulate(async || {
        let mut world = World::new(62).await;
        world.write(2).await;
        world.members().into_iter().for_each(|member| world.slow_disk(member, SECOND / 5));
        let (first, second) = ask_too_early(&mut world).await;
        let (first, second) = tokio::join!(first, second);
        assert_eq!(second, Some(Err(ChangeError::Refused)));
        let status = world.cluster.leader_status().await.expect("it leads as before");
        assert_eq!(Some(status.applied), first.map(|first| first + 1), "it has a place in the log");
        assert_eq!((status.members.len(), status.learners.len()), (3, 0));
        world.join_and_vote([4]).await;
        world.end().await;
    });
}

/// The same, while leadership moves: the next leader has both entries in its log, and the second
/// is as empty there.
#[test]
fn an_empty_entry_stays_empty_under_the_next_leader() {
    simulate(async || {
        let mut world = World::new(63).await;
        world.write(2).await;
        let leader = world.leader().await;
        // What it proposes is on the disks of the others soon, and it never hears so.
        let (first, second) = ask_too_early(&mut world).await;
        world.cut_off(leader, Way::In);
        let crashes = async {
            tokio::time::sleep(SECOND / 4).await;
            world.crash([leader], Crash::Power);
        };
        let (_, second, ()) = tokio::join!(first, second, crashes);
        let unknown = Err(ChangeError::OutcomeUnknown);
        assert_eq!(second, Some(unknown), "its leader is gone, and nobody knows more than that");
        world.mend();
        world.write(1).await;
        let status = world.cluster.leader_status().await.expect("it has just taken a write");
        assert!(status.members.iter().any(|member| member.address == MOVED), "it has the first");
        assert_eq!((status.members.len(), status.learners.len()), (3, 0));
        world.join_and_vote([4]).await;
        world.end().await;
    });
}

/// The leader that began a change dies with it on the way: the next one ends it, or nobody knows
/// of it.
#[test]
fn a_change_outlives_the_leader_that_began_it() {
    simulate(async || {
        let mut world = World::new(60).await;
        for machine in 4..=7 {
            world.write(2).await;
            let leader = world.leader().await;
            world.members().into_iter().for_each(|member| world.slow_disk(member, SECOND / 5));
            let (cluster, oracle) = (world.cluster.clone(), world.oracle.clone());
            let end = Instant::now() + 60 * SECOND;
            let joins = membership::carry_out(&cluster, &oracle, Change::Joins(machine), end);
            let crashes = async {
                tokio::time::sleep(Duration::from_millis(100 + 100 * machine)).await;
                world.crash([leader], Crash::Power);
                tokio::time::sleep(3 * SECOND).await;
                world.start([leader]).await;
            };
            assert!(tokio::join!(joins, crashes).0, "m{machine} is let in");
        }
        world.join_and_vote([]).await;
        assert_eq!(world.members(), BTreeSet::from_iter(1..=7));
        world.end().await;
    });
}

/// The group changes as a list of faults, as `just shrink` prints it.
#[test]
fn changes_and_faults_overlap() {
    let faults = vec![
        at(1_000).joins(4),
        at(1_200).joins(5),
        at(2_500).lasting(2_000).crash([4], Crash::Power),
        at(4_000).leader_leaves(),
        at(4_100).lasting(3_000).partition([3], Way::Out),
        at(8_000).leaves(3),
        at(9_500).comes_back(3),
        at(11_000).hands_over(None),
    ];
    let report = Story { seed: 61, time: 20 * SECOND, faults, family: Family::Members }.hold();
    let happened = [
        "fault: member joined",
        "fault: leader removed",
        "fault: member removed",
        "fault: removed member came back",
        "fault: leadership handed over",
    ];
    let count = |what| report.counts.get(what).copied().unwrap_or_default();
    assert_eq!(happened.map(count), [2, 1, 1, 1, 1]);
}
