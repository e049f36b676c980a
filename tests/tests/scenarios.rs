//! Stories with a name: what once went wrong, and what an operator would ask about.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc, time::Duration};

use actix::{Actor, Context, Handler};
use actors::{
    agent::simulated::Machine,
    log::simulated::{Crash, SimulatedDisk, Temper},
    store::{Change, Store},
    supervised,
    supervision::{Budget, Census, Tree},
};
use futures_util::future::join_all;
use tests::{
    checkers::{Checkers, acknowledged},
    cluster::{Cluster, start},
    faults,
    node::Node,
    oracle::{Oracle, Told},
    run::simulate,
    workload,
};
use tokio::time::{Instant, sleep};

/// Three members of one mind, with clients that know what they are told.
struct World {
    cluster: Cluster,
    oracle: Oracle,
    checkers: Checkers,
    writes: u32,
}

impl World {
    async fn new(seed: u64) -> Self {
        let cluster = Cluster::new(seed);
        cluster.start_all().await;
        Self { cluster, oracle: Oracle::default(), checkers: Checkers::default(), writes: 0 }
    }

    /// Has so many services created, however often that has to be tried.
    async fn write(&mut self, count: u32) {
        let end = Instant::now() + Duration::from_secs(120);
        let mut written = 0;
        while written < count {
            assert!(Instant::now() < end, "nobody takes writes");
            let Some((store, _)) = self.cluster.leader() else {
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            self.writes += 1;
            let name = format!("w{}", self.writes);
            workload::create(&self.cluster, &self.oracle, &store, name.clone()).await;
            written += u32::from(self.oracle.of(&name) == Some(Told::Acknowledged));
            self.checkers.look(&self.cluster, &self.oracle).await;
        }
    }

    async fn watch(&mut self, seconds: u64) {
        let end = Instant::now() + Duration::from_secs(seconds);
        self.checkers.watch(&self.cluster, &self.oracle, end).await;
    }

    async fn watch_briefly(&mut self) {
        let end = Instant::now() + Duration::from_millis(50);
        self.checkers.watch(&self.cluster, &self.oracle, end).await;
    }

    /// Everything heals, and every promise is kept.
    async fn end(mut self) {
        faults::heal(&self.cluster).await;
        self.watch(10).await;
        self.write(1).await;
        self.watch(5).await;
        for member in self.cluster.members() {
            let view = member.borrow().store().expect("everybody lives").view();
            acknowledged::check(&view, &self.oracle, &self.cluster.counts);
        }
        self.checkers.finish(&self.cluster);
    }
}

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

fn store(cluster: &Cluster, id: u64) -> Store {
    let member = cluster.members().find(|member| member.borrow().id == id);
    member.and_then(|member| member.borrow().store()).expect("it lives")
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
        let cluster = world.cluster.clone();
        let follower = cluster.members().find(|member| member.borrow().leads().is_none());
        let follower = follower.expect("two of three do not lead");
        follower.borrow_mut().crash(Crash::Power);
        world.write(120).await;
        let second = Duration::from_secs(1);
        let slow = Temper { sync_time: 3 * second..4 * second, ..Temper::default() };
        follower.borrow().set_disk(slow);
        start(follower).await;
        let arrived = || cluster.counts.of("seen: snapshot sent") > 0;
        for _ in 0..600 {
            if !arrived() {
                world.watch_briefly().await;
            }
        }
        assert!(arrived(), "the log of the others does not reach back that far");
        let id = follower.borrow().id;
        let others = cluster.members().map(|member| member.borrow().id).filter(|one| *one != id);
        cluster.network.cut(&BTreeSet::from([id]), &others.collect());
        world.watch(15).await;
        world.end().await;
    });
}

#[test]
fn the_room_loses_power_again_and_again() {
    simulate(async || {
        let mut world = World::new(12).await;
        for _ in 0..15 {
            world.write(4).await;
            for member in world.cluster.members() {
                member.borrow_mut().crash(Crash::Power);
            }
            world.cluster.start_all().await;
        }
        world.end().await;
    });
}

#[test]
fn the_leader_is_cut_off_with_writes_in_flight() {
    simulate(async || {
        let mut world = World::new(13).await;
        for _ in 0..5 {
            world.write(3).await;
            let cluster = world.cluster.clone();
            let leader = cluster.members().find(|member| member.borrow().leads().is_some());
            let id = leader.expect("it has just taken writes").borrow().id;
            let others = cluster.members().map(|member| member.borrow().id);
            let others = others.filter(|other| *other != id).collect();
            cluster.network.cut(&BTreeSet::from([id]), &others);
            world.write(3).await;
            cluster.network.heal();
            world.watch(3).await;
        }
        world.end().await;
    });
}

#[test]
fn subscribers_hear_nothing_that_a_leader_wrote_while_it_was_cut_off() {
    simulate(async || {
        let mut world = World::new(15).await;
        world.write(3).await;
        let cluster = world.cluster.clone();
        let budget = Budget { restarts: 0, within: Duration::from_secs(60) };
        let tree = Tree::root("subscribers", budget, Census::default(), |lost| panic!("{lost}"));
        let heard = Rc::<RefCell<BTreeSet<String>>>::default();
        for member in cluster.members() {
            let heard = heard.clone();
            let subscriber = tree.child("one", move |_| Subscriber { heard: heard.clone() });
            let store = member.borrow().store().expect("everybody lives");
            store.subscribe("subscriber", subscriber.recipient());
        }
        // A subscriber that is still busy with the whole would not be told of a leak at once.
        world.watch(1).await;
        let leader = cluster.members().find(|member| member.borrow().leads().is_some());
        let id = leader.expect("it has just taken writes").borrow().id;
        let others = cluster.members().map(|member| member.borrow().id);
        cluster.network.cut(&BTreeSet::from([id]), &others.filter(|other| *other != id).collect());
        let (oracle, cut_off) = (world.oracle.clone(), store(&cluster, id));
        let doomed: Vec<_> = (0..20).map(|number| format!("doomed-{number}")).collect();
        let create = |name: &String| workload::create(&cluster, &oracle, &cut_off, name.clone());
        join_all(doomed.iter().map(create)).await;
        for name in &doomed {
            assert_eq!(oracle.of(name), Some(Told::Unknown), "{name} was proposed");
        }
        world.write(3).await;
        cluster.network.heal();
        world.watch(5).await;
        world.write(3).await;
        world.watch(5).await;
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
        let half = Duration::from_millis(500);
        for member in world.cluster.members() {
            let sync_time = half..half + Duration::from_millis(10);
            member.borrow().set_disk(Temper { sync_time, ..Temper::default() });
        }
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
        // A commit is what the leader and a follower have on disk; groups are few.
        assert!((half..4 * half).contains(&took), "one hundred writes took {took:?}");
        world.end().await;
    });
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
