//! The machines, as the faults, the clients and the checkers see them.

use std::{
    cell::{Cell, Ref, RefCell, RefMut},
    collections::BTreeSet,
    rc::Rc,
    time::Duration,
};

use actors::{
    agent::simulated::Machine,
    environment::Clock,
    raft::{Founder, GetStatus, Peer, Status},
    store::{Store, View},
    supervision::Address,
};
use rand::Rng;
use tokio::time::Instant;

use crate::{
    counts::Counts,
    fleet::Fleet,
    identity::Identity,
    member::{Claims, Member, Standing, address, node_id},
    membership::Roll,
    net::Network,
    trace::Trace,
};

/// How many machines found a cluster, unless a scenario wants it otherwise.
pub const FOUNDERS: u64 = 3;

/// How many machines there are. Those who do not found may join.
pub const MACHINES: u64 = 7;

/// Certificates, each with the machine that showed it.
pub type Shown = Vec<(u64, Identity)>;

/// The cluster. Clones are the same one.
#[derive(Clone)]
pub struct Cluster {
    machines: Rc<Vec<RefCell<Member>>>,
    roll: Rc<RefCell<Roll>>,
    worker: Rc<RefCell<Option<Machine>>>,
    fleet: Fleet,
    /// Every certificate that was ever shown, with the machine, where machines have any.
    shown: Rc<RefCell<Option<Shown>>>,
    /// When a wall clock was last set.
    clock_set: Rc<Cell<Option<Instant>>>,
    /// What lies between the machines.
    pub network: Network,
    /// Everybody who ever led, by raft id and term.
    pub claims: Claims,
    /// What happened how often.
    pub counts: Counts,
    /// What happened in which order.
    pub trace: Trace,
}

impl Cluster {
    /// A cluster of so many founders in which nobody lives yet.
    pub fn new(seed: u64, founders: u64, trace: Trace) -> Self {
        let (counts, claims) = (Counts::default(), Claims::default());
        let network = Network::new(seed, counts.clone(), trace.clone());
        let founder = |id| Founder { raft_id: id, node_id: node_id(id), address: address(id) };
        let founders: Vec<_> = (1..=founders).map(founder).collect();
        let machine = |id| {
            let (network, counts) = (network.clone(), counts.clone());
            let (trace, claims) = (trace.clone(), claims.clone());
            RefCell::new(Member::new(id, &founders, seed, network, counts, trace, claims))
        };
        let machines = Rc::new((1..=MACHINES).map(machine).collect());
        let roll = Rc::new(RefCell::new(Roll::of_founders(founders.len() as u64)));
        Self {
            machines,
            roll,
            worker: Rc::default(),
            fleet: Fleet::default(),
            shown: Rc::default(),
            clock_set: Rc::default(),
            network,
            claims,
            counts,
            trace,
        }
    }

    /// From now on, whoever leads runs the loops of a leader, and what runs on `worker` is theirs
    /// to say.
    pub fn lead_with_loops(&self, worker: Machine) {
        self.machines().for_each(|machine| machine.borrow_mut().has_loops = true);
        self.worker.replace(Some(worker));
    }

    /// The machine that runs tasks, if the loops of leaders run.
    pub fn worker(&self) -> Option<Machine> {
        self.worker.borrow().clone()
    }

    /// From now on, whoever is a member shows a certificate, and is heard for what that says.
    pub fn show_certificates(&self) {
        self.shown.replace(Some(Vec::new()));
        let founders: Vec<_> = self.numbers().into_iter().collect();
        for id in founders {
            let now = self.member(id).borrow().clock().now();
            self.show(id, Identity::founding(&node_id(id), &now));
        }
        self.network.judge_by(self.clone());
    }

    /// Whether machines have certificates.
    pub fn has_identities(&self) -> bool {
        self.shown.borrow().is_some()
    }

    /// A machine has a new certificate.
    pub fn show(&self, id: u64, identity: Identity) {
        self.shown.borrow_mut().get_or_insert_default().push((id, identity.clone()));
        self.member(id).borrow_mut().show(Some(identity));
    }

