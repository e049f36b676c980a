//! Durations of flags.

use prost_types::Duration;

use super::Invalid;

/// Reads a duration as people write it, exactly to the nanosecond.
pub(crate) fn duration(text: &str) -> Result<Duration, Invalid> {
    let nanos = protocol::duration::nanoseconds(text).ok_or_else(|| {
        Invalid::new(format!("time: invalid duration {}", crate::text::human::quoted(text)))
    })?;
    Ok(Duration { seconds: nanos / 1_000_000_000, nanos: (nanos % 1_000_000_000) as i32 })
}
