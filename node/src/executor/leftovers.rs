//! What a task leaves behind when its shim was killed: the kernel has killed the main process,
//! and everything else lost its reaper.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Signal, pidfd_send_signal};

use crate::shim::{self, ControlGroup, ProcessIdentity, Stat, TASK_ID_VARIABLE};

/// How often the processes are looked through: those that start others while they are killed
/// are found the next time.
const PASSES_MAX: usize = 20;

/// How long a killed process may take to end in one pass, in milliseconds.
const END_MS: u16 = 500;

/// What is known of a task whose shim is gone.
#[derive(Debug)]
pub(super) struct Leftovers {
    /// Everything that the task started carries its id in the environment, unless it took care
    /// to lose it.
    pub(super) task_id: String,
    /// Whatever is in its groups is the task's too.
    pub(super) control_groups: Vec<ControlGroup>,
    /// The main process, if there ever was one.
    pub(super) main: Option<ProcessIdentity>,
    /// Whether the shim has only just died. Then the main process's session cannot have become
    /// another one with the same number, and who is in it belongs to the task.
    pub(super) fresh: bool,
}

impl Leftovers {
    /// Kills them all, and returns when they have ended or nothing more can be done: whether
    /// nothing was found any more. Blocks.
    pub(super) fn kill(&self) -> io::Result<bool> {
        // Each of them, whatever becomes of the others.
        let stubborn = self.control_groups.iter().filter(|group| !group.kill()).count();
        for _ in 0..PASSES_MAX {
            let found = self.find()?;
            if found.is_empty() {
                return Ok(stubborn == 0);
            }
            let killed: Vec<_> = found
                .into_iter()
                .filter(|process| pidfd_send_signal(process, Signal::KILL).is_ok())
                .collect();
            if killed.is_empty() {
                return Ok(false);
            }
            for process in &killed {
                let mut waited = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
                poll(&mut waited, PollTimeout::from(END_MS)).ok();
            }
        }
        Ok(false)
    }

    fn find(&self) -> io::Result<Vec<OwnedFd>> {
        let mut found = Vec::new();
        let main = self.main.as_ref().map(ProcessIdentity::open).transpose()?.flatten();
        found.extend(main.filter(|(_, stat)| !stat.has_ended()).map(|(process, _)| process));
        for stat in shim::processes()? {
            if stat.has_ended() || !(self.in_session(&stat) || self.carries_id(stat.pid)) {
                continue;
            }
            let identity = ProcessIdentity {
                pid: stat.pid,
                start_ticks: stat.start_ticks,
                boot_id: shim::boot_id()?,
            };
            // Looked at before it was opened, so it is compared again.
            found.extend(identity.open()?.map(|(process, _)| process));
        }
        Ok(found)
    }

    fn in_session(&self, stat: &Stat) -> bool {
        self.fresh
            && self.main.as_ref().is_some_and(|main| {
                stat.session == main.pid && stat.start_ticks >= main.start_ticks
            })
    }

    fn carries_id(&self, pid: i32) -> bool {
        shim::carries(pid, TASK_ID_VARIABLE, &self.task_id)
    }
}
