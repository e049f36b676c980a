//! Three members, as the faults, the clients and the checkers see them.

use std::{cell::RefCell, rc::Rc};

use actors::{
    raft::{Founder, Peer},
    store::Store,
    supervision::Address,
};
use rand::Rng;

use crate::{
    counts::Counts,
    member::{Claims, Member},
    net::Network,
    trace::Trace,
};

/// How many members there are.
pub const MEMBERS: u64 = 3;

/// The cluster. Clones are the same one.
#[derive(Clone)]
pub struct Cluster {
    members: Rc<Vec<RefCell<Member>>>,
    /// What lies between the members.
    pub network: Network,
    /// Everybody who ever led, by raft id and term.
    pub claims: Claims,
    /// What happened how often.
    pub counts: Counts,
    /// What happened in which order.
    pub trace: Trace,
}

impl Cluster {
    /// A cluster in which nobody lives yet.
    pub fn new(seed: u64) -> Self {
        let (counts, trace, claims) = (Counts::default(), Trace::default(), Claims::default());
        let network = Network::new(seed, counts.clone(), trace.clone());
        let founder = |raft_id| Founder {
            raft_id,
            node_id: format!("node-{raft_id}"),
            address: format!("node-{raft_id}:4242"),
        };
        let founders: Vec<_> = (1..=MEMBERS).map(founder).collect();
        let member = |founder| {
            let (network, counts) = (network.clone(), counts.clone());
            let (trace, claims) = (trace.clone(), claims.clone());
            RefCell::new(Member::new(&founders, founder, seed, network, counts, trace, claims))
        };
        let members = Rc::new(founders.iter().map(member).collect());
        Self { members, network, claims, counts, trace }
    }

    /// All members.
    pub fn members(&self) -> impl Iterator<Item = &RefCell<Member>> {
        self.members.iter()
    }

    /// One of them, drawn.
    pub fn any(&self, random: &mut impl Rng) -> &RefCell<Member> {
        &self.members[random.gen_range(0..self.members.len())]
    }

    /// Starts whoever does not live.
    pub async fn start_all(&self) {
        for member in self.members() {
            start(member).await;
        }
    }

    /// The store of whoever says that it leads; of several, the one with the latest term.
    pub fn leader(&self) -> Option<(Store, Address<Peer>)> {
        let leaders = self.members().filter(|member| member.borrow().leads().is_some());
        let leader = leaders.max_by_key(|member| member.borrow().leads())?.borrow();
        Some((leader.store()?, leader.peer()?))
    }

    /// Any store that lives, drawn.
    pub fn any_store(&self, random: &mut impl Rng) -> Option<Store> {
        self.any(random).borrow().store()
    }
}

/// Starts a member, unless it lives.
#[expect(clippy::await_holding_refcell_ref, reason = "nobody else starts or ends this member")]
pub async fn start(member: &RefCell<Member>) {
    if !member.borrow().is_alive() {
        member.borrow_mut().start().await;
    }
}
