//! How long to wait before the next session after one has failed (cluster-security-dispatch §13).

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(8);

/// Grows with every failure in a row. The wait itself is drawn below the bound, so that the nodes
/// of a lost manager do not all come back in the same moment.
#[derive(Debug, Default)]
pub(super) struct BackOff(Duration);

impl BackOff {
    /// Counts a failure and returns the bound of the next wait, exclusive.
    pub(super) fn grow(&mut self) -> Duration {
        self.0 = (FIRST + 2 * self.0).min(MAX);
        self.0
    }

    /// Forgets the failures.
    pub(super) fn reset(&mut self) {
        self.0 = Duration::ZERO;
    }
}
