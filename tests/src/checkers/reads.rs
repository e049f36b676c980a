//! A read through the leader sees everything that was acknowledged before it began.

use std::collections::BTreeSet;

use actors::store::View;

/// `before` is what was acknowledged when the read began; `index` is what raft has confirmed.
pub fn check(before: &BTreeSet<String>, view: &View, index: u64) {
    assert!(view.index() >= index, "reads: the view is at {}, confirmed was {index}", view.index());
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
        check(&BTreeSet::from(["a".to_owned()]), &View::default(), 0);
    }
}
