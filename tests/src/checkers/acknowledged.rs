//! STORE-1 and STORE-2: what was acknowledged is there, what was refused is not, and every
//! increment counted once.

use actors::store::View;

use crate::{
    counts::Counts,
    oracle::{Oracle, Told},
    workload::{COUNTER, count},
};

/// Holds what one member shows in the end against what clients were told.
pub fn check(view: &View, oracle: &Oracle, counts: &Counts) {
    for name in oracle.acknowledged() {
        let found = view.service(&name.as_str().into()).is_some();
        assert!(found, "acknowledged: {name} was acknowledged, and is gone");
        counts.count("check: acknowledged writes survive");
    }
    for service in view.services() {
        let told = oracle.of(service.id.as_str());
        assert_ne!(
            told,
            Some(Told::NotWritten),
            "acknowledged: {} was refused, and is there",
            service.id
        );
        let has_left = oracle.has_left(service.id.as_str());
        assert!(!has_left, "acknowledged: {} was removed, and is there", service.id);
    }
    let (least, most) = oracle.increments();
    let shown = view.service(&COUNTER.into()).map_or(0, |counter| count(counter));
    assert!(
        (least..=most).contains(&shown),
        "acknowledged: {least} increments were acknowledged and {most} sent, and the counter shows {shown}"
    );
    counts.add("check: increments add up", least);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "acknowledged: a was acknowledged, and is gone")]
    fn a_lost_write_is_found() {
        let oracle = Oracle::default();
        oracle.told("a", Told::Acknowledged);
        check(&View::default(), &oracle, &Counts::default());
    }

    #[test]
    fn what_was_removed_need_not_be_there() {
        let oracle = Oracle::default();
        oracle.told("a", Told::Acknowledged);
        oracle.leaves("a");
        check(&View::default(), &oracle, &Counts::default());
    }

    #[test]
    #[should_panic(
        expected = "acknowledged: 1 increments were acknowledged and 1 sent, and the counter shows 0"
    )]
    fn a_lost_increment_is_found() {
        let oracle = Oracle::default();
        oracle.incremented(Told::Acknowledged);
        check(&View::default(), &oracle, &Counts::default());
    }
}
