//! The words that a scenario is written in: members of one mind, and clients that know what they
//! are told. `docs/simulation.md` shows one to begin with.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use actors::{
    agent::simulated::Machine,
    log::simulated::Temper,
    store::{self, Store, Transaction},
};
use protocol::{
    objects::Cluster as Settings,
    wire::{JoinTokens, NodeRole},
};
use rand::{SeedableRng, rngs::StdRng};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

pub use crate::plan::{Change, Crash, Way};
use crate::{
    checkers::Checkers,
    cluster::{Cluster, FOUNDERS, start},
    faults,
    identity::{EXPIRY, life},
    member::Standing,
    membership,
    operator::worker_node,
    oracle::{Oracle, Told},
    run::{begin_lives, converge, stay_quiet},
    trace::{Filter, Trace},
    workload,
};

/// How long the world may take to do what a scenario waits for.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many nodes are let in by one write.
const NODES_AT_ONCE: usize = 100;

/// Members, network, disks and clients, under all checkers. Nothing goes wrong by itself.
pub struct World {
    /// The members, for what has no word here.
    pub cluster: Cluster,
    /// What the clients were told.
    pub oracle: Oracle,
    checkers: Checkers,
    writes: u32,
    clients: Vec<JoinHandle<()>>,
    /// Machines and agents, which live until the end.
    lives: Vec<JoinHandle<()>>,
}

impl World {
    /// Three members have just started. Elections and delays come from the seed.
    pub async fn new(seed: u64) -> Self {
        Self::founded_by(FOUNDERS, seed).await
    }

    /// So many members have just started.
    pub async fn founded_by(founders: u64, seed: u64) -> Self {
        Self::begin(founders, seed, false).await
    }

    /// So many members have just started; whoever leads runs the loops of a leader.
    pub async fn led_with_loops(founders: u64, seed: u64) -> Self {
        Self::begin(founders, seed, true).await
    }

    async fn begin(founders: u64, seed: u64, with_loops: bool) -> Self {
        let cluster = Cluster::new(seed, founders, Trace::new(Filter::default()));
        cluster.roll_mut().least_voters = 1;
        if with_loops {
            cluster.lead_with_loops(Machine::default());
        }
        cluster.start_all().await;
        Self {
            cluster,
            oracle: Oracle::default(),
            checkers: Checkers::default(),
            writes: 0,
            clients: Vec::new(),
            lives: Vec::new(),
        }
    }

    /// The same, over so many agents that cost little.
    pub async fn with_agents(founders: u64, agents: u64, seed: u64) -> Self {
        let mut world = Self::led_with_loops(founders, seed).await;
        world.lives = world.cluster.fleet().start(&world.cluster, agents, seed);
        for ids in world.cluster.fleet().ids().chunks(NODES_AT_ONCE) {
            let ids = ids.to_vec();
            let admit = move |head: &mut Transaction| {
                let mut new = ids.iter().filter(|id| head.node(id).is_none()).collect::<Vec<_>>();
                new.drain(..).try_for_each(|id| head.create(worker_node(id.clone())))
            };
            world.transact(admit).await;
        }
        world
    }

    /// The same, of machines that have certificates; those that did not found may join by token.
    pub async fn of_machines(founders: u64, seed: u64) -> Self {
        let mut world = Self::led_with_loops(founders, seed).await;
        world.lives = begin_lives(&world.cluster, seed);
        world
            .transact(|head: &mut Transaction| {
                let cluster = head.default_cluster().ok_or(store::Error::NotExist)?.clone();
                let mut spec = (*cluster.spec).clone();
                let expiry = prost_types::Duration::try_from(EXPIRY).expect("minutes");
                spec.ca_config.get_or_insert_default().node_cert_expiry = Some(expiry);
                head.update(Settings { spec: Arc::new(spec), ..(*cluster).clone() })
            })
            .await;
        world
    }

