//! Carries what a task writes from its pipes into the files.

use std::{
    io::{self, PipeReader, Read},
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    clock,
    output::{Splitter, Stream},
    rotation::OutputFiles,
};

/// How much is read from a pipe at once, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// How often the pipes are read when everybody who wrote is gone: enough to empty the largest
/// pipe that a process without privileges can make, 1 MiB.
const LAST_READS_MAX: usize = 1024 * 1024 / READ_BYTES + 1;

/// The pipes of one task, and where they lead.
pub(super) struct Pump {
    files: OutputFiles,
    /// Those at whose other end somebody may still write.
    pipes: Vec<(PipeReader, Splitter)>,
}

impl Pump {
    pub(super) fn new(files: OutputFiles, stdout: PipeReader, stderr: PipeReader) -> Self {
        let stdout = (stdout, Splitter::new(Stream::Stdout));
        let stderr = (stderr, Splitter::new(Stream::Stderr));
        Self { files, pipes: vec![stdout, stderr] }
    }

    /// Carries what there is; returns when `other` can be read, or something was carried, or
    /// after `timeout`.
    pub(super) fn carry(&mut self, other: BorrowedFd<'_>, timeout: Option<Duration>) {
        let mut waited = vec![PollFd::new(other, PollFlags::POLLIN)];
        waited.extend(self.waited());
        if poll(&mut waited, poll_timeout(timeout)).is_ok() {
            let ready = ready(&waited[1..]);
            self.read(&ready);
        }
    }

    /// Carries what the pipes still hold. The task's processes are gone; a descriptor may have
    /// been handed to one elsewhere, and what that writes from now on is not the task's.
    pub(super) fn finish(mut self) {
        for _ in 0..LAST_READS_MAX {
            let mut waited: Vec<_> = self.waited().collect();
            let Ok(1..) = poll(&mut waited, PollTimeout::ZERO) else { break };
            let ready = ready(&waited);
            self.read(&ready);
        }
        let at = clock::wall();
        for line in self.pipes.iter_mut().filter_map(|(_, splitter)| splitter.finish(at)) {
            self.files.append(&line);
        }
        self.files.flush();
    }

    fn waited(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.pipes.iter().map(|(pipe, _)| PollFd::new(pipe.as_fd(), PollFlags::POLLIN))
    }

    /// Reads once from each pipe that is ready, and drops those that have ended.
    fn read(&mut self, ready: &[bool]) {
        let mut bytes = [0; READ_BYTES];
        let mut ready = ready.iter();
        let files = &mut self.files;
        self.pipes.retain_mut(|(pipe, splitter)| {
            if ready.next() != Some(&true) {
                return true;
            }
            match pipe.read(&mut bytes) {
                Ok(count) if count > 0 => {
                    splitter.push(clock::wall(), &bytes[..count], |line| files.append(&line));
                    true
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
                _ => {
                    splitter.finish(clock::wall()).iter().for_each(|line| files.append(line));
                    false
                }
            }
        });
        files.flush();
    }
}

/// Which of those waited for have something to say, were it only that they have ended.
fn ready(waited: &[PollFd<'_>]) -> Vec<bool> {
    waited.iter().map(|fd| fd.any() == Some(true)).collect()
}

/// Rounded up: a moment that was waited for has come afterwards.
fn poll_timeout(timeout: Option<Duration>) -> PollTimeout {
    let Some(timeout) = timeout else { return PollTimeout::NONE };
    let milliseconds = timeout.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
}
