//! A thousand agents: what they are told, and what becomes of what they run when they fall silent.

use std::collections::BTreeSet;

use actors::store::{Transaction, View};
use protocol::{
    id::{NodeId, TaskId},
    objects::{Service, TaskState},
    wire::{self, node_status::State},
};
use tests::{
    cluster::Cluster,
    fleet::agent_id,
    operator::spec,
    run::simulate,
    world::{Crash, World},
};

use super::SECOND;

const AGENTS: u64 = 1_000;

async fn ask_for(world: &mut World, replicas: u64) {
    let ask = move |head: &mut Transaction| {
        let spec = spec("many", replicas, 0);
        match head.service(&"many".into()).cloned() {
            Some(service) => head.update(Service { spec: spec.into(), ..(*service).clone() }),
            None => head.create(Service::from(wire::Service {
                id: "many".to_owned(),
                spec: Some(spec),
                ..Default::default()
            })),
        }
    };
    world.transact(ask).await;
}

async fn until_all_run(world: &mut World, replicas: usize) {
    let all = |cluster: &Cluster| {
        let Some((store, _)) = cluster.leader() else { return false };
        live(&store.view(), TaskState::RUNNING).len() == replicas
    };
    world.watch_until("not all tasks run", all).await;
}

/// The tasks that are to run and are that far.
fn live(view: &View, least: TaskState) -> BTreeSet<(TaskId, NodeId)> {
    let tasks = view.tasks().filter(|task| {
        task.desired_state <= TaskState::RUNNING
            && (least..=TaskState::RUNNING).contains(&task.status.state)
    });
    tasks.map(|task| (task.id.clone(), task.node_id.clone())).collect()
}

fn are(view: &View, numbers: std::ops::RangeInclusive<u64>, state: State) -> bool {
    let mut nodes = numbers.map(|number| view.node(&agent_id(number)).expect("it was let in"));
    nodes.all(|node| node.status.state() == state)
}

async fn until_ready(world: &mut World) {
    let ready = |cluster: &Cluster| {
        cluster.leader().is_some_and(|(store, _)| are(&store.view(), 1..=AGENTS, State::Ready))
    };
    world.watch_until("not all agents are ready", ready).await;
}

fn silence(world: &World, count: u64) {
    world.cluster.fleet().silence(&(1..=count).map(agent_id).collect());
}

#[test]
fn a_thousand_agents_run_what_they_are_told_whoever_leads() {
    simulate(async || {
        let mut world = World::with_agents(3, AGENTS, 91).await;
        until_ready(&mut world).await;
        ask_for(&mut world, 100).await;
        until_all_run(&mut world, 100).await;
        ask_for(&mut world, 1_000).await;
        world.watch(SECOND / 2).await;
        let leader = world.leader().await;
        world.crash([leader], Crash::Power);
        world.watch(5 * SECOND).await;
        world.start([leader]).await;
        until_all_run(&mut world, 1_000).await;
        world.end().await;
    });
}

#[test]
fn most_of_a_thousand_fall_silent_and_nothing_is_replaced() {
    simulate(async || {
        let mut world = World::with_agents(3, AGENTS, 92).await;
        until_ready(&mut world).await;
        ask_for(&mut world, 500).await;
        until_all_run(&mut world, 500).await;
        let leader = world.leader().await;
        let before = live(&world.store(leader).view(), TaskState::RUNNING);
        silence(&world, 600);
        world.watch(40 * SECOND).await;
        assert_eq!(world.leader().await, leader);
        let seat = world.cluster.member(leader).borrow().seat().expect("it lives");
        let doubt = seat.doubt().expect("it is likelier that the leader hears nothing");
        // Those of the three managers are awaited, and have no agents here.
        assert_eq!((doubt.ready, doubt.present), (1_000 + 3, 400));
        let view = world.store(leader).view();
        assert!(are(&view, 1..=600, State::Unknown) && are(&view, 601..=AGENTS, State::Ready));
        assert_eq!(live(&view, TaskState::RUNNING), before);
        silence(&world, 0);
        until_ready(&mut world).await;
        assert_eq!(seat.doubt(), None);
        assert_eq!(live(&world.store(leader).view(), TaskState::RUNNING), before);
        world.end().await;
    });
}

#[test]
fn a_hundred_of_a_thousand_are_replaced_once_their_grace_is_over() {
    simulate(async || {
        let mut world = World::with_agents(3, AGENTS, 93).await;
        until_ready(&mut world).await;
        ask_for(&mut world, 1_000).await;
        until_all_run(&mut world, 1_000).await;
        let leader = world.leader().await;
        let before = live(&world.store(leader).view(), TaskState::RUNNING);
        silence(&world, 100);
        // Some of them were just about to be heard again.
        world.watch(8 * SECOND).await;
        let view = world.store(leader).view();
        assert_eq!(live(&view, TaskState::RUNNING), before, "they have their grace");
        let lost: BTreeSet<_> = (1..=100).map(agent_id).collect();
        world.watch(25 * SECOND).await;
        let view = world.store(leader).view();
        assert!(are(&view, 1..=100, State::Down));
        let after = live(&view, TaskState::RUNNING);
        assert_eq!(after.len(), 1_000);
        assert!(after.iter().all(|(_, node)| !lost.contains(node)), "all of it was replaced");
        silence(&world, 0);
        until_ready(&mut world).await;
        world.end().await;
    });
}
