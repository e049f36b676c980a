//! What a manager's process has cost, as the system counts it.

use std::{fs, path::Path, time::Duration};

use nix::unistd::{SysconfVar, sysconf};
use tokio::net::UnixStream;

/// The processor's time and the memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) processor: Duration,
    pub(super) resident_bytes: u64,
    /// The most that was ever resident.
    pub(super) peak_bytes: u64,
}

/// Asks the system; none when there is no such process.
pub(super) fn usage(pid: i32) -> Option<Usage> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let (stat, status) = (read("stat")?, read("status")?);
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten()?;
    let per_second = u32::try_from(per_second).ok().filter(|ticks| *ticks > 0)?;
    Some(Usage {
        processor: Duration::from_secs(ticks(&stat)?) / per_second,
        resident_bytes: bytes(&status, "VmRSS:")?,
        peak_bytes: bytes(&status, "VmHWM:")?,
    })
}

/// Returns whose socket this is.
pub(super) async fn owner(socket: &Path) -> Option<i32> {
    UnixStream::connect(socket).await.ok()?.peer_cred().ok()?.pid()
}

/// The ticks of the clock in which a process had a processor, for itself and in the kernel.
fn ticks(stat: &str) -> Option<u64> {
    // Before the last bracket stands the program's name, which may be anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    fields.next()??.checked_add(fields.next()??)
}

/// Reads a line of a process's status, which counts in units of 1024 bytes.
fn bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn time_and_memory_are_read() {
        let stat = "77 (a) b) S 1 77 77 0 -1 4194560 900 0 3 0 150 50 7 8 20 0 9 0 100 1 2";
        assert_eq!(ticks(stat), Some(200));
        let status = "Name:\tswarmd\nVmHWM:\t   9000 kB\nVmRSS:\t   8192 kB\nThreads:\t7\n";
        assert_eq!(
            [bytes(status, "VmHWM:"), bytes(status, "VmRSS:")],
            [Some(9_216_000), Some(8 << 20)]
        );
        assert_eq!([ticks(""), ticks("1 (a) S 1 2"), bytes("", "VmRSS:")], [None; 3]);
    }

    #[test]
    fn this_process_is_there_and_others_are_not() {
        let own = i32::try_from(std::process::id()).expect("a process id");
        let usage = usage(own).expect("it runs");
        assert!(usage.resident_bytes > 1 << 20 && usage.peak_bytes >= usage.resident_bytes);
        assert_eq!(super::usage(-1), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), number in "[0-9 -]{0,60}") {
            ticks(&text);
            ticks(&format!("1 ({text}) S {number}"));
            bytes(&format!("VmRSS:{number}kB"), "VmRSS:");
        }
    }
}
