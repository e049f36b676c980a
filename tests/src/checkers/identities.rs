//! ROLE, CA-1: the role that a machine's certificate says is that of its node in the store, within
//! one renewal: soon, once the machine can reach a leader.

use std::{collections::BTreeMap, time::Duration};

use actors::store::View;
use tokio::time::Instant;

use crate::{
    cluster::Cluster,
    identity::Identity,
    member::{Member, Standing},
};

/// How long a certificate may say another role: it takes two transactions on slow disks, a few
/// looks around, and now and then the pause after some tries that failed.
const WRONG_MAX: Duration = Duration::from_secs(45);

/// Since when each machine has shown another role than its node has, and could have another
/// certificate.
#[derive(Default)]
pub struct Identities {
    wrong: BTreeMap<u64, Instant>,
    /// Under which leader.
    leader: Option<(u64, u64)>,
}

impl Identities {
    /// Looks at every machine that has a certificate.
    pub fn check(&mut self, cluster: &Cluster) {
        let leader = cluster.leading().map(|leader| (leader.borrow().id, leader.borrow().leads()));
        let leader = leader.and_then(|(id, term)| Some((id, term?)));
        if leader != self.leader || !cluster.network.is_whole() {
            (self.leader, self.wrong) = (leader, BTreeMap::new());
        }
        let Some((store, _)) = cluster.leader() else { return };
        let view = store.view();
        for machine in cluster.machines() {
            let (machine, now) = (machine.borrow(), Instant::now());
            self.compare(machine.id, wrong(&machine, &view).is_some(), now);
            if machine.identity().is_some() {
                cluster.counts.count("check: roles are in certificates");
            }
        }
    }

    fn compare(&mut self, machine: u64, is_wrong: bool, now: Instant) {
        if !is_wrong {
            self.wrong.remove(&machine);
            return;
        }
        let since = *self.wrong.entry(machine).or_insert(now);
        assert!(
            now.duration_since(since) < WRONG_MAX,
            "identities: the certificate of m{machine} does not say what its node is"
        );
    }
}

/// What is wrong with some machine, in the quiet state: its certificate, whether it is a member, or
/// that it is about to become another.
pub fn unfit(cluster: &Cluster) -> Option<String> {
    if !cluster.has_identities() {
        return None;
    }
    let Some((store, _)) = cluster.leader() else { return Some("nobody leads".to_owned()) };
    let view = store.view();
    cluster.machines().find_map(|machine| {
        let machine = machine.borrow();
        let wrong = wrong(&machine, &view).or_else(|| waits(&machine, &view)).or_else(|| {
            let identity = machine.identity();
            let is_manager = identity.as_ref().is_some_and(Identity::is_manager);
            let is_member = machine.standing == Standing::Member;
            (is_manager != is_member).then(|| format!("is a manager: {is_manager}"))
        });
        wrong.map(|wrong| format!("m{} {wrong}, is a member: {:?}", machine.id, machine.standing))
    })
}

/// What is wrong with the certificate of a machine that runs.
fn wrong(machine: &Member, view: &View) -> Option<String> {
    let identity = machine.identity()?;
    let is_down = machine.standing == Standing::Member && !machine.is_alive();
    let node = view.node(&identity.subject.node_id).filter(|_| !is_down)?;
    let is_right = node.role == i32::from(identity.subject.role);
    (!is_right).then(|| format!("shows {:?}", identity.subject.role))
}

/// What a machine's node is to be and is not yet.
fn waits(machine: &Member, view: &View) -> Option<String> {
    let identity = machine.identity()?;
    let node = view.node(&identity.subject.node_id)?;
    let desired = node.spec.desired_role();
    (node.role != i32::from(desired)).then(|| format!("is to be a {desired:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "identities: the certificate of m1 does not say what its node is")]
    fn a_certificate_that_is_not_renewed_is_found() {
        let (mut identities, now) = (Identities::default(), Instant::now());
        identities.compare(1, true, now);
        identities.compare(1, false, now + WRONG_MAX);
        identities.compare(1, true, now + WRONG_MAX);
        identities.compare(2, true, now);
        identities.compare(1, true, now + WRONG_MAX + WRONG_MAX / 2);
        identities.compare(1, true, now + 2 * WRONG_MAX);
    }
}