    /// Writes until somebody who leads has taken it.
    pub async fn transact(
        &mut self,
        change: impl Fn(&mut Transaction) -> Result<(), store::Error> + Clone + Send + 'static,
    ) {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "convergence: nobody takes a write");
            let leader = self.leader().await;
            if self.store(leader).transact(change.clone()).await.is_ok() {
                return;
            }
            self.watch(Duration::from_millis(100)).await;
        }
    }

    /// A machine gets a certificate with the token of a role, as a new node.
    pub async fn join_by_token(&mut self, machine: u64, role: NodeRole) {
        let (end, mut random) = (Instant::now() + PATIENCE, StdRng::seed_from_u64(machine));
        loop {
            assert!(Instant::now() < end, "convergence: m{machine} is not let in");
            let leader = self.leader().await;
            let tokens = self
                .store(leader)
                .view()
                .default_cluster()
                .and_then(|cluster| cluster.root_ca.join_tokens.clone());
            let JoinTokens { worker, manager } = tokens.unwrap_or_default();
            let token = if role == NodeRole::Manager { manager } else { worker };
            let (cluster, id) = (self.cluster.clone(), machine);
            let asked = life::asked(&cluster, id, None, &token, &mut random).await;
            if let Some(Ok((node, key))) = asked
                && let Some(new) = life::issued(&cluster, id, None, &node, &key, &mut random).await
            {
                return cluster.show(machine, new);
            }
            self.watch(Duration::from_millis(100)).await;
        }
    }

    /// Clients write, count and read from now on, for so long.
    pub fn keep_busy(&mut self, time: Duration) {
        let end = Instant::now() + time;
        for number in 1..=2 {
            let (cluster, oracle) = (self.cluster.clone(), self.oracle.clone());
            let client = workload::client(cluster, oracle, number, number, end);
            #[expect(clippy::disallowed_methods, reason = "clients are no actors")]
            self.clients.push(tokio::task::spawn_local(client));
        }
    }

    /// Goes on until the group has changed.
    pub async fn change(&mut self, change: Change) {
        let (cluster, oracle) = (self.cluster.clone(), self.oracle.clone());
        let end = Instant::now() + PATIENCE;
        let mut changing = Box::pin(membership::carry_out(&cluster, &oracle, change, end));
        let done = loop {
            if let Ok(done) = timeout(Duration::from_millis(50), &mut changing).await {
                break done;
            }
            self.checkers.look(&cluster, &oracle).await;
        };
        assert!(done, "convergence: {change} cannot be done");
    }

    /// A machine becomes a member, at first one that learns.
    pub async fn join(&mut self, machine: u64) {
        self.change(Change::Joins(machine)).await;
    }

    /// Machines become members that vote.
    pub async fn join_and_vote(&mut self, machines: impl IntoIterator<Item = u64>) {
        for machine in machines {
            self.join(machine).await;
        }
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.cluster.leader_status().await;
            let everybody = self.members().len();
            if status.is_some_and(|status| status.voters.len() == everybody) {
                return;
            }
            assert!(Instant::now() < end, "convergence: a learner is not promoted");
            self.watch(Duration::from_millis(50)).await;
        }
    }

    /// Takes a member out for good.
    pub async fn remove(&mut self, member: u64) {
        self.change(Change::Leaves(member)).await;
    }

    /// A member was taken out by the cluster itself, and is not waited for any more.
    pub fn forget(&self, member: u64) {
        self.cluster.member(member).borrow_mut().standing = Standing::Removed;
    }

    /// Goes on until so many more writes are acknowledged, however often that has to be tried.
    pub async fn write(&mut self, count: u32) {
        let end = Instant::now() + PATIENCE;
        let mut written = 0;
        while written < count {
            assert!(Instant::now() < end, "convergence: nobody takes writes");
            let Some((store, _)) = self.cluster.leader() else {
                self.watch(Duration::from_millis(50)).await;
                continue;
            };
            self.writes += 1;
            let name = format!("w{}", self.writes);
            workload::create(&self.cluster, &self.oracle, &store, name.clone()).await;
            written += u32::from(self.oracle.of(&name) == Some(Told::Acknowledged));
            self.checkers.look(&self.cluster, &self.oracle).await;
        }
    }

    /// Lets time pass, and looks at all members meanwhile.
    pub async fn watch(&mut self, time: Duration) {
        let end = Instant::now() + time;
        self.checkers.watch(&self.cluster, &self.oracle, end).await;
    }

    /// Lets time pass until something is so.
    ///
    /// # Panics
    ///
    /// With `what`, when it is not so after two minutes.
    pub async fn watch_until(&mut self, what: &str, is_so: impl Fn(&Cluster) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(&self.cluster) {
            assert!(Instant::now() < end, "convergence: {what}");
            self.watch(Duration::from_millis(50)).await;
        }
    }

    /// Everybody who is a member.
    pub fn members(&self) -> BTreeSet<u64> {
        self.cluster.numbers()
    }

    /// Who leads, once somebody does.
    pub async fn leader(&mut self) -> u64 {
        self.watch_until("nobody leads", |cluster| leader(cluster).is_some()).await;
        leader(&self.cluster).expect("somebody leads")
    }

    /// Everybody but the leader.
    pub async fn followers(&mut self) -> Vec<u64> {
        let leader = self.leader().await;
        self.members().into_iter().filter(|member| *member != leader).collect()
    }

    /// The store of a member that lives.
    pub fn store(&self, member: u64) -> Store {
        self.cluster.member(member).borrow().store().expect("it lives")
    }

    /// Members end at once.
    pub fn crash(&self, members: impl IntoIterator<Item = u64>, crash: Crash) {
        self.cluster.trace.note("scenario", "crash", format_args!("{crash:?}"));
        for member in members {
            self.cluster.member(member).borrow_mut().crash(crash);
        }
    }

    /// Members that have ended start again.
    pub async fn start(&self, members: impl IntoIterator<Item = u64>) {
        for member in members {
            start(self.cluster.member(member)).await;
        }
    }

    /// Cuts a member off from everybody else, and mends every other cut.
    pub fn cut_off(&self, member: u64, way: Way) {
        let members = BTreeSet::from([member]);
        let everybody = self.cluster.machines().map(|machine| machine.borrow().id).collect();
        self.cluster.network.set_cut(faults::ways(&members, &everybody, way));
    }

    /// Mends the network.
    pub fn mend(&self) {
        self.cluster.network.heal();
    }

    /// Every sync of a member's disk takes this long from now on.
    pub fn slow_disk(&self, member: u64, sync_time: Duration) {
        let sync_time = sync_time..sync_time + sync_time / 50;
        self.cluster
            .member(member)
            .borrow_mut()
            .set_disk(Temper { sync_time, ..Temper::default() });
    }

    /// How often something has happened; the names are in `counts.rs`.
    pub fn count(&self, what: &str) -> u64 {
        self.cluster.counts.of(what)
    }

    /// Everything heals, and every promise is kept.
    pub async fn end(mut self) {
        for client in std::mem::take(&mut self.clients) {
            while !client.is_finished() {
                self.watch(Duration::from_millis(100)).await;
            }
            client.await.expect("a client that is done");
        }
        faults::heal(&self.cluster).await;
        converge(&self.cluster, &self.oracle, &mut self.checkers).await;
        stay_quiet(&self.cluster, &self.oracle, &mut self.checkers).await;
        self.checkers.finish(&self.cluster, &self.oracle).await;
        self.lives.iter().for_each(JoinHandle::abort);
    }
}

fn leader(cluster: &Cluster) -> Option<u64> {
    cluster.leading().map(|leader| leader.borrow().id)
}
