//! Times the scheduler: decisions alone, with the store's updates, through raft and a real disk.
//! `cargo bench -p tests --bench scheduler` repeats every figure it prints.
//!
//! The shape is that of SwarmKit's own bench: tasks are there and PENDING, and the clock runs from
//! the scheduler's start until the last is ASSIGNED in a view. Each run is a process of its own.

mod decide;
mod place;
mod raft;
mod shape;

use std::{
    collections::BTreeMap,
    env, fs,
    process::Command,
    time::{Duration, Instant},
};

use shape::{Asks, Shape};

/// What one run measured, by name: seconds, except where it is memory.
type Figures = BTreeMap<&'static str, f64>;

/// One way to measure a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The decisions alone, on a view.
    Decide,
    /// The scheduler and the store, without raft.
    Store,
    /// The scheduler, the store, raft and the log on a disk.
    Raft,
}

impl Way {
    const ALL: [Self; 3] = [Self::Decide, Self::Store, Self::Raft];

    fn name(self) -> &'static str {
        match self {
            Self::Decide => "decisions alone",
            Self::Store => "with the store",
            Self::Raft => "raft and fsync",
        }
    }

    fn run(self, shape: Shape) -> Figures {
        match self {
            Self::Decide => decide::run(shape),
            Self::Store => place::run(shape),
            Self::Raft => raft::run(shape),
        }
    }
}

/// Every row: how it is measured, how often, and what.
fn rows() -> Vec<(Way, usize, Shape)> {
    let shape = |nodes, tasks, asks| Shape { nodes, tasks, asks };
    let small = [1_000, 10_000, 100_000].map(|tasks| (5, shape(1_000, tasks, Asks::Nothing)));
    let large = [
        (5, shape(1_000, 100_000, Asks::Service)),
        (5, shape(10_000, 100_000, Asks::Nothing)),
        (5, shape(5_000, 100_000, Asks::Plugin)),
        (3, shape(100_000, 100_000, Asks::Nothing)),
        (3, shape(100_000, 100_000, Asks::Service)),
        (1, shape(100_000, 1_000_000, Asks::Nothing)),
    ];
    let mut rows = Vec::new();
    for way in [Way::Decide, Way::Store] {
        let all = small.into_iter().chain(large);
        rows.extend(all.map(|(runs, shape)| (way, runs, shape)));
    }
    rows.extend(small.into_iter().map(|(runs, shape)| (Way::Raft, runs.min(3), shape)));
    rows
}

fn main() {
    let arguments: Vec<_> = env::args().skip(1).filter(|one| one != "--bench").collect();
    if let [way, nodes, tasks, asks] = &arguments[..] {
        let number = |text: &String| text.parse().expect("a number");
        let asks = Asks::named(asks);
        let shape = Shape { nodes: number(nodes), tasks: number(tasks), asks };
        let way = Way::ALL.into_iter().find(|one| one.name() == way).expect("a way");
        return report(&way.run(shape));
    }
    let only = arguments.first();
    for (way, runs, shape) in rows() {
        if only.is_none_or(|only| only == way.name()) {
            row(way, runs, shape);
        }
    }
}

/// Prints what a run measured, for the process that started it.
#[expect(clippy::print_stdout, reason = "it is read by the parent")]
fn report(figures: &Figures) {
    for (name, figure) in figures {
        println!("{name}\t{figure}");
    }
}

/// Measures a shape so many times, and prints the median of each figure.
#[expect(clippy::print_stdout, reason = "it prints what it measured")]
fn row(way: Way, runs: usize, shape: Shape) {
    let mut figures: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..runs {
        let own = env::current_exe().expect("this is a program");
        let numbers = [shape.nodes, shape.tasks].map(|number| number.to_string());
        let asks = shape.asks.name();
        let output = Command::new(own).arg(way.name()).args(numbers).arg(asks).output();
        let output = output.expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for line in String::from_utf8(output.stdout).expect("our own text").lines() {
            let (name, figure) = line.split_once('\t').expect("a name and a figure");
            let figure = figure.parse().expect("a number");
            figures.entry(name.to_owned()).or_default().push(figure);
        }
    }
    let shown = figures.into_iter().map(|(name, mut figures)| {
        figures.sort_by(f64::total_cmp);
        let median = figures[figures.len() / 2];
        match name.ends_with("MiB") || name.ends_with("ns") {
            true => format!("{name} {median:.0}"),
            false => format!("{name} {:.1?}", Duration::from_secs_f64(median)),
        }
    });
    let Shape { nodes, tasks, asks } = shape;
    println!(
        "{:<15} {nodes:>6} nodes {tasks:>7} tasks {:<7} | {}",
        way.name(),
        asks.name(),
        shown.collect::<Vec<_>>().join(" | ")
    );
}

/// The most memory that this process ever had, in MiB.
fn peak() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let amount = line.and_then(|line| line.split_whitespace().next());
    amount.and_then(|amount| amount.parse::<f64>().ok()).expect("a number of kilobytes") / 1024.0
}

/// For how long the threads of a name have had a processor. What else the machine does makes them
/// wait, and is not in here.
fn busy(thread: &str) -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("this is Linux").flatten();
    let of_name = tasks.filter(|task| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim_end() == thread)
    });
    let nanos = of_name.map(|task| {
        let statistics = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let nanos = statistics.split_whitespace().next();
        nanos.and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or_default()
    });
    Duration::from_nanos(nanos.sum())
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Instant {
    Instant::now()
}
