//! Managers that are to be workers, and nodes that are removed: the role manager over real raft.

use std::sync::Arc;

use actors::store::Transaction;
use protocol::{
    id::NodeId,
    objects::{Kind, Node},
    wire::NodeRole,
};
use tests::{
    cluster::Cluster,
    member::node_id,
    run::simulate,
    world::{Crash, Way, World},
};

use super::SECOND;

/// Says what a node is to be.
pub(super) async fn want(world: &mut World, node_id: &str, role: NodeRole) {
    let id = NodeId::from(node_id);
    let change = move |head: &mut Transaction| {
        let node = head.node(&id).expect("it is there").as_ref().clone();
        let mut spec = (*node.spec).clone();
        spec.desired_role = role.into();
        head.update(Node { spec: Arc::new(spec), ..node })
    };
    world.transact(change).await;
}

async fn demote(world: &mut World, member: u64) {
    want(world, &node_id(member), NodeRole::Worker).await;
}

/// Waits until a member knows that it is none, and its node is a worker.
async fn until_worker(world: &mut World, member: u64) {
    let knows = |cluster: &Cluster| cluster.member(member).borrow().knows_removal();
    world.watch_until("a demoted manager does not end", knows).await;
    let is_worker = move |cluster: &Cluster| {
        let Some((store, _)) = cluster.leader() else { return false };
        let view = store.view();
        view.node(&node_id(member)[..].into()).is_some_and(|node| node.role == 0)
    };
    world.watch_until("a demoted manager has its old role", is_worker).await;
    world.forget(member);
}

#[test]
fn every_manager_but_one_becomes_a_worker_the_leader_among_them() {
    simulate(async || {
        let mut world = World::led_with_loops(3, 71).await;
        let leader = world.leader().await;
        let follower = world.followers().await[0];
        demote(&mut world, leader).await;
        until_worker(&mut world, leader).await;
        assert_ne!(world.leader().await, leader);
        demote(&mut world, follower).await;
        until_worker(&mut world, follower).await;
        assert_eq!(world.members().len(), 1);
        world.end().await;
    });
}

#[test]
fn a_demotion_survives_the_leader_that_began_it() {
    simulate(async || {
        let mut world = World::led_with_loops(5, 72).await;
        let (leader, followers) = (world.leader().await, world.followers().await);
        // Three of five have to be left, and two of them are off.
        world.crash(followers[2..].iter().copied(), Crash::Power);
        world.watch(2 * SECOND).await;
        demote(&mut world, followers[0]).await;
        world.watch(12 * SECOND).await;
        assert!(!world.cluster.member(followers[0]).borrow().knows_removal(), "it is needed");
        world.start(followers[2..].iter().copied()).await;
        world.crash([leader], Crash::Power);
        until_worker(&mut world, followers[0]).await;
        world.start([leader]).await;
        world.end().await;
    });
}

#[test]
fn the_member_of_a_removed_node_leaves_and_is_told_when_it_comes_back() {
    simulate(async || {
        let mut world = World::led_with_loops(3, 73).await;
        let gone = world.followers().await[0];
        world.cut_off(gone, Way::Both);
        let remove = move |head: &mut Transaction| {
            let id = NodeId::from(&*node_id(gone));
            if head.node(&id).is_some() { head.remove(Kind::Node, id.as_id()) } else { Ok(()) }
        };
        world.transact(remove).await;
        world.watch(10 * SECOND).await;
        let status = world.cluster.leader_status().await.expect("it leads");
        assert_eq!(status.voters.len(), 2);
        world.mend();
        let knows = |cluster: &Cluster| cluster.member(gone).borrow().knows_removal();
        world.watch_until("a removed manager is not told", knows).await;
        world.forget(gone);
        world.end().await;
    });
}
