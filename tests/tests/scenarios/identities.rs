//! Machines with certificates: how they come, what they become, and how they go.

use actors::environment::Clock;
use protocol::wire::NodeRole;
use tests::{
    cluster::{Cluster, MACHINES},
    member::{Member, Standing},
    run::simulate,
    world::{Crash, World},
};

use super::{SECOND, roles::want};

fn is_member(id: u64) -> impl Fn(&Cluster) -> bool {
    move |cluster| {
        let machine = cluster.member(id).borrow();
        machine.standing == Standing::Member && machine.store().is_some()
    }
}

fn shows(id: u64, role: NodeRole) -> impl Fn(&Cluster) -> bool {
    move |cluster| {
        let identity = cluster.member(id).borrow().identity();
        identity.is_some_and(|identity| identity.subject.role == role)
    }
}

#[test]
fn a_machine_joins_as_a_worker_becomes_a_manager_and_a_worker_again() {
    simulate(async || {
        let mut world = World::of_machines(1, 81).await;
        world.join_by_token(2, NodeRole::Worker).await;
        world.watch(5 * SECOND).await;
        assert!(!is_member(2)(&world.cluster), "a worker is no member");
        let node_id = world.cluster.member(2).borrow().node_id();
        want(&mut world, &node_id, NodeRole::Manager).await;
        world.watch_until("a promoted worker is no member", is_member(2)).await;
        assert!(shows(2, NodeRole::Manager)(&world.cluster), "it asked with a new certificate");
        world.write(3).await;
        want(&mut world, &node_id, NodeRole::Worker).await;
        world.watch_until("a demoted manager keeps its role", shows(2, NodeRole::Worker)).await;
        world.write(3).await;
        assert_eq!(world.members().len(), 1);
        world.end().await;
    });
}

#[test]
fn seven_managers_by_token_and_the_founder_goes() {
    simulate(async || {
        let mut world = World::of_machines(1, 82).await;
        for machine in 2..=MACHINES {
            world.join_by_token(machine, NodeRole::Manager).await;
            world.watch_until("a manager is no member", is_member(machine)).await;
        }
        world.write(5).await;
        let founder = world.cluster.member(1).borrow().node_id();
        want(&mut world, &founder, NodeRole::Worker).await;
        world.watch_until("the founder keeps its role", shows(1, NodeRole::Worker)).await;
        world.write(5).await;
        assert_eq!(world.members().len(), 6);
        world.end().await;
    });
}

/// Nobody is left to renew anything but a leader whose own certificate has ended, too.
#[test]
fn all_certificates_end_at_once_and_a_leader_renews_them() {
    simulate(async || {
        let mut world = World::of_machines(3, 84).await;
        world.write(3).await;
        let ended = |cluster: &Cluster| {
            let ends = |machine: &Member| {
                let identity = machine.identity().expect("it has one");
                identity.window.not_after_seconds < machine.clock().now().seconds
            };
            cluster.members().filter(|machine| ends(&machine.borrow())).count()
        };
        world.crash([1, 2, 3], Crash::Process);
        world.cluster.set_clocks(&(1..=MACHINES).collect(), 3 * 60 * 60);
        assert_eq!(ended(&world.cluster), 3);
        world.start([1, 2, 3]).await;
        world.watch_until("one is not renewed", |cluster| ended(cluster) == 0).await;
        world.write(3).await;
        world.end().await;
    });
}

/// Its certificate has ended: it may renew that and nothing else, and then it is heard again.
#[test]
fn a_manager_that_slept_past_the_end_of_its_certificate_comes_back_by_itself() {
    simulate(async || {
        let mut world = World::of_machines(3, 83).await;
        world.write(3).await;
        let sleeper = world.followers().await[0];
        world.crash([sleeper], Crash::Process);
        let all = (1..=MACHINES).collect();
        for _ in 0..12 {
            // The others are awake, and renew.
            world.cluster.set_clocks(&all, 240);
            world.watch(20 * SECOND).await;
        }
        let has_ended = |cluster: &Cluster| {
            let machine = cluster.member(sleeper).borrow();
            let ends = machine.identity().expect("it has one").window.not_after_seconds;
            ends < machine.clock().now().seconds
        };
        assert!(has_ended(&world.cluster));
        world.start([sleeper]).await;
        world.watch_until("it is not renewed", |cluster| !has_ended(cluster)).await;
        assert!(world.count("seen: ended certificate renewed") > 0);
        world.end().await;
    });
}
