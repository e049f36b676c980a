//! Signals that whoever started the daemon has told it to ignore.
//!
//! They stay ignored across an exec: a shim that ignores SIGCHLD never hears of its task's end,
//! and a task that ignores SIGINT cannot be stopped by it. A signal that has a handler instead is
//! back to its usual meaning after an exec.

use std::{fs, io};

use tokio::signal::unix::{SignalKind, signal};

/// Numbers of signals that a handler may be given for: not those of faults, nor KILL and STOP.
/// PIPE is the standard library's, which gives it its usual meaning in every child.
const TAKEN: [i32; 18] = [1, 2, 3, 10, 12, 14, 15, 16, 17, 18, 20, 21, 22, 23, 24, 25, 26, 28];

/// Gives every ignored signal a handler that does nothing, so that children do not ignore it.
/// Must run where a runtime with I/O runs.
pub(super) fn take_over() -> io::Result<()> {
    let status = fs::read("/proc/self/status")?;
    for number in TAKEN.into_iter().filter(|number| is_ignored(&status, *number)) {
        // The handler stays when nobody listens any more.
        drop(signal(SignalKind::from_raw(number))?);
    }
    Ok(())
}

/// Reads the mask of ignored signals from `/proc/self/status`.
fn is_ignored(status: &[u8], number: i32) -> bool {
    let text = String::from_utf8_lossy(status);
    let mask = text.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let bit = u32::try_from(number - 1).ok().and_then(|place| 1_u64.checked_shl(place));
    bit.is_some_and(|bit| mask & bit != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_mask_has_a_bit_for_every_signal() {
        let status =
            b"Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000011002\nSigCgt:\t1\n";
        let found: Vec<_> = (0..70).filter(|number| is_ignored(status, *number)).collect();
        assert_eq!(found, [2, 13, 17]);
    }

    proptest! {
        #[test]
        fn no_file_panics(status: Vec<u8>, mask: String, number: i32) {
            is_ignored(&status, number.saturating_abs());
            is_ignored(format!("SigIgn:{mask}").as_bytes(), number.saturating_abs());
        }
    }
}
