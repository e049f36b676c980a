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
    logic::registry::{Expiry, Heard, Known, Registration, Registry, vary},
    period,
};

pub(super) const PERIOD: Duration = Duration::from_secs(5);
pub(super) const LOOK: Duration = Duration::from_millis(500);

#[expect(clippy::disallowed_methods, reason = "any moment does: only differences count")]
pub(super) fn origin() -> Instant {
    Instant::now()
}

pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn n() -> NodeId {
    NodeId::from("n")
}

pub(super) fn session(id: &str) -> SessionId {
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
fn a_healthy_node_may_start_anew_as_often_as_it_likes() {
    let origin = origin();
    let mut registry = registered(origin);
    for life in 1..10 {
        registry.hear(&n(), Heard { at: origin, told: PERIOD });
        let fresh = session(&format!("life {life}"));
        assert_eq!(registry.register(&n(), &session(""), &fresh, origin), Ok(Registration::New));
    }
    for presented in ["lost", "lost", "lost", "lost"] {
        registry.hear(&n(), Heard { at: origin, told: PERIOD });
        registry.register(&n(), &session(presented), &session("s"), origin).ok();
    }
    let refused = registry.register(&n(), &session("lost"), &session("s"), origin);
    assert_eq!(refused, Err(Error::TooManyRegistrations(n())), "it goes on with what it has lost");
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
    registry.hear(&n(), Heard { at: origin + seconds(10), told });
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
fn however_short_the_period_an_agent_that_waits_to_call_again_has_the_time_to() {
    let origin = origin();
    let mut registry = Registry::new(seconds(1), origin);
    registry.await_return(n(), origin);
    let expired = watch(&mut registry, origin, seconds(60));
    assert_eq!(expired, [(seconds(15), Expiry::NeverReturned(n()))]);
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
fn whoever_is_heard_during_a_pause_has_its_grace_after_it_and_no_more() {
    for (heard, expected) in [(None, 14), (Some(600), 15), (Some(5_000), 15), (Some(20_000), 15)] {
        let origin = origin();
        let mut registry = registered(origin);
        assert_eq!(registry.expire(LOOK, origin + LOOK), []);
        if let Some(heard) = heard.map(Duration::from_millis) {
            registry.hear(&n(), Heard { at: origin + heard, told: PERIOD });
        }
        let late = origin + seconds(20);
        assert_eq!(registry.expire(LOOK, late), [], "{heard:?}");
        let expired = watch(&mut registry, late, seconds(60));
        assert_eq!(expired, [(seconds(expected), Expiry::Silent(n()))], "{heard:?}");
    }
}

#[test]
fn a_heartbeat_that_is_noted_late_takes_back_no_pause_that_was_forgiven() {
    let origin = origin();
    let mut registry = registered(origin);
    registry.expire(LOOK, origin + LOOK);
    registry.expire(LOOK, origin + seconds(600));
    registry.hear(&n(), Heard { at: origin + LOOK, told: PERIOD });
    let expired = watch(&mut registry, origin + seconds(600), seconds(60));
    assert_eq!(expired, [(seconds(14), Expiry::Silent(n()))]);
}

#[test]
fn what_is_known_of_a_session_is_said_whenever_it_changes() {
    let origin = origin();
    let mut registry = Registry::new(PERIOD, origin);
    let is = |session_id| Known::Session(session(session_id));
    let mut check = |step: &mut dyn FnMut(&mut Registry), expected: &[Known]| {
        step(&mut registry);
        let changed = registry.take_changed();
        assert!(changed.iter().all(|(node, _)| *node == n()), "{changed:?}");
        let found: Vec<_> = changed.into_iter().map(|(_, known)| known).collect();
        assert_eq!(found, expected);
    };
    let mut register = |presented, fresh: &'static str, expected: &[Known]| {
        let (presented, fresh) = (session(presented), session(fresh));
        let ask =
            |registry: &mut Registry| drop(registry.register(&n(), &presented, &fresh, origin));
        check(&mut { ask }, expected);
    };
    register("", "s1", &[is("s1")]);
    register("s1", "s2", &[]);
    register("lost", "s3", &[is("s3")]);
    check(&mut |registry| drop(watch(registry, origin, seconds(20))), &[Known::Nothing]);
    check(&mut |registry| registry.forget(&n()), &[]);
    check(&mut |registry| registry.remember_lost(n(), origin), &[]);
    check(&mut |registry| registry.await_return(n(), origin), &[Known::Awaited]);
    check(&mut |registry| registry.hear(&n(), Heard { at: origin, told: PERIOD }), &[]);
    check(&mut |registry| registry.forget_others(|_| false), &[Known::Nothing]);
}

#[test]
fn a_short_pause_is_forgiven_where_silence_is_short() {
    let (origin, millis) = (origin(), Duration::from_millis);
    let (period, look) = (millis(100), millis(100));
    let mut registry = Registry::new(period, origin);
    registry.register(&n(), &session(""), &session("s1"), origin).unwrap();
    registry.answer(&n(), origin);
    for at in [100, 290, 380] {
        assert_eq!(registry.expire(look, origin + millis(at)), [], "{at}");
    }
    assert_eq!(registry.expire(look, origin + millis(480)), [Expiry::Silent(n())]);
}

#[test]
fn whoever_was_told_a_far_longer_period_is_woken() {
    for (before, after, is_woken) in
        [(36_000, 5, true), (16, 5, true), (15, 5, false), (7, 5, false), (5, 36_000, false)]
    {
        let origin = origin();
        let mut registry = Registry::new(seconds(before), origin);
        registry.register(&n(), &session(""), &session("s1"), origin).unwrap();
        registry.await_return("m".into(), origin);
        registry.set_period(seconds(after));
        let woken = registry.wake(origin + seconds(1));
        assert_eq!(woken.contains(&n()), is_woken, "{before} {after}");
        assert!(!woken.contains(&"m".into()), "it has no session to resume");
        assert_eq!(registry.check(&n(), &session("s1")), Ok(()));
        if is_woken {
            let all = [
                (seconds(16), Expiry::Silent(n())),
                (seconds(31), Expiry::NeverReturned("m".into())),
            ];
            assert_eq!(watch(&mut registry, origin, seconds(60)), all, "{before}");
        }
    }
}

#[test]
fn removed_nodes_are_forgotten_with_or_without_a_connection() {
    let origin = origin();
    let mut registry = registered(origin);
    registry.remember_lost("m".into(), origin);
    registry.forget_others(|node| *node != n());
    assert_eq!(registry.sessions(), 0);
    registry.forget_others(|_| false);
    assert_eq!(watch(&mut registry, origin, seconds(24 * 60 * 60 + 60)), []);
}

#[test]
fn another_period_counts_from_the_next_registration_on() {
    let origin = origin();
    let mut registry = registered(origin);
    registry.set_period(seconds(1));
    registry.register(&n(), &session("s1"), &session("s2"), origin).unwrap();
    registry.answer(&n(), origin);
    let expired = watch(&mut registry, origin, seconds(10));
    assert_eq!(expired, [(seconds(3), Expiry::Silent(n()))]);
}

#[test]
fn a_registration_has_ten_seconds_to_be_answered() {
    for (period, silent_after) in [(1, 10), (5, 15)] {
        for presented in ["", "s1"] {
            let origin = origin();
            let mut registry = Registry::new(seconds(period), origin);
            registry.register(&n(), &session(""), &session("s1"), origin).unwrap();
            registry.answer(&n(), origin);
            registry.register(&n(), &session(presented), &session("s2"), origin).unwrap();
            let expired = watch(&mut registry, origin, seconds(20));
            assert_eq!(expired, [(seconds(silent_after), Expiry::Silent(n()))], "{presented}");
        }
    }
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
