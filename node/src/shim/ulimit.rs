//! Limits that a process carries with it, by the names that users know.

use nix::{
    errno::Errno,
    sys::resource::{RLIM_INFINITY, Resource, setrlimit},
};
use prost::Message;

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
