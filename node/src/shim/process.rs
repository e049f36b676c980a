//! Processes as `/proc` shows them, and how one is told from another that got its number.

use std::{
    fs, io,
    os::fd::OwnedFd,
    process,
    str::{FromStr, SplitAsciiWhitespace},
};

use prost::Message;
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

/// A process, told apart from every other that had or will have its number.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct ProcessIdentity {
    /// Its number.
    #[prost(int32, tag = "1")]
    pub pid: i32,
    /// When it started, in clock ticks since the machine did.
    #[prost(uint64, tag = "2")]
    pub start_ticks: u64,
    /// Which start of the machine that was.
    #[prost(string, tag = "3")]
    pub boot_id: String,
}

impl ProcessIdentity {
    /// Returns who this process is.
    pub fn current() -> io::Result<Self> {
        let pid = i32::try_from(process::id()).map_err(io::Error::other)?;
        Self::of(pid)
    }

    /// Returns who has a number now. It stays true for as long as the caller keeps that process
    /// from being reaped.
    pub fn of(pid: i32) -> io::Result<Self> {
        let stat = Stat::of(pid)?;
        Ok(Self { pid, start_ticks: stat.start_ticks, boot_id: boot_id()? })
    }

    /// Opens the process, unless it is gone. A process that has ended and not been reaped yet is
    /// still there, with the state `Z`.
    pub fn open(&self) -> io::Result<Option<(OwnedFd, Stat)>> {
        if self.boot_id != boot_id()? {
            return Ok(None);
        }
        let Some(fd) = open(self.pid)? else { return Ok(None) };
        // Looked at after it was opened: if this is the recorded process, so is what was opened.
        match Stat::of(self.pid) {
            Ok(stat) if stat.start_ticks == self.start_ticks => Ok(Some((fd, stat))),
            Ok(_) => Ok(None),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What the system says about a process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stat {
    /// Its number.
    pub pid: i32,
    /// One letter; `Z` and `X` are those of processes that have ended.
    pub state: char,
    /// Its parent's number.
    pub parent: i32,
    /// The number of its session, which is that of the process that began it.
    pub session: i32,
    /// When it started, in clock ticks since the machine did.
    pub start_ticks: u64,
}

impl Stat {
    /// Looks at one process.
    pub fn of(pid: i32) -> io::Result<Self> {
        let text = fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::Error::other("a stat file that cannot be read"))
    }

    /// Returns whether it has ended.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Reads the line of `/proc/PID/stat`. The program's name, the second field, may contain
    /// anything; the fields behind it do not, so they are counted from its last parenthesis.
    fn parse(text: &[u8]) -> Option<Self> {
        fn next<T: FromStr>(fields: &mut SplitAsciiWhitespace<'_>, skip: usize) -> Option<T> {
            fields.nth(skip)?.parse().ok()
        }
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let start = text.iter().position(|byte| *byte == b'(')?;
        let pid = std::str::from_utf8(text.get(..start)?).ok()?.trim().parse().ok()?;
        let mut fields = std::str::from_utf8(text.get(end + 1..)?).ok()?.split_ascii_whitespace();
        Some(Self {
            pid,
            state: next(&mut fields, 0)?,
            parent: next(&mut fields, 0)?,
            session: next(&mut fields, 1)?,
            start_ticks: next(&mut fields, 15)?,
        })
    }
}

/// Opens whatever process has a number now; none when there is no such process.
pub fn open(pid: i32) -> io::Result<Option<OwnedFd>> {
    // `from_raw` must not be asked about negative numbers.
    let Some(pid) = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw) else {
        return Ok(None);
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns all processes that this one can see. Those that come or go meanwhile may be missing.
pub fn processes() -> io::Result<Vec<Stat>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            found.extend(Stat::of(pid).ok());
        }
    }
    Ok(found)
}

/// Returns whether a process was started with this variable in its environment.
pub fn carries(pid: i32, variable: &str, value: &str) -> bool {
    let expected = format!("{variable}={value}");
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|entry| entry == expected.as_bytes())
}

/// Returns what tells this start of the machine from every other.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// A process that ends while its files are read shows it in either way.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_may_contain_anything() {
        let tail = "S 7 42 41 34816 42 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 3000 200";
        for name in ["sleep", "a b", "x) R 1 1 1", "((", "\u{1F600}"] {
            let stat = Stat::parse(format!("42 ({name}) {tail}").as_bytes());
            let expected =
                Stat { pid: 42, state: 'S', parent: 7, session: 41, start_ticks: 987_654 };
            assert_eq!(stat, Some(expected), "{name}");
        }
    }

    #[test]
    fn a_process_finds_itself_and_not_its_successor() {
        let myself = ProcessIdentity::current().unwrap();
        let (_, stat) = myself.open().unwrap().expect("this process exists");
        assert_eq!(stat.pid, myself.pid);
        let older = ProcessIdentity { start_ticks: myself.start_ticks - 1, ..myself.clone() };
        assert!(older.open().unwrap().is_none(), "another process had the number");
        let elsewhere = ProcessIdentity { boot_id: "another".into(), ..myself };
        assert!(elsewhere.open().unwrap().is_none(), "the machine was started again");
    }

    #[test]
    fn numbers_that_are_no_process_are_gone() {
        for pid in [0, -1, i32::MIN, i32::MAX] {
            assert!(open(pid).unwrap().is_none(), "{pid}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(text: Vec<u8>, name: String, tail: String) {
            Stat::parse(&text);
            Stat::parse(format!("1 ({name}) {tail}").as_bytes());
        }
    }
}
