//! Stories with a name: what once went wrong, and what an operator would ask about.

mod agents;
mod elections;
mod identities;
mod loops;
mod members;
mod roles;

use std::{cell::RefCell, collections::BTreeSet, rc::Rc, time::Duration};

use actix::{Actor, Context, Handler};
use actors::{
    agent::simulated::Machine,
    log::simulated::{SimulatedDisk, Temper},
    store::{Change, Store},
    supervised,
    supervision::{Budget, Census, Tree},
};
use futures_util::future::join_all;
use tests::{
    cluster::Cluster,
    node::Node,
    oracle::Told,
    plan::{When, at},
    run::{Family, Story, simulate},
    workload,
    world::{Crash, Way, World},
};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// Remembers every service that the store of a member has told it of.
struct Subscriber {
    heard: Rc<RefCell<BTreeSet<String>>>,
}

impl Actor for Subscriber {
    type Context = Context<Self>;
}

supervised!(Subscriber, mailbox = 4);

impl Handler<Change> for Subscriber {
    type Result = ();

    fn handle(&mut self, change: Change, _: &mut Context<Self>) {
        let mut heard = self.heard.borrow_mut();
        if let Change::Committed { changes, .. } = &change {
            heard.extend(changes.services.keys().map(ToString::to_string));
        }
        heard.extend(change.view().services().map(|service| service.id.to_string()));
    }
}

fn services(store: &Store) -> BTreeSet<String> {
    store.view().services().map(|service| service.id.to_string()).collect()
}

/// Found by seed 7: raft-rs panics when a member campaigns while its snapshot is not in yet.
#[test]
fn a_member_cut_off_while_a_snapshot_reaches_its_slow_disk() {
    simulate(async || {
        let mut world = World::new(11).await;
        world.write(5).await;
        let follower = world.followers().await[0];
        world.crash([follower], Crash::Power);
        world.write(120).await;
        world.slow_disk(follower, 3 * SECOND);
        world.start([follower]).await;
        let arrived = |cluster: &Cluster| cluster.counts.of("seen: snapshot sent") > 0;
        world.watch_until("the log of the others does not reach back that far", arrived).await;
        world.cut_off(follower, Way::Both);
        world.watch(15 * SECOND).await;
        world.end().await;
    });
}

#[test]
fn the_room_loses_power_again_and_again() {
    simulate(async || {
        let mut world = World::new(12).await;
        for _ in 0..15 {
            world.write(4).await;
            world.crash(world.members(), Crash::Power);
            world.start(world.members()).await;
        }
        world.end().await;
    });
}

#[test]
fn the_leader_is_cut_off_with_writes_in_flight() {
    simulate(async || {
        let mut world = World::new(13).await;
        for way in [Way::Both, Way::In, Way::Out, Way::Both, Way::In] {
            world.write(3).await;
            let leader = world.leader().await;
            world.cut_off(leader, way);
            world.write(3).await;
            world.mend();
            world.watch(3 * SECOND).await;
        }
        world.end().await;
    });
}

#[test]
fn subscribers_hear_nothing_that_a_leader_wrote_while_it_was_cut_off() {
    simulate(async || {
        let mut world = World::new(15).await;
        world.write(3).await;
        let budget = Budget { restarts: 0, within: Duration::from_secs(60) };
        let tree = Tree::root("subscribers", budget, Census::default(), |lost| panic!("{lost}"));
        let heard = Rc::<RefCell<BTreeSet<String>>>::default();
        for member in world.members() {
            let heard = heard.clone();
            let subscriber = tree.child("one", move |_| Subscriber { heard: heard.clone() });
            world.store(member).subscribe("scenario", subscriber.recipient());
        }
        // A subscriber that is still busy with the whole would not be told of a leak at once.
        world.watch(SECOND).await;
        let leader = world.leader().await;
        let cut_off = world.store(leader);
        world.cut_off(leader, Way::Both);
        let (cluster, oracle) = (world.cluster.clone(), world.oracle.clone());
        let doomed: Vec<_> = (0..20).map(|number| format!("doomed-{number}")).collect();
        let create = |name: &String| workload::create(&cluster, &oracle, &cut_off, name.clone());
        join_all(doomed.iter().map(create)).await;
        for name in &doomed {
            assert_eq!(oracle.of(name), Some(Told::Unknown), "{name} was proposed");
        }
        world.write(3).await;
        world.mend();
        world.watch(5 * SECOND).await;
        world.write(3).await;
        world.watch(5 * SECOND).await;
        let heard = heard.take();
        assert_eq!(heard, services(&cut_off), "what was heard is what is committed");
        assert!(doomed.iter().all(|name| !heard.contains(name)), "nobody else had them");
        tree.abort();
        world.end().await;
    });
}

