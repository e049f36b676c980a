//! The table of valid sessions, over hand-made time and from many threads.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

use protocol::id::NodeId;
use rand::{SeedableRng, rngs::StdRng};

use super::registry::{PERIOD, origin, seconds, session};
use crate::dispatcher::{
    Error,
    logic::registry::{Heard, Known},
    sessions::Sessions,
};

/// A table that says of each node what is known of it.
fn table<'a>(known: impl IntoIterator<Item = (&'a str, Known)>) -> Sessions {
    let sessions = Sessions::default();
    sessions.open(PERIOD);
    change(&sessions, known);
    sessions
}

fn change<'a>(sessions: &Sessions, known: impl IntoIterator<Item = (&'a str, Known)>) {
    let changed = known.into_iter().map(|(node, known)| (node.into(), known)).collect();
    sessions.follow(PERIOD, changed, &mut StdRng::seed_from_u64(1));
}

fn valid(id: &str) -> Known {
    Known::Session(session(id))
}

fn hear(sessions: &Sessions, node: &str, id: &str, at: Instant) -> Result<Duration, Error> {
    sessions.hear(&node.into(), &session(id), at)
}

#[test]
fn whoever_has_no_valid_session_is_refused() {
    let sessions = table([("n", valid("s1")), ("awaited", Known::Awaited)]);
    for (node, id, expected) in [
        ("n", "", Error::SessionInvalid),
        ("n", "s2", Error::SessionInvalid),
        ("awaited", "s1", Error::SessionInvalid),
        ("awaited", "", Error::SessionInvalid),
        ("stranger", "s1", Error::NotRegistered),
        ("stranger", "", Error::NotRegistered),
    ] {
        assert_eq!(hear(&sessions, node, id, origin()), Err(expected), "{node} {id:?}");
    }
    assert_eq!(sessions.take_all(), [], "nobody was heard");
    assert!(hear(&sessions, "n", "s1", origin()).is_ok());
}

#[test]
fn what_was_answered_is_taken_once() {
    let origin = origin();
    let sessions = table([("m", valid("s1")), ("n", valid("s2")), ("silent", valid("s3"))]);
    let heard = |node, id, at: Instant| {
        let told = hear(&sessions, node, id, at).expect("a valid session");
        (NodeId::from(node), Heard { at, told })
    };
    let all = [heard("m", "s1", origin), heard("n", "s2", origin + seconds(1))];
    assert_eq!(sessions.take_all(), all);
    assert_eq!(sessions.take_all(), []);
    let (_, again) = heard("n", "s2", origin + seconds(2));
    assert_eq!(sessions.take(&"m".into()), None);
    assert_eq!(sessions.take(&"n".into()), Some(again));
    assert_eq!(sessions.take(&"n".into()), None);
}

#[test]
fn the_latest_heartbeat_counts_whichever_thread_was_held_up() {
    let origin = origin();
    let sessions = table([("n", valid("s1"))]);
    let told = hear(&sessions, "n", "s1", origin + seconds(9)).expect("a valid session");
    hear(&sessions, "n", "s1", origin).expect("a valid session");
    assert_eq!(sessions.take(&"n".into()), Some(Heard { at: origin + seconds(9), told }));
}

#[test]
fn a_session_that_is_over_takes_what_was_heard_with_it() {
    let sessions = table([("m", valid("s1")), ("n", valid("s2")), ("o", valid("s3"))]);
    for (node, id) in [("m", "s1"), ("n", "s2"), ("o", "s3")] {
        hear(&sessions, node, id, origin()).expect("a valid session");
    }
    change(&sessions, [("m", valid("s4")), ("n", Known::Nothing), ("o", Known::Awaited)]);
    assert_eq!(hear(&sessions, "m", "s1", origin()), Err(Error::SessionInvalid));
    assert_eq!(hear(&sessions, "n", "s2", origin()), Err(Error::NotRegistered));
    assert_eq!(hear(&sessions, "o", "s3", origin()), Err(Error::SessionInvalid));
    assert_eq!(sessions.take_all(), []);
    assert!(hear(&sessions, "m", "s4", origin()).is_ok());
}

#[test]
fn without_a_dispatcher_nobody_is_heard_and_nothing_changes() {
    let sessions = Sessions::default();
    let is_stopped = || {
        assert_eq!(hear(&sessions, "n", "s1", origin()), Err(Error::Stopped));
        assert_eq!(sessions.take_all(), []);
        assert_eq!(sessions.take(&"n".into()), None);
    };
    is_stopped();
    change(&sessions, [("n", valid("s1"))]);
    is_stopped();
    sessions.open(PERIOD);
    change(&sessions, [("n", valid("s1"))]);
    assert!(hear(&sessions, "n", "s1", origin()).is_ok());
    sessions.close();
    change(&sessions, [("n", valid("s1"))]);
    is_stopped();
    sessions.open(PERIOD);
    assert_eq!(hear(&sessions, "n", "s1", origin()), Err(Error::NotRegistered), "a new one");
}

#[test]
fn every_answer_varies_and_a_run_repeats() {
    let told = |period: Duration| {
        let sessions = table([("n", valid("s1"))]);
        sessions.follow(period, Vec::new(), &mut StdRng::seed_from_u64(1));
        (0..100).map(|_| hear(&sessions, "n", "s1", origin()).unwrap()).collect::<Vec<_>>()
    };
    for period in [PERIOD, seconds(30)] {
        let all = told(period);
        let half = Duration::from_millis(500);
        assert!(all.iter().all(|told| (period - half..=period + half).contains(told)), "{all:?}");
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 100, "{all:?}");
        let (shortest, longest) = (all.iter().min().unwrap(), all.iter().max().unwrap());
        assert!(*longest - *shortest > half, "{all:?}");
        assert_eq!(told(period), all);
    }
}

#[test]
fn what_any_thread_was_answered_is_taken_whatever_changes_meanwhile() {
    let origin = origin();
    let names: Vec<_> = (0..4).map(|number| format!("n{number}")).collect();
    let sessions = table(names.iter().map(|name| (name.as_str(), valid("s"))));
    let mut taken = BTreeMap::new();
    thread::scope(|scope| {
        let beat = |name: &String| {
            let (sessions, name) = (sessions.clone(), name.clone());
            scope.spawn(move || {
                let mut last = None;
                for number in 0..2_000 {
                    let at = origin + Duration::from_millis(number);
                    let told = hear(&sessions, &name, "s", at).expect("a valid session");
                    last = Some((NodeId::from(name.as_str()), Heard { at, told }));
                }
                last.expect("it was heard")
            })
        };
        let threads: Vec<_> = names.iter().map(beat).collect();
        let mut others = (0..50).cycle();
        while !threads.iter().all(|thread| thread.is_finished()) {
            let other = format!("other {}", others.next().expect("it has no end"));
            change(&sessions, [(&*other, valid("s"))]);
            taken.extend(sessions.take_all());
        }
        taken.extend(sessions.take_all());
        let last: BTreeMap<_, _> = threads.into_iter().map(|it| it.join().unwrap()).collect();
        assert_eq!(taken, last);
    });
}
