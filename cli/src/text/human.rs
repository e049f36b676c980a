//! Times, durations, sizes and quoted text as people read them.

use std::fmt::Write;

use prost_types::{Duration, Timestamp};
use time::OffsetDateTime;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;
const MONTH: i64 = 30 * DAY;
const YEAR: i64 = 12 * MONTH;

/// Returns how long before (or after) `now` a time is, in its largest unit.
pub(crate) fn relative(time: &Timestamp, now: &Timestamp) -> String {
    let seconds = now.seconds - time.seconds - i64::from(now.nanos < time.nanos);
    let (seconds, direction) = if seconds < 0 { (-seconds, "from now") } else { (seconds, "ago") };
    let many = |unit: i64, name: &str| format!("{} {name} {direction}", seconds / unit);
    match seconds {
        0 => "now".to_owned(),
        1 => format!("1 second {direction}"),
        _ if seconds < MINUTE => many(1, "seconds"),
        _ if seconds < 2 * MINUTE => format!("1 minute {direction}"),
        _ if seconds < HOUR => many(MINUTE, "minutes"),
        _ if seconds < 2 * HOUR => format!("1 hour {direction}"),
        _ if seconds < DAY => many(HOUR, "hours"),
        _ if seconds < 2 * DAY => format!("1 day {direction}"),
        _ if seconds < WEEK => many(DAY, "days"),
        _ if seconds < 2 * WEEK => format!("1 week {direction}"),
        _ if seconds < MONTH => many(WEEK, "weeks"),
        _ if seconds < 2 * MONTH => format!("1 month {direction}"),
        _ if seconds < YEAR => many(MONTH, "months"),
        _ if seconds < 18 * MONTH => format!("1 year {direction}"),
        _ if seconds < 2 * YEAR => format!("2 years {direction}"),
        _ if seconds < 37 * YEAR => many(YEAR, "years"),
        _ => format!("a long while {direction}"),
    }
}

/// Writes a point in time in RFC 3339, in UTC, without trailing zeros.
pub(crate) fn absolute(timestamp: &Timestamp) -> String {
    let nanos = i128::from(timestamp.seconds) * 1_000_000_000 + i128::from(timestamp.nanos);
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_else(|| format!("{} seconds since 1970", timestamp.seconds))
}

/// Writes a duration in hours, minutes and seconds (`2160h0m0s`, `1.5s`, `300ms`).
pub(crate) fn duration(duration: &Duration) -> String {
    let nanos = i128::from(duration.seconds) * 1_000_000_000 + i128::from(duration.nanos);
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let seconds = nanos / 1_000_000_000;
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{nanos}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(nanos, 1_000_000)),
        _ => {
            let mut text = sign.to_owned();
            if seconds >= 3600 {
                let _ = write!(text, "{}h", seconds / 3600);
            }
            if seconds >= 60 {
                let _ = write!(text, "{}m", seconds / 60 % 60);
            }
            let rest = nanos % 60_000_000_000;
            let _ = write!(text, "{}s", decimal(rest, 1_000_000_000));
            text
        }
    }
}

/// Writes a duration in seconds (`90.25s`), as JSON has it.
pub(crate) fn seconds(duration: &Duration) -> String {
    let nanos = i128::from(duration.seconds) * 1_000_000_000 + i128::from(duration.nanos);
    let sign = if nanos < 0 { "-" } else { "" };
    format!("{sign}{}s", decimal(nanos.unsigned_abs(), 1_000_000_000))
}

/// Divides exactly and writes the fraction without trailing zeros.
fn decimal(value: u128, unit: u128) -> String {
    let digits = unit.ilog10() as usize;
    let fraction = format!("{:0digits$}", value % unit);
    match fraction.trim_end_matches('0') {
        "" => (value / unit).to_string(),
        fraction => format!("{}.{fraction}", value / unit),
    }
}

/// Writes a number of bytes in its largest binary unit, with one decimal below ten.
pub(crate) fn bytes(bytes: i64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    if bytes < 10 {
        return format!("{bytes} B");
    }
    while value >= 1024.0 {
        let Some(larger) = units.next() else { break };
        value /= 1024.0;
        unit = larger;
    }
    // Rounded half up to one decimal, as the original does.
    let value = (value * 10.0 + 0.5).floor() / 10.0;
    if value < 10.0 && unit != "B" {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

/// Writes CPUs with as few digits as identify the number.
pub(crate) fn cpus(nano_cpus: i64) -> String {
    (nano_cpus as f64 / 1e9).to_string()
}

/// Quotes text the way it would stand in a program.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() && (control as u32) < 0x80 => {
                let _ = write!(quoted, "\\x{:02x}", control as u32);
            }
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", control as u32);
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
