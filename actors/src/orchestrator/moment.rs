//! Arithmetic on stored times, which may come from anybody and so may be anything.

use std::time::Duration;

use prost_types::Timestamp;

/// A stored time as a number that orders like it, in nanoseconds since 1970.
pub(super) fn nanos(time: &Timestamp) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

/// How much later `later` is; zero when it is not.
pub(super) fn elapsed(earlier: &Timestamp, later: &Timestamp) -> Duration {
    let difference = nanos(later) - nanos(earlier);
    Duration::from_nanos(u64::try_from(difference.max(0)).unwrap_or(u64::MAX))
}

/// A stored duration; `None` when it is not there or below zero.
pub(super) fn duration(stored: Option<&prost_types::Duration>) -> Option<Duration> {
    stored.and_then(|stored| Duration::try_from(*stored).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanos: i32) -> Timestamp {
        Timestamp { seconds, nanos }
    }

    #[test]
    fn time_never_runs_backwards_and_never_overflows() {
        assert_eq!(elapsed(&at(1, 900_000_000), &at(3, 0)), Duration::from_millis(1_100));
        assert_eq!(elapsed(&at(3, 0), &at(1, 0)), Duration::ZERO);
        let all = elapsed(&at(i64::MIN, i32::MIN), &at(i64::MAX, i32::MAX));
        assert_eq!(all, Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn a_negative_duration_is_none() {
        let stored = |seconds| prost_types::Duration { seconds, nanos: 0 };
        assert_eq!(duration(Some(&stored(2))), Some(Duration::from_secs(2)));
        assert_eq!(duration(Some(&stored(-2))), None);
        assert_eq!(duration(None), None);
    }
}
