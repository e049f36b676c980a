//! Limits that a process carries with it, by the names that users know.

use nix::{
    errno::Errno,
    sys::resource::{RLIM_INFINITY, Resource, setrlimit},
};
use prost::Message;

/// What an ordinary program needs to be loaded, in bytes and files.
const NEEDED: [(&str, u64); 4] =
    [("as", 8 << 20), ("data", 1 << 20), ("nofile", 4), ("stack", 128 << 10)];

/// One limit of a task's processes.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct Ulimit {
    /// What is limited.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What counts.
    #[prost(uint64, tag = "2")]
    pub soft: u64,
    /// How far the task may raise that.
    #[prost(uint64, tag = "3")]
    pub hard: u64,
}

impl Ulimit {
    /// The value that means no limit.
    pub const INFINITE: u64 = RLIM_INFINITY;

    /// Returns whether the name is one that can be limited.
    pub fn is_known(name: &str) -> bool {
        resource(name).is_some()
    }

    /// Says which of a task's limits hardly any program can be loaded with; none when none is.
    pub fn tiny(limits: &[Self]) -> Option<String> {
        let is_tiny = |limit: &&Self| {
            let needed = NEEDED.iter().find(|(name, _)| *name == limit.name);
            needed.is_some_and(|(_, needed)| limit.soft < *needed)
        };
        let names: Vec<_> = limits
            .iter()
            .filter(is_tiny)
            .map(|limit| format!("ulimit {} {}", limit.name, limit.soft))
            .collect();
        (!names.is_empty()).then(|| format!("{} may be too low for it", names.join(", ")))
    }

    /// Gives the limit to this process.
    pub(super) fn set(&self) -> Result<(), Errno> {
        setrlimit(resource(&self.name).ok_or(Errno::EINVAL)?, self.soft, self.hard)
    }
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::RLIMIT_AS,
        "core" => Resource::RLIMIT_CORE,
        "cpu" => Resource::RLIMIT_CPU,
        "data" => Resource::RLIMIT_DATA,
        "fsize" => Resource::RLIMIT_FSIZE,
        "locks" => Resource::RLIMIT_LOCKS,
        "memlock" => Resource::RLIMIT_MEMLOCK,
        "msgqueue" => Resource::RLIMIT_MSGQUEUE,
        "nice" => Resource::RLIMIT_NICE,
        "nofile" => Resource::RLIMIT_NOFILE,
        "nproc" => Resource::RLIMIT_NPROC,
        "rss" => Resource::RLIMIT_RSS,
        "rtprio" => Resource::RLIMIT_RTPRIO,
        "rttime" => Resource::RLIMIT_RTTIME,
        "sigpending" => Resource::RLIMIT_SIGPENDING,
        "stack" => Resource::RLIMIT_STACK,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_no_program_can_be_loaded_with_are_named() {
        let limit = |name: &str, soft| Ulimit { name: name.into(), soft, hard: Ulimit::INFINITE };
        assert_eq!(Ulimit::tiny(&[]), None);
        let ordinary = [limit("as", 1 << 30), limit("nofile", 4), limit("core", 0)];
        assert_eq!(Ulimit::tiny(&ordinary), None);
        let tiny = [limit("as", 1), limit("core", 0), limit("nofile", 3)];
        let expected = "ulimit as 1, ulimit nofile 3 may be too low for it";
        assert_eq!(Ulimit::tiny(&tiny).as_deref(), Some(expected));
    }
}
