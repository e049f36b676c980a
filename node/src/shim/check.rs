//! One check of a task's health: a process that runs as the task does, and whatever it starts.

use std::{
    collections::BTreeSet,
    io::{self, PipeReader, pipe},
    process::Stdio,
};

use rustix::process::{
    Pid, Signal, WaitStatus, getpid, kill_process, kill_process_group, pidfd_send_signal,
};

use super::{
    CHECK, CHECK_VARIABLE,
    control_group::ControlGroup,
    directory::TaskDirectory,
    entry,
    health::Ended,
    process::{Stat, carries, open, processes},
    report::Report,
};

/// How often processes are looked through for what a check has left: they may start others
/// meanwhile.
const PASSES_MAX: usize = 50;

/// A check that has been begun.
pub(super) struct Check {
    /// Leads a session and a group of its own, or is on its way there.
    main: Pid,
    report: PipeReader,
    /// Nothing but checks is in it. None where processes are not counted.
    group: Option<ControlGroup>,
}

impl Check {
    /// Begins a check of the task whose control groups these are.
    pub(super) fn begin(
        directory: &TaskDirectory,
        task_id: &str,
        groups: &[ControlGroup],
    ) -> io::Result<Self> {
        let counted = groups.iter().find(|group| group.counts_below());
        // Without it a check joins the task's own group.
        let group = counted.and_then(|group| group.create_for_checks().ok());
        let (report, report_end) = pipe()?;
        let child = entry(directory, task_id)
            .arg(CHECK)
            .stdin(Stdio::from(report_end))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { main: Pid::from_child(&child), report, group })
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

    /// Kills what it has left behind, once its process has been reaped. The task's main process is
    /// `task`; what that started is not the check's.
    pub(super) fn sweep(&self, task: Pid) {
        if let Some(group) = &self.group {
            group.kill_now();
            return;
        }
        let mut killed = BTreeSet::new();
        for _ in 0..PASSES_MAX {
            let left = self.left(task.as_raw_pid());
            let fresh: Vec<_> = left.iter().filter(|stat| killed.insert(stat.pid)).collect();
            if fresh.is_empty() {
                return;
            }
            for stat in fresh {
                let Ok(Some(process)) = open(stat.pid) else { continue };
                // Looked at before it was opened, so it is compared again.
                if Stat::of(stat.pid).is_ok_and(|now| now.start_ticks == stat.start_ticks) {
                    pidfd_send_signal(process, Signal::KILL).ok();
                }
            }
        }
    }

    /// What lives on: children of the shim, as everything becomes that loses its parent, in the
    /// check's session or with its variable, and all below them.
    fn left(&self, task: i32) -> Vec<Stat> {
        let myself = getpid().as_raw_pid();
        let session = self.main.as_raw_pid();
        let mut rest = processes().unwrap_or_default();
        let is_of_check = |stat: &mut Stat| {
            stat.parent == myself
                && stat.pid != task
                && (stat.session == session
                    || carries(stat.pid, CHECK_VARIABLE, &session.to_string()))
        };
        let mut found: Vec<_> = rest.extract_if(.., is_of_check).collect();
        let mut looked_at = 0;
        while let Some(parent) = found.get(looked_at).map(|stat| stat.pid) {
            found.extend(rest.extract_if(.., |stat| stat.parent == parent));
            looked_at += 1;
        }
        found.retain(|stat| !stat.has_ended());
        found
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
