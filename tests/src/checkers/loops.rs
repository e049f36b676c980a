//! Only the leader of a term writes: the loops of a leader end with its term, and no second set
//! of them begins beside the first.

use std::collections::BTreeMap;

use crate::cluster::Cluster;

/// How often a machine may be seen with loops that it should not have: they end one by one.
const LOOKS_MAX: u32 = 20;

/// How many actors the loops of one leader are.
const ACTORS: usize = 8;

/// How often each machine was seen with loops that it should not have, in a row.
#[derive(Default)]
pub struct Loops {
    wrong: BTreeMap<u64, u32>,
}

impl Loops {
    /// Looks at the actors of every machine.
    pub fn check(&mut self, cluster: &Cluster) {
        for machine in cluster.machines() {
            let machine = machine.borrow();
            self.compare(machine.id, machine.leads().is_some(), machine.loops());
            cluster.counts.count("check: loops run where the leader is");
        }
    }

    fn compare(&mut self, machine: u64, leads: bool, actors: usize) {
        let may_run = if leads { ACTORS } else { 0 };
        let wrong = self.wrong.entry(machine).or_default();
        *wrong = if actors > may_run { *wrong + 1 } else { 0 };
        assert!(
            *wrong < LOOKS_MAX,
            "loops: m{machine} runs {actors} actors of a leader, and may run {may_run}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "loops: m1 runs 8 actors of a leader, and may run 0")]
    fn loops_that_outlive_their_term_are_found() {
        let mut loops = Loops::default();
        for _ in 0..LOOKS_MAX {
            loops.compare(1, true, 8);
            loops.compare(2, false, 0);
        }
        for _ in 0..LOOKS_MAX {
            loops.compare(1, false, 8);
        }
    }
}
