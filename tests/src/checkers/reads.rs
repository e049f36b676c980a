//! A read through the leader sees everything that was acknowledged before it began, and all that a
//! read showed which ended before it began, whoever made that, under whichever leader.

use std::collections::BTreeSet;

use actors::store::View;

/// `before` is what was acknowledged when the read began, `so_far` the newest index that a read had
/// shown by then; `index` is what raft has confirmed.
pub fn check(before: &BTreeSet<String>, so_far: u64, view: &View, index: u64) {
    let shown = view.index();
    assert!(shown >= index, "reads: the view is at {shown}, confirmed was {index}");
    assert!(shown >= so_far, "reads: {so_far} was read before, and then {shown}");
    for name in before {
        let found = view.service(&name.as_str().into()).is_some();
        assert!(found, "reads: {name} was acknowledged, and a read at {index} does not see it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a read at 0 does not see it")]
    fn a_stale_read_is_found() {
        check(&BTreeSet::from(["a".to_owned()]), 0, &View::default(), 0);
    }

    #[test]
    #[should_panic(expected = "reads: 1 was read before, and then 0")]
    fn a_read_that_goes_back_is_found() {
        check(&BTreeSet::new(), 0, &View::default(), 0);
        check(&BTreeSet::new(), 1, &View::default(), 0);
    }
}
