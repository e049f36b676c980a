//! Tables over what certificates contain and when they are valid.

mod access;
mod calls;
mod server;

use std::time::Duration;

use prost_types::Timestamp;
use protocol::wire::NodeRole;
use rand::{SeedableRng, rngs::StdRng};

use super::logic::{
    NODE_EXPIRY_DEFAULT, NODE_EXPIRY_MIN, Subject, Window, has_expired, host_names, node_expiry,
    node_window, organizational_unit, renewal_backoff, renewal_seconds, role_of, root_window,
};

const HOUR: i64 = 60 * 60;

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

#[test]
fn a_root_starts_five_minutes_back_and_lasts_twenty_years() {
    let Window { not_before_seconds, not_after_seconds } = root_window(&at(1_000_020));
    assert_eq!(not_before_seconds, 1_000_020 - 300);
    assert_eq!(not_after_seconds - not_before_seconds, 630_720_000);
}

#[test]
fn windows_start_on_the_nearest_minute() {
    for (now, minute) in [(0, 0), (29, 0), (30, 60), (59, 60), (60, 60), (-1, 0), (-31, -60)] {
        assert_eq!(root_window(&at(now)).not_before_seconds, minute - 300, "{now}");
    }
}

#[test]
fn a_node_certificate_is_an_hour_longer_on_both_sides() {
    let window = node_window(&at(0), Duration::from_secs(24 * 3600));
    assert_eq!(window, Window { not_before_seconds: -HOUR, not_after_seconds: 24 * HOUR });
}

#[test]
fn a_short_certificate_is_no_longer_before_its_beginning_than_after_it() {
    for minutes in [30, 45, 60] {
        let seconds = minutes * 60;
        let window = node_window(&at(0), Duration::from_secs(seconds));
        let seconds = seconds.cast_signed();
        let expected = Window { not_before_seconds: -seconds, not_after_seconds: seconds };
        assert_eq!(window, expected, "{minutes}");
    }
}

/// Otherwise its node would renew it at once, and each one after it.
#[test]
fn no_certificate_is_due_before_it_is_made() {
    let mut random = StdRng::seed_from_u64(1);
    for expiry in [NODE_EXPIRY_MIN, NODE_EXPIRY_MIN * 3, NODE_EXPIRY_DEFAULT] {
        let window = node_window(&at(0), expiry);
        let due = (0..1_000).map(|_| renewal_seconds(window, &mut random)).min();
        assert!(due >= Some(0), "{expiry:?}: {due:?}");
    }
}

#[test]
fn an_absurd_validity_does_not_overflow() {
    let window = node_window(&at(0), Duration::MAX);
    assert_eq!(window.not_after_seconds, 630_720_000);
}

#[test]
fn a_validity_below_half_an_hour_is_taken_for_a_mistake() {
    let expiry = |seconds, nanos| node_expiry(Some(&prost_types::Duration { seconds, nanos }));
    assert_eq!(node_expiry(None), NODE_EXPIRY_DEFAULT);
    assert_eq!(expiry(0, 0), NODE_EXPIRY_DEFAULT);
    assert_eq!(expiry(-5 * HOUR, 0), NODE_EXPIRY_DEFAULT);
    assert_eq!(expiry(HOUR / 2 - 1, 999_999_999), NODE_EXPIRY_DEFAULT);
    assert_eq!(expiry(HOUR / 2, 0), Duration::from_secs(1800));
    assert_eq!(expiry(100 * HOUR, 0), Duration::from_secs(360_000));
}

#[test]
fn the_last_second_still_counts() {
    let window = Window { not_before_seconds: 0, not_after_seconds: 10 };
    assert!(!has_expired(window, &at(10)));
    assert!(has_expired(window, &at(11)));
}

#[test]
fn roles_and_their_spelling_belong_together() {
    for role in [NodeRole::Worker, NodeRole::Manager] {
        assert_eq!(role_of(organizational_unit(role)), Some(role));
    }
    assert_eq!(role_of("swarm-ca"), None);
}

#[test]
fn only_managers_answer_to_the_authority() {
    let subject = |role| Subject { node_id: "n1".into(), role, cluster_id: "c1".into() };
    assert_eq!(host_names(&subject(NodeRole::Worker)), ["swarm-worker", "n1"]);
    let manager = subject(NodeRole::Manager);
    assert_eq!(host_names(&manager), ["swarm-manager", "n1", "swarm-ca"]);
}

#[test]
fn a_renewal_is_due_in_the_second_half_but_not_in_the_last_fifth() {
    let mut random = StdRng::seed_from_u64(1);
    let life = 90 * 24 * HOUR;
    let window = Window { not_before_seconds: 600, not_after_seconds: 600 + life };
    let due: Vec<_> = (0..10_000).map(|_| renewal_seconds(window, &mut random) - 600).collect();
    let (first, last) = (due.iter().min(), due.iter().max());
    assert!(due.iter().all(|due| due % 60 == 0), "whole minutes");
    assert!(first.is_some_and(|first| (life / 2..life * 51 / 100).contains(first)), "{first:?}");
    assert!(last.is_some_and(|last| (life * 79 / 100..life * 4 / 5).contains(last)), "{last:?}");
    let moment = Window { not_before_seconds: 600, not_after_seconds: 630 };
    assert_eq!(renewal_seconds(moment, &mut random), 600);
    let backwards = Window { not_before_seconds: i64::MAX, not_after_seconds: i64::MIN };
    renewal_seconds(backwards, &mut random);
}

#[test]
fn renewals_that_fail_wait_longer_and_never_more_than_an_hour() {
    let mut random = StdRng::seed_from_u64(1);
    for (failures, left_seconds, is_awaited, bound) in [
        (0, i64::MAX, false, 10),
        (1, i64::MAX, false, 10),
        (2, i64::MAX, false, 15),
        (3, i64::MAX, false, 25),
        (10, i64::MAX, false, 2565),
        (11, i64::MAX, false, 3600),
        (99, i64::MAX, false, 3600),
        // Not beyond the end, and often from then on.
        (99, 700, false, 700),
        (99, 59, false, 60),
        (99, i64::MIN, false, 60),
        (2, i64::MIN, false, 15),
        // Somebody has said that the node is to be another.
        (2, i64::MAX, true, 15),
        (99, i64::MAX, true, 20),
        (99, i64::MIN, true, 20),
    ] {
        let bound = Duration::from_secs(bound);
        let mut pause = || renewal_backoff(failures, left_seconds, is_awaited, &mut random);
        let most = (0..1_000).map(|_| pause()).max();
        let most = most.expect("a thousand");
        assert!(most < bound && most > bound * 9 / 10, "{failures}: {most:?} of {bound:?}");
    }
}
