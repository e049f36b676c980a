//! What a run has found, in words and figures.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use super::{
    events::Run,
    histogram::Histogram,
    process::{self, Usage},
    record::Record,
};

/// The processors' time of each manager at the beginning of a phase.
pub(super) struct Cost {
    run: Run,
    began: Duration,
    before: Vec<(i32, Option<Usage>)>,
}

/// How long a phase took, and what it cost each manager.
#[derive(Debug)]
pub(super) struct Phase {
    took: Duration,
    processor: Vec<(i32, Option<Duration>)>,
}

impl Cost {
    pub(super) fn begin(run: Run, pids: &[i32]) -> Self {
        let before = pids.iter().map(|pid| (*pid, process::usage(*pid))).collect();
        Self { run, began: run.elapsed(), before }
    }

    pub(super) fn end(self) -> Phase {
        let since = |(pid, before): (i32, Option<Usage>)| {
            let used = before.zip(process::usage(pid));
            (pid, used.map(|(before, now)| now.processor.saturating_sub(before.processor)))
        };
        Phase {
            took: self.run.elapsed() - self.began,
            processor: self.before.into_iter().map(since).collect(),
        }
    }
}

impl Phase {
    /// Returns a line for the phase, and one for what it cost.
    pub(super) fn text(&self, what: &str) -> String {
        let mut text = format!("{what}: {}\n", seconds(self.took));
        if !self.processor.is_empty() {
            let cost = |(pid, used): &(i32, Option<Duration>)| match used {
                Some(used) => format!("{} ({pid})", seconds(*used)),
                None => format!("ended ({pid})"),
            };
            let costs: Vec<_> = self.processor.iter().map(cost).collect();
            writeln!(text, "  processor time of managers: {}", costs.join(", ")).ok();
        }
        text
    }
}

/// Returns how heartbeats went.
pub(super) fn heartbeats(record: &Record) -> String {
    let line = percentiles("heartbeat due -> answered", &record.heartbeats);
    let mut text = format!(
        "{line}  heartbeats answered: {}, more than a second late: {}; sessions lost: {}\n",
        record.heartbeats.count(),
        record.late,
        record.lost
    );
    if record.lost > 0 {
        writeln!(text, "  the last session was lost because of: {}", record.last_loss).ok();
    }
    text
}

/// Returns how long the tasks of services took.
pub(super) fn times(record: &Record, created: &BTreeMap<usize, Duration>) -> String {
    let [assigned, runs] = record.times(created);
    percentiles("create -> at the agent", &assigned) + &percentiles("create -> running", &runs)
}

/// Returns the memory of managers.
pub(super) fn memory(pids: &[i32]) -> String {
    let line = |pid: &i32| match process::usage(*pid) {
        Some(Usage { processor, resident_bytes, peak_bytes }) => format!(
            "manager {pid}: {} resident, at most {}; {} of processor time since it began\n",
            mebibytes(resident_bytes),
            mebibytes(peak_bytes),
            seconds(processor)
        ),
        None => format!("manager {pid}: ended\n"),
    };
    pids.iter().map(line).collect()
}

fn percentiles(what: &str, times: &Histogram) -> String {
    let [p50, p90, p99] = [50, 90, 99].map(|percent| milliseconds(times.percentile(percent)));
    let most = milliseconds(times.most());
    format!("  {what:<26} p50 {p50:>10}  p90 {p90:>10}  p99 {p99:>10}  max {most:>10}\n")
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::Event;

    #[test]
    fn a_phase_says_what_it_cost_each_manager() {
        let took = Duration::from_millis(1_234);
        let phase = Phase { took, processor: vec![(7, Some(Duration::from_secs(2))), (8, None)] };
        let expected = "joined: 1.23 s\n  processor time of managers: 2.00 s (7), ended (8)\n";
        assert_eq!(phase.text("joined"), expected);
        assert_eq!(Phase { took, processor: Vec::new() }.text("joined"), "joined: 1.23 s\n");
    }

    #[test]
    fn heartbeats_say_what_went_wrong() {
        let mut record = Record::default();
        record.take(Event::Heartbeat { after: Duration::from_millis(2) });
        let text = heartbeats(&record);
        assert!(
            text.ends_with("answered: 1, more than a second late: 0; sessions lost: 0\n"),
            "{text}"
        );
        record.take(Event::Lost { agent: 0, why: "it is closed".into() });
        let text = heartbeats(&record);
        assert!(
            text.ends_with(
                "sessions lost: 1\n  the last session was lost because of: it is closed\n"
            )
        );
    }
}
