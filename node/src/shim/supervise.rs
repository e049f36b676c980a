//! The life of a shim: claim the task, start it, keep its output, obey a stop request, write down
//! how it ended, and leave no process behind.

use std::{
    env,
    fs::{self, File},
    io::{self, pipe},
    os::fd::AsFd,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::SigSet,
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::{close, setsid},
};
use rustix::{
    io::Errno,
    process::{
        Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group,
        set_child_subreaper, wait,
    },
    thread::set_name,
};

use super::{
    STOP_REQUEST,
    check::Check,
    clock,
    control_group::ControlGroup,
    directory::{Error, TaskDirectory},
    entry,
    entry::{cannot_run, ended_silently},
    health::{Due, Ended, Finding, Health},
    process::{ProcessIdentity, processes},
    pump::Pump,
    record::{Claim, Exit, Healthy, Instructions, NotStarted, Outcome, Started},
    report::Report,
    rotation::{Limits, OutputFiles},
    trouble::Trouble,
};

/// Longer grace periods are cut: longer ones cannot be added to the time.
const GRACE_PERIOD_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long killed processes may take to end, in milliseconds. One that hangs in the kernel must
/// not hide the end of its task; it is gone when it comes back.
const END_MS: u16 = 10_000;

/// How long to wait for children that no list of processes shows, in milliseconds: a parent that
/// ended while the list was made hands them over.
const HANDOVER_MS: u16 = 100;

/// How long to wait before a task that could not be asked to stop is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How often the exit record is tried while the disk refuses it, a second apart.
const EXIT_ATTEMPTS: usize = 60;

/// Runs the task in `directory`, unless another shim does, until nothing is left of it.
pub(super) fn run(directory: &TaskDirectory) -> Result<(), Error> {
    let system = |verb| move |source| Error::System { verb, source };
    close_inherited().map_err(system("close what it inherited"))?;
    // No folder of whoever started the daemon is kept in use.
    env::set_current_dir("/").map_err(system("leave its folder"))?;
    let signals = block_signals().map_err(system("take its signals"))?;
    setsid().map_err(|errno| system("begin a session")(errno.into()))?;
    set_child_subreaper(Some(getpid())).map_err(|errno| system("become a reaper")(errno.into()))?;
    // Else it is shown as `exe`, after the link it was started through.
    set_name(c"task-shim").map_err(|errno| system("take its name")(errno.into()))?;
    let myself = ProcessIdentity::current().map_err(system("find itself"))?;
    if !directory.claim(&Claim { shim: Some(myself) })? {
        return Ok(());
    }
    let starting = directory.hold_starting()?;
    // The entry says what is wrong with instructions that cannot be read.
    let instructions = directory.read::<Instructions>().ok().flatten().unwrap_or_default();
    match start(directory, &instructions, &signals) {
        Ok(mut task) => {
            // A task with health checks has started when one has succeeded.
            task.starting = task.health.is_some().then_some(starting);
            task.supervise(directory)
        }
        Err(failure) => {
            let outcome = Some(Outcome::NotStarted(failure));
            let recorded = record_exit(directory, &Exit { outcome, out_of_memory: false });
            sweep(directory, &signals, &instructions.control_groups);
            recorded
        }
    }
}

/// Closes what whoever started the daemon left open for its children.
fn close_inherited() -> io::Result<()> {
    let standard = 0..=2;
    let inherited: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| !standard.contains(number))
        .collect();
    for number in inherited {
        // The listing's own descriptor is among them, and closed already.
        close(number).ok();
    }
    Ok(())
}

/// Turns all signals into something to read, so that none but SIGKILL and SIGSTOP does harm.
fn block_signals() -> io::Result<SignalFd> {
    SigSet::all().thread_set_mask()?;
    Ok(SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Starts the task; afterwards its program runs, and that is recorded.
fn start<'signals>(
    directory: &TaskDirectory,
    instructions: &Instructions,
    signals: &'signals SignalFd,
) -> Result<Task<'signals>, NotStarted> {
    let failed = |error: Error| cannot_run(&error);
    let refused = |error: io::Error| cannot_run(&error);
    let limits = Limits {
        file_bytes_max: instructions.output_file_bytes_max,
        files_max: instructions.output_files_max,
    };
    let files = OutputFiles::begin(directory.output(), limits).map_err(refused)?;
    directory.reserve_exit().map_err(failed)?;
    for group in &instructions.control_groups {
        group.create().map_err(failed)?;
    }
    let (stdout, stdout_end) = pipe().map_err(refused)?;
    let (stderr, stderr_end) = pipe().map_err(refused)?;
    let (report, report_end) = pipe().map_err(refused)?;
    let mut child = entry(directory, &instructions.task_id)
        .stdin(Stdio::from(report_end))
        .stdout(Stdio::from(stdout_end))
        .stderr(Stdio::from(stderr_end))
        .spawn()
        .map_err(refused)?;
    match Report::read(report).map_err(refused)? {
        Report::Begun => {}
        Report::Failed(failure) => return Err(failure),
        Report::Silent => {
            let end = child.wait().map_err(refused)?;
            return Err(ended_silently(&end, &instructions.ulimits));
        }
    }
    let task = Task {
        main: Pid::from_child(&child),
        stop_signal: instructions.stop_signal,
        grace_period: Duration::from_millis(instructions.grace_period_ms).min(GRACE_PERIOD_MAX),
        stop: Stop::NotAsked,
        task_id: instructions.task_id.clone(),
        control_groups: instructions.control_groups.clone(),
        health: instructions
            .health_check
            .clone()
            .map(|check| Health::begin(check, clock::monotonic())),
        checking: None,
        check_trouble: Trouble::new("a health check could not begin"),
        asking: None,
        ask_trouble: Trouble::new("the task could not be asked to stop"),
        unhealthy: false,
        starting: None,
        signals,
        pump: Pump::new(files, stdout, stderr),
    };
    let recorded = ProcessIdentity::of(task.main.as_raw_pid())
        .map_err(refused)
        .and_then(|main| directory.write(&Started { main: Some(main) }).map_err(failed));
    if let Err(failure) = recorded {
        task.kill_main();
        return Err(failure);
    }
    Ok(task)
}

