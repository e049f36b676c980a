//! No actor dies but those that a fault has killed, and those that had to follow.

use actors::supervision::testing::WISH;

use crate::cluster::Cluster;

/// What the peer says when the log was killed under it.
const FOLLOWS: &str = "the log died";

/// Looks at what every actor has died of.
pub fn check(cluster: &Cluster) {
    for member in cluster.members() {
        let member = member.borrow();
        member.deaths().iter().for_each(|reason| wanted(member.id, reason));
        cluster.counts.count("check: only wanted deaths");
    }
}

fn wanted(member: u64, reason: &str) {
    let wanted = reason.starts_with(WISH) || reason == FOLLOWS;
    assert!(wanted, "an actor of {member} has died: {reason}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "an actor of 1 has died: a bug")]
    fn a_death_that_nobody_wanted_is_found() {
        wanted(1, "the log died");
        wanted(1, &format!("{WISH} m1/core/raft dead"));
        wanted(1, "a bug");
    }
}
