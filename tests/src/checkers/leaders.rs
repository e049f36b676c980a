//! RAFT-1: one leader in a term.

use std::collections::BTreeMap;

use crate::counts::Counts;

/// Who was seen leading which term.
#[derive(Default)]
pub struct Leaders {
    by_term: BTreeMap<u64, u64>,
    seen: usize,
}

impl Leaders {
    /// Takes the claims that are new, as pairs of member and term.
    pub fn check(&mut self, claims: &[(u64, u64)], counts: &Counts) {
        for (member, term) in &claims[self.seen..] {
            let leader = *self.by_term.entry(*term).or_insert(*member);
            assert_eq!(leader, *member, "leaders: two members led term {term}");
            counts.count("check: one leader per term");
        }
        self.seen = claims.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "leaders: two members led term 2")]
    fn two_leaders_of_a_term_are_found() {
        let mut leaders = Leaders::default();
        leaders.check(&[(1, 1), (1, 2)], &Counts::default());
        leaders.check(&[(1, 1), (1, 2), (1, 2), (3, 3), (2, 2)], &Counts::default());
    }
}
