//! Every bug that can be planted is found by the fixed seeds, and by the checker that has to find
//! it. Runs in a build with the feature `planted` alone: `cargo test -p tests --features planted`.

#![cfg(feature = "planted")]

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use actors::planted::{Bug, plant};
use tests::{run::Story, trace::Filter};

/// So many of the fixed seeds may pass before a bug has to be found.
const SEEDS_MAX: u64 = 60;

/// Which checkers may find a bug first, in the seeds of members and their clients.
const FOUND_BY: &[(Bug, &[&str])] = &[
    (Bug::AcknowledgeBeforeSync, &["acknowledged", "logs", "deaths", "views"]),
    (Bug::TailDroppedSilently, &["answers"]),
    (Bug::ResyncLost, &["subscribers"]),
    (Bug::DecidedOnCommitted, &["views"]),
    (Bug::BatchAppend, &["messages"]),
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
];

/// Runs the fixed seeds until one fails; says which, and how.
fn hunt(bug: Bug, with_loops: bool) -> Option<(u64, String, String)> {
    plant(Some(bug));
    let draw = if with_loops { Story::drawn_with_loops } else { Story::drawn };
    let found = (1..=SEEDS_MAX).find_map(|seed| {
        let story = draw(seed, Duration::from_secs(60), &[]);
        let failure = story.attempt(&Filter::default()).err()?;
        Some((seed, failure.checker, failure.text))
    });
    plant(None);
    found
}

#[test]
fn every_planted_bug_is_found() {
    let hunts = FOUND_BY.iter().map(|(bug, checkers)| (*bug, *checkers, false));
    let with_loops = FOUND_WITH_LOOPS_BY.iter().map(|(bug, checkers)| (*bug, *checkers, true));
    let hunts: Vec<_> = hunts.chain(with_loops).collect();
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut missed = Vec::new();
        while let Some((bug, checkers, with_loops)) =
            hunts.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let found = hunt(*bug, *with_loops);
            println!("{bug:?}: {found:?}");
            if !found.as_ref().is_some_and(|(_, by, _)| checkers.contains(&by.as_str())) {
                missed.push(format!("{bug:?} by {checkers:?}: {found:?}"));
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