    /// Every certificate that was ever shown.
    pub fn shown(&self) -> Shown {
        self.shown.borrow().clone().unwrap_or_default()
    }

    /// The newest view of all machines: what it shows is committed.
    pub fn newest_view(&self) -> Option<View> {
        let stores = self.machines().filter_map(|machine| machine.borrow().store());
        stores.map(|store| store.view()).max_by_key(View::index)
    }

    /// The agents beside that machine's, if there are any.
    pub fn fleet(&self) -> Fleet {
        self.fleet.clone()
    }

    /// All machines, members or not.
    pub fn machines(&self) -> impl Iterator<Item = &RefCell<Member>> {
        self.machines.iter()
    }

    /// Those that are members, as far as the harness has been told.
    pub fn members(&self) -> impl Iterator<Item = &RefCell<Member>> {
        self.machines().filter(|machine| machine.borrow().standing == Standing::Member)
    }

    /// The numbers of the members.
    pub fn numbers(&self) -> BTreeSet<u64> {
        self.members().map(|member| member.borrow().id).collect()
    }

    /// One of the machines, by its number.
    pub fn member(&self, id: u64) -> &RefCell<Member> {
        self.machines().find(|machine| machine.borrow().id == id).expect("a machine")
    }

    /// Who was ever let in and taken out.
    pub fn roll(&self) -> Ref<'_, Roll> {
        self.roll.borrow()
    }

    /// The same, to be written.
    pub fn roll_mut(&self) -> RefMut<'_, Roll> {
        self.roll.borrow_mut()
    }

    /// Starts every member that does not live.
    pub async fn start_all(&self) {
        for member in self.members() {
            start(member).await;
        }
    }

    /// Whoever says that it leads; of several, the one with the latest term.
    pub fn leading(&self) -> Option<&RefCell<Member>> {
        let leaders = self.machines().filter(|machine| machine.borrow().leads().is_some());
        leaders.max_by_key(|machine| machine.borrow().leads())
    }

    /// The store of whoever leads, and its peer.
    pub fn leader(&self) -> Option<(Store, Address<Peer>)> {
        let leader = self.leading()?.borrow();
        Some((leader.store()?, leader.peer()?))
    }

    /// The same of any machine that says that it leads, drawn: one that is cut off may be wrong.
    pub fn any_leader(&self, random: &mut impl Rng) -> Option<(Store, Address<Peer>)> {
        let leaders: Vec<_> =
            self.machines().filter(|machine| machine.borrow().leads().is_some()).collect();
        let drawn = random.gen_range(0..leaders.len().max(1));
        let leader = leaders.get(drawn)?.borrow();
        Some((leader.store()?, leader.peer()?))
    }

    /// Sets the wall clocks of machines, forward or back. Certificates may end by that, of all machines
    /// at once.
    pub fn set_clocks(&self, machines: &BTreeSet<u64>, seconds: i64) {
        for machine in machines {
            self.member(*machine).borrow().clock().set(seconds);
        }
        self.clock_set.set(Some(Instant::now()));
    }

    /// How long ago a wall clock was set, if one ever was.
    pub fn clock_set(&self) -> Option<Duration> {
        self.clock_set.get().map(|at| at.elapsed())
    }

    /// How the leader stands.
    pub async fn leader_status(&self) -> Option<Status> {
        let (_, peer) = self.leader()?;
        peer.send(GetStatus).await.ok().flatten()
    }

    /// The store of any machine that lives, drawn.
    pub fn any_store(&self, random: &mut impl Rng) -> Option<Store> {
        let stores: Vec<_> =
            self.machines().filter_map(|machine| machine.borrow().store()).collect();
        let drawn = random.gen_range(0..stores.len().max(1));
        stores.into_iter().nth(drawn)
    }
}

/// Starts a machine, unless it lives.
#[expect(clippy::await_holding_refcell_ref, reason = "nobody else starts or ends this machine")]
pub async fn start(member: &RefCell<Member>) {
    if !member.borrow().is_alive() {
        member.borrow_mut().start().await;
    }
}
