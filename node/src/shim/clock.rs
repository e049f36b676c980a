//! The time, for a process that is no part of any simulation.

use std::time::Instant;

use time::UtcDateTime;

/// Returns the wall clock's time.
pub(super) fn wall() -> UtcDateTime {
    UtcDateTime::now()
}

/// Returns a moment to measure periods from.
#[expect(clippy::disallowed_methods, reason = "a shim lives in real time only")]
pub(super) fn monotonic() -> Instant {
    Instant::now()
}
