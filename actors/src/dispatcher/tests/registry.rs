//! Sessions, deadlines and rates, over hand-made time.

use std::time::{Duration, Instant};

use protocol::{
    id::{NodeId, SessionId},
    objects::{Cluster, Object},
    wire,
};

use super::{View, with};
use crate::dispatcher::{
    Error, HEARTBEAT_PERIOD, HEARTBEAT_PERIOD_MIN,
    logic::registry::{Expiry, Registration, Registry, vary},
    period,
};

const PERIOD: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(500);

#[expect(clippy::disallowed_methods, reason = "any moment does: only differences count")]
fn origin() -> Instant {
    Instant::now()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn n() -> NodeId {
    NodeId::from("n")
}

fn session(id: &str) -> SessionId {
    SessionId::from(id)
}

/// A registry in which `n` has the session `s1` since `origin`.
fn registered(origin: Instant) -> Registry {
    let mut registry = Registry::new(PERIOD, origin);
    let found = registry.register(&n(), &session(""), &session("s1"), origin);
    assert_eq!(found, Ok(Registration::New));
    registry
}

/// Looks as often as the dispatcher does, from `from` to `to`, and returns what expired when.
fn watch(registry: &mut Registry, origin: Instant, to: Duration) -> Vec<(Duration, Expiry)> {
    let mut expired = Vec::new();
    let mut at = Duration::ZERO;
    while at < to {
        at += LOOK;
        let found = registry.expire(LOOK, origin + at);
        expired.extend(found.into_iter().map(|expiry| (at, expiry)));
    }
    expired
}

#[test]
fn the_period_varies_by_half_a_second_either_way_and_never_vanishes() {
    for (period, draw, expected) in [
        (5_000, 0.0, 4_500),
        (5_000, 0.5, 5_000),
        (5_000, 1.0, 5_500),
        (400, 0.0, 200),
        (400, 1.0, 600),
    ] {
        let found = vary(Duration::from_millis(period), draw);
        assert_eq!(found.as_millis(), expected, "{period} {draw}");
    }
}

#[test]
fn a_session_counts_only_for_its_node_and_only_with_its_id() {
    let registry = registered(origin());
    assert_eq!(registry.check(&n(), &session("s1")), Ok(()));
    assert_eq!(registry.check(&n(), &session("s2")), Err(Error::SessionInvalid));
    assert_eq!(registry.check(&n(), &session("")), Err(Error::SessionInvalid));
    assert_eq!(registry.check(&"m".into(), &session("s1")), Err(Error::NotRegistered));
}

#[test]
fn a_known_session_is_resumed_and_a_foreign_one_replaced() {
    let origin = origin();
    let mut registry = registered(origin);
    let resumed = registry.register(&n(), &session("s1"), &session("s2"), origin);
    assert_eq!(resumed, Ok(Registration::Resumed));
    assert_eq!(registry.check(&n(), &session("s1")), Ok(()));
    let replaced = registry.register(&n(), &session("old"), &session("s2"), origin);
    assert_eq!(replaced, Ok(Registration::New));
    assert_eq!(registry.check(&n(), &session("s1")), Err(Error::SessionInvalid));
    assert_eq!(registry.check(&n(), &session("s2")), Ok(()));
}

#[test]
fn a_node_registers_three_more_times_in_a_row_and_then_waits_eight_seconds() {
    let origin = origin();
    let mut registry = registered(origin);
    let mut register = |at| registry.register(&n(), &session(""), &session("s"), origin + at);
    for _ in 0..3 {
        assert_eq!(register(seconds(1)), Ok(Registration::New));
    }
    assert_eq!(register(seconds(1)), Err(Error::TooManyRegistrations(n())));
    assert_eq!(register(seconds(9)), Err(Error::TooManyRegistrations(n())));
    assert_eq!(register(Duration::from_millis(9_001)), Ok(Registration::New));
}

#[test]
fn resuming_is_not_counted() {
    let origin = origin();
    let mut registry = registered(origin);
    for _ in 0..10 {
        let resumed = registry.register(&n(), &session("s1"), &session("s2"), origin);
        assert_eq!(resumed, Ok(Registration::Resumed));
    }
}

#[test]
fn three_silent_periods_end_a_session() {
    let origin = origin();
    let mut registry = registered(origin);
    let expired = watch(&mut registry, origin, seconds(60));
    assert_eq!(expired, [(seconds(15), Expiry::Silent(n()))]);
    assert_eq!(registry.check(&n(), &session("s1")), Err(Error::NotRegistered));
}

#[test]
fn a_heartbeat_moves_the_deadline_by_the_period_it_was_told() {
    let origin = origin();
    let mut registry = registered(origin);
    let told = Duration::from_millis(4_500);
    registry.hear(&n(), &session("s1"), told, origin + seconds(10)).unwrap();
    let heard = registry.hear(&n(), &session("s2"), told, origin + seconds(14));
    assert_eq!(heard, Err(Error::SessionInvalid));
    let expired = watch(&mut registry, origin, seconds(60));
    assert_eq!(expired, [(Duration::from_millis(23_500), Expiry::Silent(n()))]);
}

#[test]
fn after_a_change_of_leader_a_node_has_six_periods_to_come_back() {
    let origin = origin();
    let mut registry = Registry::new(PERIOD, origin);
    registry.await_return(n(), origin);
    assert_eq!(registry.check(&n(), &session("")), Err(Error::SessionInvalid));
    let expired = watch(&mut registry, origin, seconds(60));
    assert_eq!(expired, [(seconds(30), Expiry::NeverReturned(n()))]);
}

#[test]
fn a_node_that_came_back_is_not_missed() {
    let origin = origin();
    let mut registry = Registry::new(PERIOD, origin);
    registry.await_return(n(), origin);
    let back = registry.register(&n(), &session("s0"), &session("s1"), origin + seconds(20));
    assert_eq!(back, Ok(Registration::New));
    assert_eq!(watch(&mut registry, origin, seconds(34)), []);
}

#[test]
fn a_lost_node_is_given_up_after_a_day_unless_it_comes_back() {
    let origin = origin();
    let day = seconds(24 * 60 * 60);
    let mut registry = Registry::new(PERIOD, origin);
    registry.remember_lost(n(), origin);
    registry.remember_lost("m".into(), origin);
    registry.register(&n(), &session(""), &session("s1"), origin).unwrap();
    registry.forget(&n());
    let expired = watch(&mut registry, origin, day + seconds(60));
    assert_eq!(expired, [(day, Expiry::Orphaned("m".into()))]);
}

#[test]
fn a_silent_node_is_given_up_a_day_after_it_was_lost() {
    let origin = origin();
    let mut registry = registered(origin);
    let lost = seconds(15);
    let day = seconds(24 * 60 * 60);
    let expired = watch(&mut registry, origin, lost + day);
    let all = [(lost, Expiry::Silent(n())), (lost + day, Expiry::Orphaned(n()))];
    assert_eq!(expired, all);
}

#[test]
fn a_pause_of_the_leader_is_not_held_against_the_nodes() {
    let origin = origin();
    let mut registry = registered(origin);
    assert_eq!(registry.expire(LOOK, origin + LOOK), []);
    assert_eq!(registry.expire(LOOK, origin + seconds(600)), []);
    assert_eq!(registry.check(&n(), &session("s1")), Ok(()));
    let mut silent = Vec::new();
    for look in 0..60 {
        silent.extend(registry.expire(LOOK, origin + seconds(600) + LOOK * look));
    }
    assert_eq!(silent, [Expiry::Silent(n())]);
}

#[test]
fn another_period_counts_from_the_next_registration_on() {
    let origin = origin();
    let mut registry = registered(origin);
    registry.set_period(seconds(1));
    registry.register(&n(), &session("s1"), &session("s2"), origin).unwrap();
    let expired = watch(&mut registry, origin, seconds(10));
    assert_eq!(expired, [(seconds(3), Expiry::Silent(n()))]);
}

#[test]
fn the_heartbeat_period_is_what_the_cluster_says_within_reason() {
    let check = |seconds, nanos, expected: Duration| {
        let heartbeat_period = Some(prost_types::Duration { seconds, nanos });
        let spec = wire::ClusterSpec {
            annotations: Some(wire::Annotations {
                name: "default".to_owned(),
                ..Default::default()
            }),
            dispatcher: Some(wire::DispatcherConfig { heartbeat_period }),
            ..Default::default()
        };
        let cluster = wire::Cluster { id: "c1".to_owned(), spec: Some(spec), ..Default::default() };
        let view = with([Object::from(Cluster::from(cluster))]);
        assert_eq!(period(&view), expected, "{seconds} s and {nanos} ns");
    };
    check(7, 0, Duration::from_secs(7));
    check(0, 0, HEARTBEAT_PERIOD);
    check(0, 100_000_000, HEARTBEAT_PERIOD_MIN);
    check(0, 99_999_999, HEARTBEAT_PERIOD_MIN);
    check(0, 1, HEARTBEAT_PERIOD_MIN);
    assert_eq!(period(&View::default()), HEARTBEAT_PERIOD);
}
