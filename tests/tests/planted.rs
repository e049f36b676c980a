//! Every bug that can be planted is found by the fixed seeds, and by the checker that has to find
//! it. Runs in a build with the feature `planted` alone: `cargo test -p tests --features planted`.

#![cfg(feature = "planted")]

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use actors::planted::{Bug, plant};
use tests::{
    run::{Family, Story},
    trace::Filter,
};

/// So many of the fixed seeds may pass before a bug has to be found by one of its checkers; another may
/// see what comes of it in a seed before.
const SEEDS_MAX: u64 = 60;

/// Which checkers have to find a bug, one of them, in the seeds of members and their clients.
const FOUND_BY: &[(Bug, &[&str])] = &[
    (Bug::AcknowledgeBeforeSync, &["acknowledged", "logs", "deaths", "views"]),
    (Bug::TailDroppedSilently, &["answers"]),
    (Bug::ResyncLost, &["subscribers"]),
    (Bug::DecidedOnCommitted, &["views"]),
    (Bug::BatchAppend, &["messages", "logs"]),
    (Bug::VersionNotRising, &["versions"]),
    (Bug::IndexLeftBehind, &["indices"]),
    (Bug::NameFreedEarly, &["names"]),
    (Bug::SnapshotMissesKind, &["views"]),
    (Bug::PermitLeaked, &["permits"]),
    (Bug::SentBeforeSaved, &["logs", "leaders", "deaths", "acknowledged", "members"]),
];

/// The same, in the seeds where leaders run their loops.
const FOUND_WITH_LOOPS_BY: &[(Bug, &[&str])] = &[
    (Bug::LoopsOutliveTerm, &["loops"]),
    (Bug::StaleTimer, &["restarts"]),
    (Bug::SlotsOfCommitted, &["slots"]),
    (Bug::GraceTooShort, &["agents"]),
    (Bug::NeverDoubts, &["agents"]),
    (Bug::StopsUntold, &["agents", "restarts", "replicas"]),
    (Bug::StatusFalls, &["states"]),
];

/// The same, in the seeds where machines have certificates.
const FOUND_IN_A_SWARM_BY: &[(Bug, &[&str])] =
    &[(Bug::RemovedStillServed, &["removed", "identities"]), (Bug::AnyTokenLetsIn, &["tokens"])];

/// Runs the fixed seeds until one of these checkers fails; says in which seed, and how.
fn hunt(bug: Bug, family: Family, checkers: &[&str]) -> Option<(u64, String, String)> {
    plant(Some(bug));
    let found = (1..=SEEDS_MAX).find_map(|seed| {
        let story = Story::drawn(family, seed, Duration::from_secs(60), &[]);
        let failure = story.attempt(&Filter::default()).err()?;
        let found = (seed, failure.checker, failure.text);
        checkers.contains(&found.1.as_str()).then_some(found)
    });
    plant(None);
    found
}

#[test]
fn every_planted_bug_is_found() {
    let families = [
        (Family::Members, FOUND_BY),
        (Family::Loops, FOUND_WITH_LOOPS_BY),
        (Family::Swarm, FOUND_IN_A_SWARM_BY),
    ];
    let hunts = families.into_iter().flat_map(|(family, bugs)| {
        bugs.iter().map(move |(bug, checkers)| (*bug, *checkers, family))
    });
    let hunts: Vec<_> = hunts.collect();
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut missed = Vec::new();
        while let Some((bug, checkers, family)) = hunts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = hunt(*bug, *family, checkers);
            println!("{bug:?}: {found:?}");
            if found.is_none() {
                missed.push(format!("{bug:?} by {checkers:?}"));
            }
        }
        missed
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let missed: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let missed = workers.into_iter().map(|worker| worker.join().expect("a run catches panics"));
        missed.flatten().collect()
    });
    assert!(missed.is_empty(), "not found as they should be:\n{}", missed.join("\n"));
}
