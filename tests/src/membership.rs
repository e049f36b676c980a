//! Changes of the group: asks whoever leads, again and again, as the service in front of raft
//! does, and starts the machines that were let in.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use actors::{
    log::simulated::Crash,
    raft::{ChangeError, Join, Joined, Peer, Removal, Remove, Status, TransferLeadership},
    supervision::Address,
};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    cluster::{Cluster, start},
    member::{Member, Standing, address, node_id},
    oracle::{Oracle, Told},
    plan::Change,
    workload,
};

/// How long one leader is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait before the next one is asked.
const PAUSE: Duration = Duration::from_millis(100);

/// Everybody who was ever let in or taken out, as the harness has been told.
#[derive(Default)]
pub struct Roll {
    /// Every raft id that was given, with its machine.
    given: BTreeMap<u64, u64>,
    /// Who was taken out, and the newest term that was known then.
    removals: Vec<(u64, u64)>,
    /// Machines that are just being let in or taken out.
    busy: BTreeSet<u64>,
    /// How many are on their way out.
    leaving: usize,
    /// Nobody is taken out who would leave fewer voters than this.
    pub least_voters: usize,
}

impl Roll {
    /// The machines of a new cluster.
    pub fn of_founders(founders: u64) -> Self {
        let given = (1..=founders).map(|id| (id, id)).collect();
        Self { given, least_voters: founders as usize, ..Self::default() }
    }

    /// Who was taken out, and the newest term that was known then.
    pub fn removals(&self) -> &[(u64, u64)] {
        &self.removals
    }
}

/// Does one change until it is done or `end` has come. Says whether it was done.
pub async fn carry_out(cluster: &Cluster, oracle: &Oracle, change: Change, end: Instant) -> bool {
    match change {
        Change::Joins(id) => join(cluster, id, end).await,
        Change::Leaves(id) => leave(cluster, id, end, "fault: member removed").await,
        Change::LeaderLeaves => {
            let leader = cluster.leading().map(|leader| leader.borrow().id);
            match leader {
                Some(id) => leave(cluster, id, end, "fault: leader removed").await,
                None => false,
            }
        }
        Change::HandsOver(to) => hand_over(cluster, to, end).await,
        Change::ComesBack(id) => come_back(cluster, oracle, id).await,
    }
}

/// A machine that is no member asks to be let in, and begins with an empty disk.
async fn join(cluster: &Cluster, id: u64, end: Instant) -> bool {
    let is_member = cluster.member(id).borrow().standing == Standing::Member;
    if is_member || !cluster.roll_mut().busy.insert(id) {
        return false;
    }
    let mut joined = None;
    while joined.is_none() && Instant::now() < end {
        joined = ask(cluster, &format!("join of m{id}"), |peer| {
            let join = Join { node_id: node_id(id), address: address(id), learns: true };
            async move { peer.send(join).await }
        })
        .await
        .and_then(Result::ok);
    }
    if let Some(Joined { raft_id, .. }) = joined {
        enroll(cluster, id, raft_id).await;
    }
    cluster.roll_mut().busy.remove(&id);
    joined.is_some()
}

/// A machine was let in under a raft id, and starts.
pub async fn enroll(cluster: &Cluster, id: u64, raft_id: u64) {
    let before = cluster.roll_mut().given.insert(raft_id, id);
    assert_eq!(before, None, "members: the raft id of m{id} was given before");
    cluster.counts.count("fault: member joined");
    cluster.member(id).borrow_mut().enroll(raft_id);
    start(cluster.member(id)).await;
}

/// A member is taken out, unless too few would be left.
async fn leave(cluster: &Cluster, id: u64, end: Instant, counted: &'static str) -> bool {
    let is_member = cluster.member(id).borrow().standing == Standing::Member;
    if !is_member || !cluster.roll_mut().busy.insert(id) {
        return false;
    }
    let raft_id = cluster.member(id).borrow().raft_id();
    cluster.roll_mut().leaving += 1;
    let (mut unknown, mut gone) = (false, false);
    while !gone && Instant::now() < end {
        let status = cluster.leader_status().await;
        let voters = status.map(|status| status.voters).unwrap_or_default();
        let least = cluster.roll().least_voters + cluster.roll().leaving;
        if voters.is_empty() || voters.contains(&raft_id) && voters.len() < least {
            sleep(PAUSE).await;
            continue;
        }
        let asked = ask(cluster, &format!("removal of m{id}"), |peer| async move {
            peer.send(Remove { raft_id }).await
        })
        .await;
        gone = match asked {
            Some(Ok(Removal::Removed)) => true,
            Some(Err(ChangeError::UnknownMember)) => unknown,
            Some(Ok(Removal::HandedOver { .. }) | Err(_)) => false,
            None => {
                unknown = true;
                false
            }
        };
    }
    if gone {
        let claimed = cluster.claims.borrow().iter().map(|(_, term)| *term).max();
        let known = cluster.leader_status().await.map(|status| status.term);
        let term = claimed.max(known).unwrap_or_default();
        cluster.counts.count(counted);
        cluster.network.repeat_old(raft_id);
        cluster.roll_mut().removals.push((raft_id, term));
        cluster.member(id).borrow_mut().standing = Standing::Removed;
    }
    let roll = &mut *cluster.roll_mut();
    roll.leaving -= 1;
    roll.busy.remove(&id);
    gone
}

