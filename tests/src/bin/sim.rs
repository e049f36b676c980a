//! Replays seeds of the simulated world: `sim SEED`, or `sim --check FILE` for all of a file.

use std::{env, fs, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tests::{
    counts::Total,
    run::{Report, hush_wanted_deaths, run},
};

/// How long faults last in one run, in virtual time.
const VIRTUAL_TIME: Duration = Duration::from_secs(60);

const USAGE: &str = "sim SEED | sim --check FILE | sim --record SEED...";

fn main() -> ExitCode {
    hush_wanted_deaths();
    let arguments: Vec<_> = env::args().skip(1).collect();
    match answer(&arguments) {
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

fn answer(arguments: &[String]) -> Result<()> {
    match arguments {
        [flag, file] if flag == "--check" => check(file),
        [flag, seeds @ ..] if flag == "--record" => record(seeds),
        [seed] => {
            replay(number(seed)?);
            Ok(())
        }
        _ => bail!("usage: {USAGE}"),
    }
}

fn number(text: &str) -> Result<u64> {
    text.parse().with_context(|| format!("{text:?} is no seed; usage: {USAGE}"))
}

#[expect(clippy::print_stdout, reason = "this is a tool")]
fn replay(seed: u64) {
    let Report { hash, events, counts, took, .. } = run(seed, VIRTUAL_TIME);
    let mut total = Total::default();
    total.add(&counts);
    print!("{total}");
    println!("seed {seed}: trace {hash:016x}, {events} events, {:.2} s", took.as_secs_f64());
}

/// Prints the lines of a file for `--check`.
#[expect(clippy::print_stdout, reason = "this is a tool")]
fn record(seeds: &[String]) -> Result<()> {
    for seed in seeds {
        let seed = number(seed)?;
        println!("{seed}\t{:016x}", run(seed, VIRTUAL_TIME).hash);
    }
    Ok(())
}

/// Compares the traces of a file with what this build does.
#[expect(clippy::print_stdout, reason = "this is a tool")]
fn check(file: &str) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?;
    for line in text.lines() {
        let (seed, expected) = line.split_once('\t').context("a line is SEED, a tab, TRACE")?;
        let seed = number(seed)?;
        let found = format!("{:016x}", run(seed, VIRTUAL_TIME).hash);
        ensure!(found == expected, "seed {seed} has trace {found}, and {file} says {expected}");
        println!("seed {seed}: trace {found} as recorded");
    }
    Ok(())
}
