//! A shim as the daemon sees it: to wait for, to ask, to kill, whether or not it is a child.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    io::Errno,
    process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid},
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::shim::{self, ProcessIdentity, STOP_REQUEST};

/// A process held by a descriptor, so that its number cannot come to mean another one.
#[derive(Debug)]
pub(super) struct RunningShim {
    process: AsyncFd<OwnedFd>,
}

impl RunningShim {
    /// Takes over a child that has just been spawned.
    pub(super) fn spawned(pid: i32) -> io::Result<Self> {
        let process = shim::open(pid)?.ok_or(Errno::SRCH)?;
        Self::hold(process)
    }

    /// Finds a recorded shim; none when it is gone.
    pub(super) fn adopt(identity: &ProcessIdentity) -> io::Result<Option<Self>> {
        let Some((process, stat)) = identity.open()? else { return Ok(None) };
        if stat.has_ended() {
            reap(&process);
            return Ok(None);
        }
        Self::hold(process).map(Some)
    }

    /// Finds the shim of a directory whose claim cannot be read, by what it was started with.
    pub(super) fn find(directory: &Path) -> io::Result<Option<Self>> {
        for stat in shim::processes()?.into_iter().filter(|stat| !stat.has_ended()) {
            // Opened before it is looked at: if this is the shim, so is what was opened.
            let Some(process) = shim::open(stat.pid)? else { continue };
            if shim::serves(stat.pid, directory) {
                return Self::hold(process).map(Some);
            }
        }
        Ok(None)
    }

    #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor is sound here")]
    fn hold(process: OwnedFd) -> io::Result<Self> {
        let process = AsyncFd::with_interest(process, Interest::READABLE)?;
        Ok(Self { process })
    }

    /// Returns when it has ended.
    pub(super) async fn ended(&self) -> io::Result<()> {
        self.process.readable().await?.retain_ready();
        reap(self.process.get_ref());
        Ok(())
    }

    /// Asks it to stop its task. One that has ended is not asked.
    pub(super) fn request_stop(&self) {
        self.signal(STOP_REQUEST);
    }

    /// Kills it, and with it the main process of its task.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        pidfd_send_signal(self.process.get_ref(), signal).ok();
    }
}

/// Lets the system forget a child that has ended; no child of ours is somebody else's to reap.
fn reap(process: &OwnedFd) {
    waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG).ok();
}