/// Another is to lead: this one, or whoever is furthest along.
async fn hand_over(cluster: &Cluster, to: Option<u64>, end: Instant) -> bool {
    while Instant::now() < end {
        let to = to.map(|id| cluster.member(id).borrow().raft_id());
        let asked = ask(cluster, "handing over", |peer| async move {
            peer.send(TransferLeadership { to }).await
        });
        match asked.await {
            Some(Ok(_)) => {
                cluster.counts.count("fault: leadership handed over");
                return true;
            }
            Some(Err(ChangeError::UnknownMember | ChangeError::NotHandedOver)) => return false,
            Some(Err(_)) | None => {}
        }
    }
    false
}

/// A machine that was taken out starts again, with the disk that it had as a member.
async fn come_back(cluster: &Cluster, oracle: &Oracle, id: u64) -> bool {
    let machine = cluster.member(id);
    let is_removed = machine.borrow().standing == Standing::Removed;
    if !is_removed || !cluster.roll_mut().busy.insert(id) {
        return false;
    }
    machine.borrow_mut().crash(Crash::Process);
    start(machine).await;
    cluster.counts.count("fault: removed member came back");
    sleep(PAUSE).await;
    let store = machine.borrow().store();
    if let Some(store) = store {
        let name = format!("removed-{id}-{}", machine.borrow().lives);
        workload::create(cluster, oracle, &store, name.clone()).await;
        let takes = oracle.of(&name) == Some(Told::Acknowledged);
        assert!(!takes, "removed: m{id} was taken out, and takes writes");
        cluster.counts.count("check: a removed member changes nothing");
    }
    cluster.roll_mut().busy.remove(&id);
    true
}

/// Makes the harness know what the leader knows: a machine that was let in and did not hear of it
/// starts now, and whoever is no member any more is left alone.
pub async fn settle(cluster: &Cluster, status: &Status) {
    for member in &status.members {
        let is_meant = |machine: &&RefCell<Member>| machine.borrow().node_id() == member.node_id;
        // The node of a certificate that nobody was given any more has no machine.
        let Some(id) = cluster.machines().find(is_meant).map(|machine| machine.borrow().id) else {
            assert!(cluster.has_identities(), "members: {} is none of ours", member.node_id);
            continue;
        };
        if cluster.member(id).borrow().raft_id() != member.raft_id {
            enroll(cluster, id, member.raft_id).await;
        }
    }
    for machine in cluster.machines() {
        let machine = &mut *machine.borrow_mut();
        if status.removed.contains(&machine.raft_id()) {
            machine.standing = Standing::Removed;
        }
    }
}

/// Asks whoever leads. `None`: nobody leads, or it is not known what came of it.
async fn ask<T, E, F>(
    cluster: &Cluster,
    what: &str,
    question: impl FnOnce(Address<Peer>) -> F,
) -> Option<Result<T, ChangeError>>
where
    F: Future<Output = Result<Result<T, ChangeError>, E>>,
{
    let answer = match cluster.leader() {
        Some((_, peer)) => timeout(PATIENCE, question(peer)).await.ok().and_then(Result::ok),
        None => None,
    };
    let effect = match &answer {
        Some(Ok(_)) => "done".to_owned(),
        Some(Err(error)) => error.to_string(),
        None => "no answer".to_owned(),
    };
    cluster.trace.note("operator", what, effect);
    if !matches!(answer, Some(Ok(_))) {
        sleep(PAUSE).await;
    }
    answer.filter(|answer| !matches!(answer, Err(ChangeError::OutcomeUnknown)))
}
