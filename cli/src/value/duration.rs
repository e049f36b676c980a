//! Durations as people write them: `10s`, `1h30m`, `1.5s`, `-5ms`.

use prost_types::Duration;

use super::Invalid;

/// Reads a sequence of decimal numbers, each with a unit, exactly to the nanosecond.
pub(crate) fn duration(text: &str) -> Result<Duration, Invalid> {
    let nanos = nanos(text).ok_or_else(|| {
        Invalid::new(format!("time: invalid duration {}", crate::text::human::quoted(text)))
    })?;
    Ok(Duration { seconds: nanos / 1_000_000_000, nanos: (nanos % 1_000_000_000) as i32 })
}

fn nanos(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        total = total.checked_add(scaled(number, unit_nanos(unit)?)?)?;
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn unit_nanos(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Multiplies a decimal number with a unit; what is below a nanosecond is dropped.
fn scaled(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let part = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse().ok() };
    let fraction = fraction.get(..fraction.len().min(18))?;
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let whole: i128 = part(whole)?;
    let fraction: i128 = part(fraction)?;
    whole.checked_mul(unit)?.checked_add(fraction * unit / scale)
}
