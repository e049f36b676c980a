//! Amounts of memory and CPU.

use super::Invalid;

/// Reads a size with a binary suffix (`64m`, `1.5 GiB`, `4096`), in bytes.
pub(crate) fn memory_bytes(text: &str) -> Result<i64, Invalid> {
    let invalid = || Invalid::new(format!("invalid size: '{text}'"));
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let suffix = suffix.strip_prefix(' ').unwrap_or(suffix).to_ascii_lowercase();
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let unit = suffix.strip_suffix("ib").or(suffix.strip_suffix('b')).unwrap_or(&suffix);
    let power = match unit {
        "" if suffix == "ib" => return Err(invalid()),
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(invalid()),
    };
    let bytes = number * 1024_f64.powi(power);
    // Larger sizes have no meaning for a machine and no exact number here.
    if !(0.0..9e15).contains(&bytes) {
        return Err(invalid());
    }
    Ok(bytes as i64)
}

/// Reads CPUs as a decimal (`0.5`) or a fraction (`1/2`), exactly, in billionths.
pub(crate) fn nano_cpus(text: &str) -> Result<i64, Invalid> {
    let invalid = || Invalid::new(format!("invalid cpu: {text}"));
    let (numerator, denominator) = match text.split_once('/') {
        Some((above, below)) => {
            let whole = |part: &str| part.parse::<i128>().map_err(|_| invalid());
            (whole(above)?, whole(below)?)
        }
        None => {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            let digits = format!("{whole}{fraction}");
            let places = u32::try_from(fraction.len()).map_err(|_| invalid())?;
            let scale = 10_i128.checked_pow(places).ok_or_else(invalid)?;
            if fraction.starts_with(['+', '-']) {
                return Err(invalid());
            }
            (digits.parse().map_err(|_| invalid())?, scale)
        }
    };
    let nanos = numerator.checked_mul(1_000_000_000).ok_or_else(invalid)?;
    if denominator <= 0 {
        return Err(invalid());
    }
    if nanos % denominator != 0 {
        let text = format!("CPU value cannot have more than 9 decimal places: {text}");
        return Err(Invalid::new(text));
    }
    i64::try_from(nanos / denominator).map_err(|_| invalid())
}
