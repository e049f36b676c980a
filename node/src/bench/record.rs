//! What has happened in a run, as its agents and the store tell it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::histogram::Histogram;

/// An answer to a heartbeat that comes later than this after it was due is late.
const LATE_AFTER: Duration = Duration::from_secs(1);

/// Something that happened. Times are those since the run began.
#[derive(Debug)]
pub(super) enum Event {
    /// A node has its certificate.
    Admitted {
        /// Its id.
        node: String,
    },
    /// An agent has a session.
    Registered {
        /// Its number.
        agent: usize,
    },
    /// An agent's session has ended by itself.
    Lost {
        /// Its number.
        agent: usize,
        /// Why.
        why: String,
    },
    /// A heartbeat was answered.
    Heartbeat {
        /// So long after it was due.
        after: Duration,
    },
    /// A task has come to an agent.
    Assigned {
        /// Its id.
        task: String,
        /// Of which of the run's services it is.
        service: usize,
        /// When.
        at: Duration,
    },
    /// A task runs, as the store says.
    Runs {
        /// Its id.
        task: String,
        /// Of which of the run's services it is.
        service: usize,
        /// When.
        at: Duration,
    },
}

/// What is known of a task.
#[derive(Debug, Default)]
struct Progress {
    service: usize,
    assigned: Option<Duration>,
    runs: Option<Duration>,
}

/// What is known of a run.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The nodes that have joined, to be removed at the end.
    pub(super) nodes: BTreeSet<String>,
    /// The agents that have a session.
    registered: BTreeSet<usize>,
    tasks: BTreeMap<String, Progress>,
    /// How many tasks of each service run.
    running: BTreeMap<usize, u64>,
    pub(super) heartbeats: Histogram,
    pub(super) late: u64,
    /// How many sessions ended by themselves, and why the last one did.
    pub(super) lost: u64,
    pub(super) last_loss: String,
}

impl Record {
    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Admitted { node } => {
                self.nodes.insert(node);
            }
            Event::Registered { agent } => {
                self.registered.insert(agent);
            }
            Event::Lost { agent, why } => {
                self.registered.remove(&agent);
                self.lost += 1;
                self.last_loss = why;
            }
            Event::Heartbeat { after } => {
                self.heartbeats.add(after);
                self.late += u64::from(after > LATE_AFTER);
            }
            Event::Assigned { task, service, at } => {
                let progress = self.progress(task, service);
                progress.assigned = progress.assigned.or(Some(at));
            }
            Event::Runs { task, service, at } => {
                let progress = self.progress(task, service);
                // The store is listed again after a watch was cut off.
                if progress.runs.is_none() {
                    progress.runs = Some(at);
                    *self.running.entry(service).or_default() += 1;
                }
            }
        }
    }

    fn progress(&mut self, task: String, service: usize) -> &mut Progress {
        self.tasks.entry(task).or_insert_with(|| Progress { service, ..Progress::default() })
    }

    /// Returns how many agents have a session.
    pub(super) fn registered(&self) -> usize {
        self.registered.len()
    }

    /// Returns how many tasks of a service run, or have run.
    pub(super) fn running(&self, service: usize) -> u64 {
        self.running.get(&service).copied().unwrap_or_default()
    }

    /// Returns what grows for as long as a run gets on.
    pub(super) fn progress_so_far(&self) -> (usize, u64) {
        (self.nodes.len() + self.registered.len(), self.running.values().sum())
    }

    /// Forgets what was heard of heartbeats and sessions so far.
    pub(super) fn begin_to_listen(&mut self) {
        (self.heartbeats, self.late, self.lost) = (Histogram::default(), 0, 0);
    }

    /// Returns how long the tasks of services took from the service's creation until they came to
    /// an agent, and until they ran.
    pub(super) fn times(&self, created: &BTreeMap<usize, Duration>) -> [Histogram; 2] {
        let mut times = [Histogram::default(), Histogram::default()];
        for progress in self.tasks.values() {
            let Some(created) = created.get(&progress.service) else { continue };
            for (times, at) in times.iter_mut().zip([progress.assigned, progress.runs]) {
                if let Some(at) = at {
                    times.add(at.saturating_sub(*created));
                }
            }
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_task_counts_once_from_when_its_service_was_created() {
        let mut record = Record::default();
        for at in [3, 9] {
            record.take(Event::Assigned { task: "a".into(), service: 0, at: seconds(at) });
            record.take(Event::Runs { task: "a".into(), service: 0, at: seconds(at + 1) });
        }
        record.take(Event::Runs { task: "b".into(), service: 0, at: seconds(7) });
        record.take(Event::Assigned { task: "other".into(), service: 1, at: seconds(9) });
        assert_eq!([record.running(0), record.running(1), record.running(2)], [2, 0, 0]);
        let [assigned, runs] = record.times(&BTreeMap::from([(0, seconds(1))]));
        assert_eq!((assigned.count(), assigned.most()), (1, seconds(2)));
        assert_eq!((runs.count(), runs.most()), (2, seconds(6)));
    }

    #[test]
    fn an_agent_has_one_session_at_most() {
        let mut record = Record::default();
        for agent in [1, 2, 1] {
            record.take(Event::Registered { agent });
        }
        assert_eq!(record.registered(), 2);
        record.take(Event::Lost { agent: 1, why: "closed".into() });
        assert_eq!((record.registered(), record.lost, &*record.last_loss), (1, 1, "closed"));
    }

    #[test]
    fn what_was_before_does_not_count() {
        let mut record = Record::default();
        for after in [seconds(0), seconds(1), Duration::from_millis(1_001)] {
            record.take(Event::Heartbeat { after });
        }
        record.take(Event::Lost { agent: 1, why: "closed".into() });
        assert_eq!((record.heartbeats.count(), record.late, record.lost), (3, 1, 1));
        record.begin_to_listen();
        assert_eq!((record.heartbeats.count(), record.late, record.lost), (0, 0, 0));
    }
}
