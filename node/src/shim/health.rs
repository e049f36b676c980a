//! When a task's health is looked at, and what comes of it. Pure: times are handed in, and
//! whoever asks runs the command.

use std::time::{Duration, Instant};

use prost::Message;

/// How a task's health is looked at.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct HealthCheck {
    /// A program and its arguments, run as the task is.
    #[prost(string, repeated, tag = "1")]
    pub command: Vec<String>,
    /// How long to wait between two checks, in milliseconds.
    #[prost(uint64, tag = "2")]
    pub interval_ms: u64,
    /// How long one may take, in milliseconds.
    #[prost(uint64, tag = "3")]
    pub timeout_ms: u64,
    /// How long after its start a task may fail without that being counted, in milliseconds.
    #[prost(uint64, tag = "4")]
    pub start_period_ms: u64,
    /// How long to wait between two checks until then, in milliseconds.
    #[prost(uint64, tag = "5")]
    pub start_interval_ms: u64,
    /// How many failures in a row make a task unhealthy.
    #[prost(uint32, tag = "6")]
    pub retries: u32,
}

/// Longer periods are cut: longer ones cannot be added to the time.
const PERIOD_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Shorter intervals are stretched: a check that cannot begin must not be tried without a pause.
const PERIOD_MIN: Duration = Duration::from_millis(1);

/// What to do about a task's health now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Due {
    /// Nothing before that moment.
    Wait(Instant),
    /// Begin a check.
    Begin,
    /// End the check that takes too long.
    Kill,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ended {
    /// Its command says that the task is healthy.
    Succeeded,
    /// Its command says that it is not, or cannot be run.
    Failed,
    /// The machine did not let it begin, which says nothing about the task.
    NeverBegun,
}

impl Ended {
    #[cfg(test)]
    fn of(succeeded: bool) -> Self {
        if succeeded { Self::Succeeded } else { Self::Failed }
    }
}

/// What a check has shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Finding {
    /// The task is healthy.
    Healthy,
    /// Nothing is decided.
    Open,
    /// The task is to be ended.
    Unhealthy,
}

/// The health of one task.
#[derive(Debug)]
pub(super) struct Health {
    check: HealthCheck,
    started: Instant,
    /// Whether a check has ever succeeded.
    healthy: bool,
    failures: u32,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Waiting {
        until: Instant,
    },
    Checking {
        until: Instant,
    },
    /// A check was ended; only its own end is waited for.
    Killing,
    /// There is nothing more to find out.
    Over,
}

impl Health {
    /// A task that has just been started.
    pub(super) fn begin(check: HealthCheck, now: Instant) -> Self {
        let phase = Phase::Over;
        let mut health = Self { check, started: now, healthy: false, failures: 0, phase };
        health.wait(now);
        health
    }

    /// No more checks: the task is being stopped, or has been.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Over;
    }

    /// Whether the task is still on its way to being healthy.
    fn is_starting(&self, now: Instant) -> bool {
        let period = period(self.check.start_period_ms);
        !self.healthy && now.saturating_duration_since(self.started) < period
    }

    fn wait(&mut self, now: Instant) {
        let pause = if self.is_starting(now) {
            self.check.start_interval_ms
        } else {
            self.check.interval_ms
        };
        self.phase = Phase::Waiting { until: now + period(pause).max(PERIOD_MIN) };
    }

    /// Returns what to do now; a check that is to begin has begun, one to be killed is.
    pub(super) fn due(&mut self, now: Instant) -> Option<Due> {
        match self.phase {
            Phase::Waiting { until } | Phase::Checking { until } if now < until => {
                Some(Due::Wait(until))
            }
            Phase::Waiting { .. } => {
                self.phase = Phase::Checking { until: now + period(self.check.timeout_ms) };
                Some(Due::Begin)
            }
            Phase::Checking { .. } => {
                self.phase = Phase::Killing;
                Some(Due::Kill)
            }
            Phase::Killing | Phase::Over => None,
        }
    }

    /// Takes the end of the check that was due. One that could not begin is due again after the
    /// usual interval, and is neither a success nor a failure.
    pub(super) fn ended(&mut self, ended: Ended, now: Instant) -> Finding {
        let in_time = match self.phase {
            Phase::Checking { .. } => true,
            Phase::Killing => false,
            Phase::Waiting { .. } | Phase::Over => return Finding::Open,
        };
        let was_starting = self.is_starting(now);
        match ended {
            Ended::Succeeded if in_time => {
                self.failures = 0;
                self.healthy = true;
                self.wait(now);
                return Finding::Healthy;
            }
            Ended::Succeeded | Ended::Failed if !was_starting => self.failures += 1,
            Ended::Succeeded | Ended::Failed | Ended::NeverBegun => {}
        }
        if self.failures >= self.check.retries.max(1) {
            self.phase = Phase::Over;
            return Finding::Unhealthy;
        }
        self.wait(now);
        Finding::Open
    }
}

