//! What the system says of this process.

use std::fs;

/// What this process holds; none of what the system does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// Its memory that is not swapped out.
    pub(super) resident_bytes: Option<u64>,
    /// Its open files and sockets.
    pub(super) open_files: Option<u64>,
}

impl Process {
    /// Asks the system.
    pub(super) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").ok();
        // The folder itself is open while it is read.
        let open = fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1));
        Self {
            resident_bytes: status.as_deref().and_then(resident_bytes),
            open_files: open.map(|open| open as u64),
        }
    }
}

/// Reads the line of the resident memory, which counts in units of 1024 bytes.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let status = "Name:\tswarmd\nVmHWM:\t   9000 kB\nVmRSS:\t   8192 kB\nThreads:\t7\n";
        assert_eq!(resident_bytes(status), Some(8 << 20));
        for wrong in
            ["", "VmRSS:", "VmRSS:\tx kB", "VmRSS:\t1 MB", "VmRSS:\t18446744073709551615 kB"]
        {
            assert_eq!(resident_bytes(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_file_panics(text in any::<String>(), number in "[0-9 -]{0,30}") {
            resident_bytes(&text);
            resident_bytes(&format!("VmRSS:{number}kB"));
        }
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let before = Process::read();
        assert!(before.resident_bytes > Some(1 << 20), "{before:?}");
        assert!(before.open_files >= Some(3), "{before:?}");
    }
}
