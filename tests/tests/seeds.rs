//! The fixed seeds of CI: a minute of faults each, all promises kept, every fault fired and every
//! checker used.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use tests::{
    counts::Total,
    run::{Family, Report, Story, run},
};

const SEEDS: u64 = 200;
/// As many of them once more, with the loops of leaders over an agent.
const SEEDS_WITH_LOOPS: u64 = 40;
/// And as many where machines have certificates, too.
const SEEDS_OF_SWARMS: u64 = 40;
const VIRTUAL_TIME: Duration = Duration::from_secs(60);

/// Recorded by `sim --record`; `just sim-check` compares the same file with a release build.
const TRACES: &str = include_str!("../data/traces.tsv");

fn run_all(seeds: u64, run: fn(u64) -> Report) -> Vec<Report> {
    let next = AtomicU64::new(1);
    let worker = || {
        let mut reports = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > seeds {
                return reports;
            }
            reports.push(run(seed));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let reports = workers.into_iter().map(|worker| worker.join().expect("a seed has failed"));
        reports.flatten().collect()
    })
}

fn hold(family: Family, seed: u64) -> Report {
    Story::drawn(family, seed, VIRTUAL_TIME, &[]).hold()
}

#[test]
fn all_promises_are_kept() {
    let reports = run_all(SEEDS, |seed| run(seed, VIRTUAL_TIME));
    assert_eq!(reports.len() as u64, SEEDS);
    let with_loops = run_all(SEEDS_WITH_LOOPS, |seed| hold(Family::Loops, seed));
    assert_eq!(with_loops.len() as u64, SEEDS_WITH_LOOPS);
    let swarms = run_all(SEEDS_OF_SWARMS, |seed| hold(Family::Swarm, seed));
    assert_eq!(swarms.len() as u64, SEEDS_OF_SWARMS);
    let mut total = Total::default();
    let all = reports.iter().chain(&with_loops).chain(&swarms);
    all.for_each(|report| total.add(&report.counts));
    println!("{total}");
    assert_eq!(total.missing(), Vec::<&str>::new(), "never fired, or never compared");
    let recorded: Vec<(u64, &str)> = TRACES
        .lines()
        .map(|line| line.split_once('\t').expect("SEED, a tab, TRACE"))
        .map(|(seed, trace)| (seed.parse().expect("a seed"), trace))
        .collect();
    assert!(recorded.len() >= 8, "some seeds have a recorded trace");
    for (seed, trace) in recorded {
        let report = reports.iter().find(|report| report.seed == seed).expect("one of the seeds");
        assert_eq!(format!("{:016x}", report.hash), trace, "seed {seed}; see docs/simulation.md");
    }
}

#[test]
fn a_seed_repeats_itself() {
    let twice = [7, 7].map(|seed| run(seed, Duration::from_secs(20)));
    assert_eq!(twice[0].hash, twice[1].hash);
    assert_eq!(twice[0].counts, twice[1].counts);
    assert_ne!(twice[0].hash, run(8, Duration::from_secs(20)).hash);
}
