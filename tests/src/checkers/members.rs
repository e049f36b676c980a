//! RAFT-9: who votes, who learns and who was removed is the same on every member that has applied
//! as much, whether entries or a snapshot told it. Nobody is two of these, and no id comes back.

use std::collections::{BTreeMap, BTreeSet};

use actors::raft::{Founder, GetStatus, Status};

use crate::{cluster::Cluster, counts::Counts};

/// What is known of the members at each index.
#[derive(Default)]
pub struct Members {
    by_index: BTreeMap<u64, Group>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    voters: BTreeSet<u64>,
    learners: BTreeSet<u64>,
    removed: BTreeSet<u64>,
    members: Vec<Founder>,
}

impl Members {
    /// Asks every machine.
    pub async fn check(&mut self, cluster: &Cluster) {
        for machine in cluster.machines() {
            let (id, peer) = (machine.borrow().id, machine.borrow().peer());
            let Some(peer) = peer else { continue };
            if let Ok(Some(status)) = peer.send(GetStatus).await {
                self.compare(id, status, &cluster.counts);
            }
        }
    }

    fn compare(&mut self, machine: u64, status: Status, counts: &Counts) {
        let Status { committed, applied, voters, learners, removed, members, .. } = status;
        let set = |ids: Vec<u64>| ids.into_iter().collect::<BTreeSet<_>>();
        let (voters, learners) = (set(voters), set(learners));
        let group = Group { voters, learners, removed: set(removed), members };
        group.verify(machine);
        counts.count("check: nobody is counted who was removed");
        // Only then is it certain which entries have made it so.
        if applied != committed {
            return;
        }
        if let Some(known) = self.by_index.get(&applied) {
            assert_eq!(*known, group, "members: m{machine} knows others at index {applied}");
            counts.count("check: members agree");
            return;
        }
        let before = self.by_index.range(..applied).next_back().map(|(_, group)| group);
        let after = self.by_index.range(applied..).next().map(|(_, group)| group);
        let grows = [before.zip(Some(&group)), Some(&group).zip(after)];
        for (earlier, later) in grows.into_iter().flatten() {
            let returned = earlier.removed.difference(&later.removed).next();
            assert_eq!(returned, None, "members: a removed id is free again, says m{machine}");
        }
        if before.is_some_and(|before| !before.learners.is_disjoint(&group.voters)) {
            counts.count("seen: learner promoted");
        }
        if group.voters.len() >= 7 {
            counts.count("seen: seven voters");
        }
        self.by_index.insert(applied, group);
    }
}

impl Group {
    fn verify(&self, machine: u64) {
        let Self { voters, learners, removed, members } = self;
        let counted: BTreeSet<_> = voters.union(learners).copied().collect();
        let known: BTreeSet<_> = members.iter().map(|member| member.raft_id).collect();
        assert!(voters.is_disjoint(learners), "members: one votes and learns, says m{machine}");
        assert!(
            counted.is_disjoint(removed),
            "members: one counts who was removed, says m{machine}"
        );
        assert_eq!(counted, known, "members: those with a node are others, says m{machine}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(applied: u64, voters: &[u64], learners: &[u64], removed: &[u64]) -> Status {
        let member = |raft_id: &u64| Founder {
            raft_id: *raft_id,
            node_id: String::new(),
            address: String::new(),
        };
        Status {
            raft_id: 1,
            term: 1,
            leader: None,
            committed: applied,
            applied,
            last: applied,
            voters: voters.to_vec(),
            learners: learners.to_vec(),
            members_since: 0,
            removed: removed.to_vec(),
            members: voters.iter().chain(learners).map(member).collect(),
            reachable: Vec::new(),
        }
    }

    fn check(statuses: [Status; 2]) -> u64 {
        let (mut members, counts) = (Members::default(), Counts::default());
        for status in statuses {
            members.compare(1, status, &counts);
        }
        counts.of("seen: learner promoted")
    }

    #[test]
    fn a_promotion_is_seen() {
        assert_eq!(check([status(5, &[1], &[2], &[]), status(7, &[1, 2], &[], &[])]), 1);
    }

    #[test]
    #[should_panic(expected = "members: m1 knows others at index 5")]
    fn two_groups_at_an_index_are_found() {
        check([status(5, &[1], &[2], &[]), status(5, &[1, 2], &[], &[])]);
    }

    #[test]
    #[should_panic(expected = "members: one counts who was removed")]
    fn one_who_still_counts_is_found() {
        check([status(5, &[1], &[], &[2]), status(6, &[1, 2], &[], &[2])]);
    }

    #[test]
    #[should_panic(expected = "members: a removed id is free again")]
    fn an_id_that_comes_back_is_found() {
        check([status(5, &[1], &[], &[2]), status(4, &[1], &[], &[2, 3])]);
    }
}
