//! Calls between machines: through any manager that can be reached, to the leader if that has to
//! answer, judged by `access` as in front of every service.

use std::cell::RefCell;

use actors::{
    ca::logic::{
        Subject,
        access::{self, Call, Caller, Cluster as Judge, Denied, Door, Forwarded},
        organizational_unit,
    },
    environment::Clock,
    raft::{Leader, Peer},
    store::Store,
    supervision::Address,
};
use protocol::rpc::{self, Rpc};
use rand::{Rng, rngs::StdRng};
use tokio::time::sleep;

use super::Identity;
use crate::{cluster::Cluster, member::Member};

/// A call that was let in by whoever answers it.
pub struct Admitted {
    /// Who calls, as it was judged.
    pub caller: Caller,
    /// The machine that answers.
    pub machine: u64,
    /// The term in which that leads.
    pub term: u64,
    /// Its store.
    pub store: Store,
    /// Its member of the group.
    pub peer: Address<Peer>,
}

/// Why a call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Nobody has answered.
    Unreachable,
    /// It was refused.
    Denied(Denied),
    /// The certificate is from the future, as a verifier sees it.
    NotYetValid,
    /// Who answered knows of no leader, or leads no more.
    NoLeader,
}

/// Calls a method as the owner of a certificate, or as a stranger.
pub async fn call(
    cluster: &Cluster,
    from: u64,
    path: &str,
    shown: Option<&Identity>,
    random: &mut StdRng,
) -> Result<Admitted, Failed> {
    let rpc = rpc::find(path).expect("a method that there is");
    let managers: Vec<_> = cluster.machines().filter(|machine| serves(&machine.borrow())).collect();
    if managers.is_empty() {
        return Err(Failed::Unreachable);
    }
    // Whoever leads asks itself.
    let leads = |machine: &&RefCell<Member>| machine.borrow().id == from && is_leader(machine);
    let drawn = random.gen_range(0..managers.len());
    let first = managers.iter().copied().find(leads).unwrap_or(managers[drawn]);
    let first_id = first.borrow().id;
    if first_id != from {
        carry(cluster, from, first_id).await?;
    }
    let Some((leader, subject)) = way(first, rpc, shown)? else {
        return admit(first, rpc, shown, None);
    };
    let Some(leader) = cluster.machines().find(|other| other.borrow().raft_id() == leader) else {
        return Err(Failed::Unreachable);
    };
    let leader_id = leader.borrow().id;
    carry(cluster, first_id, leader_id).await?;
    let forwarded = subject.map(named).unwrap_or_default();
    let passed_on_by = first.borrow().identity();
    let passed_on_by = passed_on_by.ok_or(Failed::Unreachable)?;
    admit(leader, rpc, Some(&passed_on_by), Some(&forwarded))
}

/// Whether a machine listens for others.
fn serves(machine: &Member) -> bool {
    machine.is_alive() && machine.end().is_none() && machine.identity().is_some()
}

fn is_leader(machine: &RefCell<Member>) -> bool {
    machine.borrow().standing().is_some_and(|standing| standing.group().leader() == Leader::Here)
}

/// One way of a call; connections lose nothing, but they may not come about.
async fn carry(cluster: &Cluster, from: u64, to: u64) -> Result<(), Failed> {
    let delay = cluster.network.draw_delay();
    sleep(delay).await;
    let is_open = !cluster.network.is_cut_between(from, to);
    is_open.then_some(()).ok_or(Failed::Unreachable)
}

/// The raft id of whoever has to answer, if that is another, and whom it is told of.
fn way(
    first: &RefCell<Member>,
    rpc: &Rpc,
    shown: Option<&Identity>,
) -> Result<Option<(u64, Option<Subject>)>, Failed> {
    let machine = first.borrow();
    let standing = machine.standing().ok_or(Failed::Unreachable)?.group();
    valid(&machine, shown)?;
    match standing.leader() {
        Leader::Here => Ok(None),
        Leader::There(_) if !rpc.leader => Ok(None),
        Leader::There(leader) => {
            let told = judged(&machine, rpc, shown, None, |call, judge| {
                Ok(access::introduce(call, judge)?.cloned())
            })?;
            Ok(Some((leader.raft_id, told)))
        }
        Leader::Nowhere => Err(Failed::NoLeader),
    }
}

/// Has a call judged by whoever answers it.
fn admit(
    machine: &RefCell<Member>,
    rpc: &Rpc,
    shown: Option<&Identity>,
    forwarded: Option<&Forwarded>,
) -> Result<Admitted, Failed> {
    let machine = machine.borrow();
    let group = machine.standing().ok_or(Failed::Unreachable)?.group();
    if !serves(&machine) {
        return Err(Failed::Unreachable);
    }
    valid(&machine, shown)?;
    if rpc.leader && group.leader() != Leader::Here {
        return Err(Failed::NoLeader);
    }
    let caller = judged(&machine, rpc, shown, forwarded, access::judge)?;
    let (store, peer) = machine.store().zip(machine.peer()).expect("it lives");
    Ok(Admitted { caller, machine: machine.id, term: group.term, store, peer })
}

/// What TLS asks before anybody is judged: a certificate that ended is for `access`.
fn valid(machine: &Member, shown: Option<&Identity>) -> Result<(), Failed> {
    let now = machine.clock().now().seconds;
    let is_early = shown.is_some_and(|shown| shown.window.not_before_seconds > now);
    if is_early { Err(Failed::NotYetValid) } else { Ok(()) }
}

/// Asks `access` with what a machine knows.
fn judged<T>(
    machine: &Member,
    rpc: &Rpc,
    shown: Option<&Identity>,
    forwarded: Option<&Forwarded>,
    ask: impl FnOnce(&Call<'_>, Judge<'_>) -> Result<T, Denied>,
) -> Result<T, Failed> {
    let own = machine.identity().ok_or(Failed::Unreachable)?;
    let view = machine.store().ok_or(Failed::Unreachable)?.view();
    let now = machine.clock().now();
    let certificate = shown.map(Identity::certificate);
    let call = Call { rpc, door: Door::Network, certificate, forwarded };
    ask(&call, Judge { own: &own.subject, view: &view, now: &now }).map_err(Failed::Denied)
}

/// As one manager tells another whose call it passes on.
fn named(subject: Subject) -> Forwarded {
    Forwarded {
        common_name: subject.node_id.to_string(),
        organization: subject.cluster_id.to_string(),
        units: vec![organizational_unit(subject.role).to_owned()],
    }
}

/// The same for what raft members say to each other: whether a member hears it at all.
pub fn hears(machine: &Member, shown: Option<&Identity>) -> Result<(), Failed> {
    let rpc = rpc::find("/docker.swarmkit.v1.Raft/StreamRaftMessage").expect("it is there");
    valid(machine, shown)?;
    judged(machine, rpc, shown, None, access::judge).map(drop)
}
