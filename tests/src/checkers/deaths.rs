//! No actor dies but those that a fault has killed, and those that had to follow.

use actors::supervision::testing::WISH;

use crate::{cluster::Cluster, member::LOOPS_DIED};

/// What the peer says when the log was killed under it.
const FOLLOWS: &str = "the log died";

/// Looks at what every actor has died of.
pub fn check(cluster: &Cluster) {
    for member in cluster.machines() {
        let member = member.borrow();
        let may_end = member.disk_has_failed() || member.knows_removal();
        if let Some(end) = member.end().filter(|_| !may_end) {
            panic!("deaths: member {} ends on a good disk: {end}", member.id);
        }
        member.deaths().iter().for_each(|reason| wanted(member.id, reason));
        cluster.counts.count("check: only wanted deaths");
    }
}

fn wanted(member: u64, reason: &str) {
    let wanted = reason.starts_with(WISH) || reason == FOLLOWS || reason == LOOPS_DIED;
    assert!(wanted, "deaths: an actor of {member} has died: {reason}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "deaths: an actor of 1 has died: a bug")]
    fn a_death_that_nobody_wanted_is_found() {
        wanted(1, "the log died");
        wanted(1, &format!("{WISH} m1/core/raft dead"));
        wanted(1, "a bug");
    }
}