/// Writes the exit record. A disk that refuses it now may take it in a moment.
fn record_exit(directory: &TaskDirectory, exit: &Exit) -> Result<(), Error> {
    for _ in 1..EXIT_ATTEMPTS {
        if directory.write(exit).is_ok() || !directory.exists() {
            return Ok(());
        }
        sleep(Duration::from_secs(1));
    }
    directory.write(exit)
}

/// Leaves nothing of a task behind whose end is recorded. What is left the daemon tries again.
fn sweep(directory: &TaskDirectory, signals: &SignalFd, groups: &[ControlGroup]) {
    if end_descendants(signals) {
        for group in groups {
            group.remove().ok();
        }
        directory.mark_swept();
    }
}

/// How far the stopping of a task is.
enum Stop {
    NotAsked,
    /// The task is asked, and killed when its grace period is over.
    Grace {
        end: Instant,
        /// When to ask it; none once it has been.
        ask: Option<Instant>,
    },
    Killed,
}

/// A task whose program runs.
struct Task<'signals> {
    /// Not reaped before its end is known, so the number means this process and no other. It
    /// leads a session and a group of its own.
    main: Pid,
    stop_signal: i32,
    grace_period: Duration,
    stop: Stop,
    task_id: String,
    control_groups: Vec<ControlGroup>,
    health: Option<Health>,
    /// The check that runs.
    checking: Option<Check>,
    check_trouble: Trouble,
    /// A process that sends the stop signal.
    asking: Option<Pid>,
    ask_trouble: Trouble,
    /// Whether its health is why it ends.
    unhealthy: bool,
    /// Held open while the start is not decided.
    starting: Option<File>,
    signals: &'signals SignalFd,
    pump: Pump,
}

