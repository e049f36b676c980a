//! Runs seeds of the simulated world, replays one, and shortens one that fails.

use std::{
    fs,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use tests::{
    counts::Total,
    plan::Kind,
    run::{Failure, Family, Report, Story},
    shrink::shrink,
    trace::Filter,
};

/// How many runs shortening a story may take.
const SHRINK_RUNS_MAX: usize = 300;

/// Breaks simulated members in virtual time, and holds them to their promises.
#[derive(Parser)]
#[command(name = "sim")]
struct Options {
    /// Replay this seed.
    #[arg(conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run so many seeds.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1, conflicts_with = "seed")]
    from: u64,
    /// How long faults come and go in each run, in virtual minutes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    minutes: u64,
    /// Let whoever leads run the loops of a leader, over agents that run tasks.
    #[arg(long)]
    loops: bool,
    /// The same, of machines with certificates that join by token and change their roles.
    #[arg(long, conflicts_with = "loops")]
    swarm: bool,
    /// Only these kinds of faults.
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Vec<Kind>,
    /// Show what these members or actors do, mailboxes included: `m1` or `m1/core/raft`.
    #[arg(long, value_delimiter = ',', requires = "seed")]
    only: Vec<String>,
    /// Take faults away from a seed that fails, as long as it fails.
    #[arg(long, requires = "seed")]
    shrink: bool,
    /// Print the lines of a file for `--check`.
    #[arg(long, num_args = 1.., conflicts_with_all = ["seed", "check"])]
    record: Vec<u64>,
    /// Compare the traces of a file with what this build does.
    #[arg(long, conflicts_with = "seed")]
    check: Option<String>,
}

fn main() -> ExitCode {
    match answer(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "this is a tool")]
            {
                eprintln!("Error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn answer(options: &Options) -> Result<()> {
    options.check_faults()?;
    match (options.seed, &options.check) {
        (Some(seed), _) => replay(options, seed),
        (None, Some(file)) => check(file),
        (None, None) if !options.record.is_empty() => record(&options.record),
        (None, None) => run_all(options),
    }
}

impl Options {
    fn family(&self) -> Family {
        match (self.loops, self.swarm) {
            (false, false) => Family::Members,
            (true, _) => Family::Loops,
            (false, true) => Family::Swarm,
        }
    }

    /// A run without faults proves nothing.
    fn check_faults(&self) -> Result<()> {
        let unknown = self.faults.iter().find(|kind| !self.family().knows(**kind));
        let name = |kind: &Kind| kind.to_possible_value().map(|it| it.get_name().to_owned());
        match unknown.and_then(name) {
            Some(name) => anyhow::bail!("--faults {name} does not come up in these runs"),
            None => Ok(()),
        }
    }

    fn story(&self, seed: u64) -> Story {
        let time = Duration::from_secs(60 * self.minutes);
        Story::drawn(self.family(), seed, time, &self.faults)
    }
}

/// Runs one seed, and shows what happened.
#[expect(clippy::print_stdout, reason = "this is a tool")]
fn replay(options: &Options, seed: u64) -> Result<()> {
    let story = options.story(seed);
    let (filter, wants_events) =
        (Filter { actors: options.only.clone() }, !options.only.is_empty());
    match story.attempt(&filter) {
        Ok(report) => {
            if wants_events {
                report.last_events.iter().for_each(|event| println!("{event}"));
            }
            let mut total = Total::default();
            total.add(&report.counts);
            print!("{total}");
            let Report { hash, events, .. } = report;
            println!("seed {seed}: trace {hash:016x}, {events} events, {}", pace(&[report]));
            ensure!(
                !options.shrink,
                "seed {seed} keeps every promise: there is nothing to shorten"
            );
            Ok(())
        }
        Err(failure) if options.shrink => {
            println!("{} faults: {}", story.faults.len(), failure.text);
            let shrunk = shrink(&story, failure, SHRINK_RUNS_MAX);
            println!("{}", shrunk.failure);
            let faults = shrunk.story.faults.len();
            println!("\n{faults} faults are enough, found in {} runs:\n", shrunk.runs);
            println!("{}", shrunk.scenario());
            anyhow::bail!("seed {seed} has failed")
        }
        Err(failure) => Err(tell(seed, &failure)),
    }
}

/// Runs a range of seeds on all processors.
#[expect(clippy::print_stdout, reason = "this is a tool")]
#[expect(clippy::disallowed_methods, reason = "how many seeds a minute takes is only printed")]
fn run_all(options: &Options) -> Result<()> {
    let (began, next) = (Instant::now(), AtomicU64::new(options.from));
    let end = options.from.saturating_add(options.seeds);
    let worker = || {
        let mut reports = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return Ok(reports);
            }
            match options.story(seed).attempt(&Filter::default()) {
                Ok(report) => reports.push(report),
                Err(failure) => {
                    next.store(end, Ordering::Relaxed);
                    return Err((seed, failure));
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a run catches panics")).collect()
    });
    let mut reports = Vec::new();
    for outcome in outcomes {
        reports.extend(outcome.map_err(|(seed, failure)| tell(seed, &failure))?);
    }
    let mut total = Total::default();
    reports.iter().for_each(|report| total.add(&report.counts));
    print!("{total}");
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let per_minute = reports.len() as f64 / minutes;
    println!("{} seeds, {per_minute:.0} a minute, {}", reports.len(), pace(&reports));
    Ok(())
}

/// How fast virtual time passed.
fn pace(reports: &[Report]) -> String {
    let sum = |time: fn(&Report) -> Duration| reports.iter().map(time).sum::<Duration>();
    let (virtually, really) = (sum(|report| report.lasted), sum(|report| report.took));
    let ratio = virtually.as_secs_f64() / really.as_secs_f64().max(1e-9);
    format!("{ratio:.0} virtual seconds per second of a processor")
}

/// Prints what led to a failure, and returns the rest as an error.
#[expect(clippy::print_stdout, reason = "this is a tool")]
fn tell(seed: u64, failure: &Failure) -> anyhow::Error {
    println!("{failure}");
    anyhow::anyhow!("seed {seed} has failed; `just sim {seed} --shrink` makes it shorter")
}

/// Prints the lines of a file for `--check`.
#[expect(clippy::print_stdout, reason = "this is a tool")]
fn record(seeds: &[u64]) -> Result<()> {
    for seed in seeds {
        println!("{seed}\t{:016x}", trace_of(*seed)?);
    }
    Ok(())
}

/// Compares the traces of a file with what this build does.
#[expect(clippy::print_stdout, reason = "this is a tool")]
fn check(file: &str) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?;
    for line in text.lines() {
        let (seed, expected) = line.split_once('\t').context("a line is SEED, a tab, TRACE")?;
        let seed: u64 = seed.parse().with_context(|| format!("{seed:?} is no seed"))?;
        let found = format!("{:016x}", trace_of(seed)?);
        ensure!(found == expected, "seed {seed} has trace {found}, and {file} says {expected}");
        println!("seed {seed}: trace {found} as recorded");
    }
    Ok(())
}

fn trace_of(seed: u64) -> Result<u64> {
    let story = Story::drawn(Family::Members, seed, Duration::from_secs(60), &[]);
    let report = story.attempt(&Filter::default());
    report.map(|report| report.hash).map_err(|failure| tell(seed, &failure))
}

#[cfg(test)]
mod options_tests {
    use super::*;

    #[test]
    fn faults_that_do_not_come_up_are_refused() {
        for (line, refused) in [
            ("", None),
            ("--faults exits", Some("exits")),
            ("--loops --faults exits,crash", None),
            ("--loops --faults crash,membership", Some("membership")),
            ("--swarm --faults power-cut,broken-disk", None),
            ("--swarm --faults membership", Some("membership")),
        ] {
            let words = ["sim"].into_iter().chain(line.split_whitespace());
            let checked = Options::parse_from(words).check_faults();
            let expected =
                refused.map(|name| format!("--faults {name} does not come up in these runs"));
            assert_eq!(checked.err().map(|error| error.to_string()), expected, "{line}");
        }
    }
}
