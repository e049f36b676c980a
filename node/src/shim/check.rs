//! One check of a task's health: a process that runs as the task does.

use std::{
    error,
    io::{self, PipeReader, Write, pipe},
    process::Stdio,
};

use rustix::process::{Pid, Signal, WaitStatus, kill_process, kill_process_group};

use super::{CHECK, chain, directory::TaskDirectory, entry, health::Ended, report::Report};

/// How often it is said that checks cannot begin, in the life of a shim.
const TROUBLES_MAX: u32 = 100;

/// A check that has been begun.
pub(super) struct Check {
    /// Leads a session and a group of its own, or is on its way there.
    main: Pid,
    report: PipeReader,
}

impl Check {
    pub(super) fn begin(directory: &TaskDirectory, task_id: &str) -> io::Result<Self> {
        let (report, report_end) = pipe()?;
        let child = entry(directory, task_id)
            .arg(CHECK)
            .stdin(Stdio::from(report_end))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { main: Pid::from_child(&child), report })
    }

    /// Returns whether this is its process.
    pub(super) fn is(&self, pid: Pid) -> bool {
        self.main == pid
    }

    /// Kills it, before its process has been reaped.
    pub(super) fn kill(&self) {
        // Both: it leads a group of its own, or does not yet.
        kill_process_group(self.main, Signal::KILL).ok();
        kill_process(self.main, Signal::KILL).ok();
    }

    /// Returns what came of it, once its process has been reaped.
    pub(super) fn ended(self, status: WaitStatus) -> io::Result<Ended> {
        match Report::read(self.report)? {
            Report::Begun if status.exit_status() == Some(0) => Ok(Ended::Succeeded),
            Report::Begun => Ok(Ended::Failed),
            Report::Failed(failure) => Err(io::Error::other(failure.reason)),
            Report::Silent => Err(io::Error::other("it was ended before its command ran")),
        }
    }
}

/// What is said about checks that cannot begin: once until one has begun again, and not for ever.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    is_told: bool,
    told: u32,
}

impl Trouble {
    /// Tells whoever looks into the task's directory.
    pub(super) fn tell(&mut self, error: &dyn error::Error) {
        if !self.is_told && self.told < TROUBLES_MAX {
            writeln!(io::stderr(), "a health check could not begin: {}", chain(error)).ok();
            self.told += 1;
        }
        self.is_told = true;
    }

    /// A check has begun.
    pub(super) fn is_over(&mut self) {
        self.is_told = false;
    }
}