#[test]
fn writes_at_once_while_every_commit_takes_half_a_second() {
    simulate(async || {
        let mut world = World::new(16).await;
        world.write(1).await;
        let half = SECOND / 2;
        world.members().into_iter().for_each(|member| world.slow_disk(member, half));
        let (cluster, oracle) = (world.cluster.clone(), world.oracle.clone());
        let (leader, _) = cluster.leader().expect("it has just taken a write");
        let names: Vec<_> = (0..100).map(|number| format!("slow-{number}")).collect();
        let create = |name: &String| workload::create(&cluster, &oracle, &leader, name.clone());
        let began = Instant::now();
        join_all(names.iter().map(create)).await;
        let took = began.elapsed();
        for name in &names {
            assert_eq!(oracle.of(name), Some(Told::Acknowledged), "{name}");
        }
        // A commit is what the leader and a follower have on disk. Groups are few, and a new segment
        // takes some syncs of its own.
        assert!((half..10 * half).contains(&took), "one hundred writes took {took:?}");
        world.end().await;
    });
}

/// The example of `docs/simulation.md`.
#[test]
fn a_leader_that_only_hears_gives_way() {
    simulate(async || {
        let mut world = World::new(12).await;
        world.write(4).await;
        let leader = world.leader().await;
        world.cut_off(leader, Way::Out);
        world.write(4).await;
        world.crash([leader], Crash::Power);
        world.mend();
        world.start([leader]).await;
        world.watch(Duration::from_secs(5)).await;
        world.end().await;
    });
}

/// Whoever copies an example of the page gets what runs here.
#[test]
fn the_examples_of_the_page_are_tests() {
    let page = include_str!("../../../docs/simulation.md");
    let tests = include_str!("main.rs");
    let lines = |text: &str| {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().concat()
    };
    let tests = lines(tests);
    let examples: Vec<_> = page.split("```rust").skip(1).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let example = example.split("```").next().expect("it ends");
        // The imports of this file are its own.
        let code = example.split_once("#[test]").map_or(example, |(_, code)| code);
        assert!(tests.contains(&lines(code)), "no test has this example:{code}");
    }
}

/// The other example: a list of faults.
#[test]
fn faults_that_overlap() {
    let faults = vec![
        at(1_200).lasting(800).crash([1, 2], Crash::Power),
        at(1_500).lasting(3_000).partition([3], Way::In),
        at(2_000).death(1, "core/raft", When::AfterHandling),
    ];
    Story { seed: 7, time: Duration::from_secs(10), faults, family: Family::Members }.hold();
}

/// The loops decide on the head: a commit that takes long does not make them decide twice.
#[test]
fn replicas_are_exact_while_commits_take_half_a_second() {
    simulate(async || {
        let (disk, second) = (SimulatedDisk::new(14), Duration::from_secs(1));
        let node = Node::start(&disk, Machine::default()).await;
        sleep(second * 5).await;
        let half = second / 2;
        disk.set_temper(Temper { sync_time: half..half + second / 100, ..Temper::default() });
        node.ask_for(50).await;
        sleep(second * 60).await;
        let created = node.store.view().tasks().count();
        assert_eq!((created, node.running(), node.machine.running().len()), (50, 50, 50));
        node.ask_for(7).await;
        node.ask_for(9).await;
        sleep(second * 60).await;
        assert_eq!((node.running(), node.machine.running().len()), (9, 9));
        node.abort();
    });
}
