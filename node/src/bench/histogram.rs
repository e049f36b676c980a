//! Times by how often they occur: as much memory for a thousand of them as for a billion.

use std::{collections::BTreeMap, time::Duration};

/// Each power of two of microseconds has so many steps: a time is known to a 64th.
const STEPS_LOG2: u32 = 6;

/// Times that were measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    /// How many times lie up to a number of microseconds.
    counts: BTreeMap<u64, u64>,
    count: u64,
    most: Duration,
}

impl Histogram {
    pub(super) fn add(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        *self.counts.entry(rounded_up(micros)).or_default() += 1;
        self.count += 1;
        self.most = self.most.max(time);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn most(&self) -> Duration {
        self.most
    }

    /// Returns the time that so many of a hundred do not exceed.
    pub(super) fn percentile(&self, percent: u64) -> Duration {
        let wanted = (u128::from(self.count) * u128::from(percent)).div_ceil(100);
        let mut passed = 0;
        for (micros, count) in &self.counts {
            passed += u128::from(*count);
            if passed >= wanted {
                return Duration::from_micros(*micros).min(self.most);
            }
        }
        self.most
    }
}

/// Returns the end of the step that a number lies in.
fn rounded_up(micros: u64) -> u64 {
    let shift = (u64::BITS - micros.leading_zeros()).saturating_sub(STEPS_LOG2 + 1);
    let rest = (1 << shift) - 1;
    micros | rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_are_those_of_the_times() {
        let mut times = Histogram::default();
        assert_eq!(times.percentile(99), Duration::ZERO, "there are none");
        for milliseconds in 1..=100 {
            times.add(Duration::from_millis(milliseconds));
        }
        for (percent, expected) in [(1, 1), (50, 50), (90, 90), (99, 99), (100, 100)] {
            let found = times.percentile(percent).as_micros();
            let expected: u128 = expected * 1000;
            assert!(found >= expected && found <= expected + expected / 64, "{percent}: {found}");
        }
        assert_eq!((times.count(), times.most()), (100, Duration::from_millis(100)));
        let mut one = Histogram::default();
        one.add(Duration::from_micros(777));
        assert_eq!([50, 99].map(|percent| one.percentile(percent).as_micros()), [777, 777]);
    }

    proptest! {
        #[test]
        fn a_time_is_never_told_shorter_and_hardly_longer(micros in any::<u64>()) {
            let found = rounded_up(micros);
            prop_assert!(found >= micros && found - micros <= micros / 64);
        }
    }
}
