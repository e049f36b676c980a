//! The machines, as the faults, the clients and the checkers see them.

use std::{
    cell::{Ref, RefCell, RefMut},
    collections::BTreeSet,
    rc::Rc,
};

use actors::{
    agent::simulated::Machine,
    raft::{Founder, GetStatus, Peer, Status},
    store::Store,
    supervision::Address,
};
use rand::Rng;

use crate::{
    counts::Counts,
    member::{Claims, Member, Standing, address, node_id},
    membership::Roll,
    net::Network,
    trace::Trace,
};

/// How many machines found a cluster, unless a scenario wants it otherwise.
pub const FOUNDERS: u64 = 3;

/// How many machines there are. Those who do not found may join.
pub const MACHINES: u64 = 7;

/// The cluster. Clones are the same one.
#[derive(Clone)]
pub struct Cluster {
    machines: Rc<Vec<RefCell<Member>>>,
    roll: Rc<RefCell<Roll>>,
    worker: Rc<RefCell<Option<Machine>>>,
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
        Self { machines, roll, worker: Rc::default(), network, claims, counts, trace }
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