impl Task<'_> {
    /// Stays with the task to its end.
    fn supervise(mut self, directory: &TaskDirectory) -> Result<(), Error> {
        let code = loop {
            let check = self.step_health(directory);
            let (ask, end) = match self.stop {
                Stop::Grace { end, ask } => (ask, Some(end)),
                Stop::NotAsked | Stop::Killed => (None, None),
            };
            let next = [check, ask, end].into_iter().flatten().min();
            let timeout = next.map(|at| at.saturating_duration_since(clock::monotonic()));
            self.pump.carry(self.signals.as_fd(), timeout);
            let asked = take_signals(self.signals);
            if let Some(code) = self.reap(directory)? {
                break code;
            }
            self.step_stop(asked || self.unhealthy);
        };
        // At once: what follows may take a while, and the code must not depend on it.
        // A task that ended before it was stopped for its health ended by itself.
        let stopped = matches!(self.stop, Stop::Grace { .. } | Stop::Killed);
        let unhealthy = self.unhealthy && stopped;
        let outcome = Some(if unhealthy { Outcome::Unhealthy(code) } else { Outcome::Code(code) });
        let out_of_memory = self.control_groups.iter().any(ControlGroup::ran_out_of_memory);
        let recorded = record_exit(directory, &Exit { outcome, out_of_memory });
        self.starting = None;
        sweep(directory, self.signals, &self.control_groups);
        self.pump.finish();
        recorded
    }

    fn step_stop(&mut self, asked: bool) {
        let now = clock::monotonic();
        if asked && matches!(self.stop, Stop::NotAsked) {
            self.health.iter_mut().for_each(Health::end);
            self.stop = Stop::Grace { end: now + self.grace_period, ask: Some(now) };
        }
        let Stop::Grace { end, ask } = self.stop else { return };
        // First, so that a task without a grace period is asked as well.
        if ask.is_some_and(|ask| ask <= now) {
            let asked = self.ask_to_stop();
            self.has_asked(asked);
        } else if end <= now {
            self.kill_main();
            self.stop = Stop::Killed;
        }
    }

    /// Sends the task its stop signal. No safe call sends a real-time signal, but a shell does, in
    /// its own time; the main process is not reaped meanwhile, so its number is not another's.
    fn ask_to_stop(&mut self) -> io::Result<()> {
        if let Some(signal) = Signal::from_named_raw(self.stop_signal) {
            kill_process_group(self.main, signal).ok();
            return Ok(());
        }
        let line = format!("kill -{} -{}", self.stop_signal, self.main.as_raw_pid());
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &line]).env_clear();
        shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.asking = Some(Pid::from_child(&shell.spawn()?));
        Ok(())
    }

    /// Takes what came of asking; what failed is tried again, as long as the task has time.
    fn has_asked(&mut self, asked: io::Result<()>) {
        let again = asked.err().map(|error| {
            self.ask_trouble.tell(&error);
            clock::monotonic() + ASK_AGAIN_AFTER
        });
        if let Stop::Grace { ask, .. } = &mut self.stop {
            *ask = again;
        }
    }

    /// Does what is due about the task's health; returns when to look again.
    fn step_health(&mut self, directory: &TaskDirectory) -> Option<Instant> {
        loop {
            match self.health.as_mut()?.due(clock::monotonic())? {
                Due::Wait(until) => return Some(until),
                Due::Begin => match self.begin_check(directory) {
                    Ok(check) => self.checking = Some(check),
                    Err(error) => {
                        self.check_trouble.tell(&error);
                        self.take_finding(directory, Ended::NeverBegun);
                    }
                },
                Due::Kill => self.checking.iter().for_each(Check::kill),
            }
        }
    }

    fn begin_check(&self, directory: &TaskDirectory) -> io::Result<Check> {
        Check::begin(directory, &self.task_id, &self.control_groups)
    }

    fn end_check(&mut self, directory: &TaskDirectory, check: Check, status: WaitStatus) {
        check.sweep(self.main);
        let ended = check.ended(status).unwrap_or_else(|error| {
            self.check_trouble.tell(&error);
            Ended::NeverBegun
        });
        if ended != Ended::NeverBegun {
            self.check_trouble.is_over();
        }
        self.take_finding(directory, ended);
    }

    fn take_finding(&mut self, directory: &TaskDirectory, ended: Ended) {
        let Some(health) = &mut self.health else { return };
        match health.ended(ended, clock::monotonic()) {
            // What cannot be written now is tried again after the next check.
            Finding::Healthy if self.starting.is_some() && directory.write(&Healthy {}).is_ok() => {
                self.starting = None;
            }
            Finding::Healthy | Finding::Open => {}
            Finding::Unhealthy => self.unhealthy = true,
        }
    }

    /// Reaps all that have ended; returns the exit code when the main process is among them.
    ///
    /// The end of a process that somebody else has reaped is missed, and no code is invented.
    fn reap(&mut self, directory: &TaskDirectory) -> Result<Option<i32>, Error> {
        let mut code = None;
        loop {
            let (pid, status) = match wait(WaitOptions::NOHANG) {
                Ok(Some(ended)) => ended,
                Err(Errno::CHILD) if code.is_none() => {
                    let source = Errno::CHILD.into();
                    return Err(Error::System { verb: "wait for its task", source });
                }
                Ok(None) | Err(_) => return Ok(code),
            };
            if pid == self.main {
                code = Some(exit_code(status));
            } else if let Some(check) = self.checking.take_if(|check| check.is(pid)) {
                self.end_check(directory, check, status);
            } else if self.asking.take_if(|asking| *asking == pid).is_some() {
                let reason =
                    || io::Error::other(format!("its shell ended with {}", exit_code(status)));
                self.has_asked(if exit_code(status) == 0 { Ok(()) } else { Err(reason()) });
            }
        }
    }

    /// Kills the main process with its group. What else there is ends after it.
    fn kill_main(&self) {
        kill_process_group(self.main, Signal::KILL).ok();
    }
}

/// Reads all signals that have come; returns whether one asks to stop.
fn take_signals(signals: &SignalFd) -> bool {
    let mut requested = false;
    while let Ok(Some(signal)) = signals.read_signal() {
        requested |= signal.ssi_signo == STOP_REQUEST.as_raw().unsigned_abs();
    }
    requested
}

/// Kills and reaps everything below the shim: what loses its parent becomes a child of the shim,
/// generation after generation. Returns whether nothing is left; processes that the shim may not
/// kill are.
fn end_descendants(signals: &SignalFd) -> bool {
    loop {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return true,
            }
        }
        let myself = getpid().as_raw_pid();
        let children = processes().unwrap_or_default();
        let children = children.iter().filter(|stat| stat.parent == myself);
        let killed = children
            .filter_map(|stat| Pid::from_raw(stat.pid))
            .filter(|pid| kill_process(*pid, Signal::KILL) != Err(Errno::PERM))
            .count();
        // A child that ends has handed its children over before its end is signalled.
        let mut waited = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let patience = if killed == 0 { HANDOVER_MS } else { END_MS };
        if poll(&mut waited, PollTimeout::from(patience)) == Ok(0) {
            return false;
        }
        take_signals(signals);
    }
}

/// Returns what a shell would: the code, or 128 plus the signal.
fn exit_code(status: WaitStatus) -> i32 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signal).expect("only ends are waited for")
}