fn period(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds).min(PERIOD_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::shim::clock;

    fn check() -> HealthCheck {
        HealthCheck {
            command: vec!["true".into()],
            interval_ms: 30,
            timeout_ms: 10,
            start_period_ms: 0,
            start_interval_ms: 5,
            retries: 3,
        }
    }

    /// What happens at which millisecond: `b` a check begins, `k` it is killed; `+` and `-` end
    /// one, with what that shows.
    struct Course {
        health: Health,
        began: Instant,
    }

    impl Course {
        fn new(check: HealthCheck) -> Self {
            let began = clock::monotonic();
            Self { health: Health::begin(check, began), began }
        }

        fn at(&self, milliseconds: u64) -> Instant {
            self.began + Duration::from_millis(milliseconds)
        }

        #[track_caller]
        fn due(&mut self, milliseconds: u64, expected: Option<Due>) {
            assert_eq!(self.health.due(self.at(milliseconds)), expected);
        }

        /// Waits until a check is due, and lets it end at once.
        #[track_caller]
        fn check(&mut self, due: u64, succeeded: bool, expected: Finding) {
            if let Some(before) = due.checked_sub(1) {
                self.due(before, Some(Due::Wait(self.at(due))));
            }
            self.due(due, Some(Due::Begin));
            assert_eq!(self.health.ended(Ended::of(succeeded), self.at(due)), expected);
        }
    }

    #[test]
    fn checks_come_after_an_interval_each() {
        let mut course = Course::new(check());
        course.check(30, true, Finding::Healthy);
        course.check(60, true, Finding::Healthy);
        course.due(90, Some(Due::Begin));
        course.health.ended(Ended::Succeeded, course.at(97));
        course.check(127, true, Finding::Healthy);
    }

    #[test]
    fn failures_in_a_row_make_a_task_unhealthy() {
        let mut course = Course::new(check());
        course.check(30, false, Finding::Open);
        course.check(60, false, Finding::Open);
        course.check(90, true, Finding::Healthy);
        course.check(120, false, Finding::Open);
        course.check(150, false, Finding::Open);
        course.check(180, false, Finding::Unhealthy);
        course.due(10_000, None);
    }

    #[test]
    fn a_check_that_takes_too_long_has_failed() {
        let mut course = Course::new(HealthCheck { retries: 1, ..check() });
        course.due(30, Some(Due::Begin));
        course.due(39, Some(Due::Wait(course.at(40))));
        course.due(40, Some(Due::Kill));
        course.due(41, None);
        // It may have ended well just before it was killed.
        assert_eq!(course.health.ended(Ended::Succeeded, course.at(42)), Finding::Unhealthy);
    }

    #[test]
    fn a_check_that_could_not_begin_neither_counts_nor_clears() {
        let mut course = Course::new(HealthCheck { retries: 2, ..check() });
        let refused = |course: &mut Course, due| {
            course.due(due, Some(Due::Begin));
            let found = course.health.ended(Ended::NeverBegun, course.at(due));
            assert_eq!(found, Finding::Open);
            course.due(due, Some(Due::Wait(course.at(due + 30))));
        };
        course.check(30, false, Finding::Open);
        refused(&mut course, 60);
        refused(&mut course, 90);
        course.due(120, Some(Due::Begin));
        course.due(130, Some(Due::Kill));
        let hung = course.health.ended(Ended::NeverBegun, course.at(130));
        assert_eq!(hung, Finding::Open, "it was killed before its command ran");
        course.check(160, false, Finding::Unhealthy);
    }

    #[test]
    fn there_is_a_pause_between_two_checks_whatever_the_interval() {
        let mut course = Course::new(HealthCheck { interval_ms: 0, ..check() });
        for due in 1..=10 {
            course.due(due, Some(Due::Begin));
            course.health.ended(Ended::NeverBegun, course.at(due));
            course.due(due, Some(Due::Wait(course.at(due + 1))));
        }
    }

    #[test]
    fn failures_while_starting_do_not_count() {
        let mut course = Course::new(HealthCheck { start_period_ms: 12, retries: 2, ..check() });
        course.check(5, false, Finding::Open);
        course.check(10, false, Finding::Open);
        course.check(15, false, Finding::Open);
        course.check(45, false, Finding::Unhealthy);
    }

    #[test]
    fn the_first_success_ends_the_start() {
        let mut course = Course::new(HealthCheck { start_period_ms: 1000, retries: 1, ..check() });
        course.check(5, true, Finding::Healthy);
        course.check(35, false, Finding::Unhealthy);
    }

    #[test]
    fn no_health_is_asked_of_a_task_that_stops() {
        let mut course = Course::new(check());
        course.due(30, Some(Due::Begin));
        course.health.end();
        course.due(1000, None);
        assert_eq!(course.health.ended(Ended::Failed, course.at(1000)), Finding::Open);
    }

    proptest! {
        #[test]
        fn no_number_panics(
            interval_ms: u64, timeout_ms: u64, start_period_ms: u64, start_interval_ms: u64,
            retries: u32, ends: Vec<bool>,
        ) {
            let command = Vec::new();
            let check = HealthCheck {
                command, interval_ms, timeout_ms, start_period_ms, start_interval_ms, retries,
            };
            let mut now = clock::monotonic();
            let mut health = Health::begin(check, now);
            for succeeded in ends {
                match health.due(now) {
                    Some(Due::Wait(until)) => now = until,
                    Some(Due::Begin) => drop(health.ended(Ended::of(succeeded), now)),
                    Some(Due::Kill) | None => {}
                }
            }
        }
    }
}
