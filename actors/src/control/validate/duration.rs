//! Durations on the wire: two signed numbers, of which not every pair is a duration.

use prost_types::Duration;

use crate::control::Error;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Returns a duration in nanoseconds; an absent one is zero. What 64 bits do not hold, some 292
/// years, and a pair with two signs are refused.
pub(super) fn nanoseconds(duration: Option<&Duration>, field: &str) -> Result<i64, Error> {
    let Some(Duration { seconds, nanos }) = duration.copied() else { return Ok(0) };
    let nanos = i64::from(nanos);
    let is_pair = nanos.abs() < NANOS_PER_SECOND && (seconds.signum() * nanos.signum()) >= 0;
    seconds
        .checked_mul(NANOS_PER_SECOND)
        .and_then(|whole| whole.checked_add(nanos))
        .filter(|_| is_pair)
        .ok_or_else(|| Error::Unknown(format!("{field} is out of range")))
}

/// Refuses a negative duration.
pub(super) fn check_not_negative(duration: Option<&Duration>, field: &str) -> Result<(), Error> {
    if nanoseconds(duration, field)? < 0 {
        return Err(Error::invalid(format!("{field} cannot be negative")));
    }
    Ok(())
}
