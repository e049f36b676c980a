//! From the shim's child to the task's program: everything that a process can only do to
//! itself, and then exec.
//!
//! Its standard input is the way to say how it fares (`report`); the exec closes it.

use std::{
    env, error,
    fmt::Display,
    fs::File,
    io,
    os::{
        fd::AsFd,
        unix::process::{CommandExt, parent_id},
    },
    process::{self, Command, exit},
};

use nix::{
    errno::Errno,
    sys::{
        signal::SigSet,
        stat::{Mode, umask},
    },
    unistd::{dup2_stdin, setsid},
};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::{
    CHECK_VARIABLE, chain,
    directory::TaskDirectory,
    record::{Instructions, NotStarted},
    report,
    ulimit::Ulimit,
    user::Rights,
};

/// A program that does not exist, as a shell says it; 126 is everything else.
const NOT_FOUND: i32 = 127;
const CANNOT_RUN: i32 = 126;

/// Longer reasons are cut, so that the exit record fits into the room reserved for it.
const REASON_CHARACTERS_MAX: usize = 500;

/// Why an entry has not become its program.
struct Failure {
    told: NotStarted,
    /// Whether it is the task's fault, and not the machine's, which may do better in a moment.
    is_of_task: bool,
}

impl From<NotStarted> for Failure {
    /// What nobody has looked into is the machine's fault.
    fn from(told: NotStarted) -> Self {
        Self { told, is_of_task: false }
    }
}

/// Becomes the task's program, or a check of its health: another program in its place.
///
/// A check that fails by the task's own fault is reported by the exit code alone, as if its
/// program had run.
pub(super) fn run(directory: &TaskDirectory, shim: Option<u32>, check: bool) -> ! {
    // The exec must not inherit it, and its own standard input takes its place.
    let Ok(report) = io::stdin().as_fd().try_clone_to_owned() else { exit(CANNOT_RUN) };
    let mut report = File::from(report);
    let failure = match prepare(directory, shim, check) {
        Ok((instructions, mut command)) => {
            report::ready(&mut report).ok();
            let error = command.exec();
            let is_of_task = is_of_task(&instructions, number(&error));
            Failure { told: cannot_exec(&command, &error), is_of_task }
        }
        Err(failure) => {
            if check && failure.is_of_task {
                report::ready(&mut report).ok();
            }
            failure
        }
    };
    if !(check && failure.is_of_task) {
        report::failed(&mut report, &failure.told).ok();
    }
    exit(failure.told.code)
}

/// Does everything but the exec.
fn prepare(
    directory: &TaskDirectory,
    shim: Option<u32>,
    check: bool,
) -> Result<(Instructions, Command), Failure> {
    let instructions = directory.read::<Instructions>().map_err(|error| cannot_run(&error))?;
    let instructions = instructions.ok_or_else(|| not_started(CANNOT_RUN, "no instructions"))?;
    let of = |errno: Option<Errno>, told: NotStarted| {
        let is_of_task = is_of_task(&instructions, errno);
        Failure { told, is_of_task }
    };
    let failed = |verb: &'static str| {
        move |errno: Errno| not_started(CANNOT_RUN, &format!("{verb}: {}", errno.desc()))
    };
    setsid().map_err(failed("beginning a session"))?;
    // The shim blocks signals, the daemon may hide files: neither is the task's concern.
    SigSet::empty().thread_set_mask().map_err(failed("unblocking signals"))?;
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    // While this process has the daemon's rights: the task's may not be enough.
    for group in &instructions.control_groups {
        let joined = if check { group.of_checks().join() } else { group.join() };
        joined.map_err(|error| cannot_run(&error))?;
    }
    let rights = Rights::look_up(&instructions.user, &instructions.groups)
        .map_err(|error| of(error.errno(), cannot_run(&error)))?;
    if !check {
        rights.take_output().map_err(|error| cannot_run(&error))?;
    }
    let command = command(&instructions, check);
    File::open("/dev/null")
        .and_then(|nothing| Ok(dup2_stdin(nothing)?))
        .map_err(|error| cannot_run(&error))?;
    // Behind everything that needs a file or more than a little memory: the limits may leave
    // none. Before the rights: to raise a limit the task's may not be enough.
    for limit in &instructions.ulimits {
        limit.set().map_err(|errno| {
            let reason = format!("setting ulimit {}: {}", limit.name, errno.desc());
            of(Some(errno), not_started(CANNOT_RUN, &reason))
        })?;
    }
    rights.take().map_err(|error| of(error.errno(), cannot_run(&error)))?;
    env::set_current_dir(&instructions.directory).map_err(|error| {
        let reason = format!("chdir: {:?}: {}", instructions.directory, text(&error));
        of(number(&error), not_started(CANNOT_RUN, &reason))
    })?;
    // A change of user forgets the request, so it comes last. A parent that died before the
    // request is not told of, so it is looked at afterwards.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| cannot_run(&io::Error::from(error)))?;
    if shim != Some(parent_id()) {
        return Err(not_started(CANNOT_RUN, "the shim is gone").into());
    }
    Ok((instructions, command))
}

fn cannot_exec(command: &Command, error: &io::Error) -> NotStarted {
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN };
    not_started(code, &format!("exec: {:?}: {}", command.get_program(), text(error)))
}

/// Returns whether what the system has refused is the task's fault. What the machine may have in a
/// moment is not; a process too many is, when the task's processes are limited.
fn is_of_task(instructions: &Instructions, refusal: Option<Errno>) -> bool {
    match refusal {
        Some(Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE | Errno::EIO) => false,
        Some(Errno::EAGAIN) => instructions.ulimits.iter().any(|limit| limit.name == "nproc"),
        Some(_) | None => true,
    }
}

fn number(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

fn command(instructions: &Instructions, check: bool) -> Command {
    let checked = instructions.health_check.as_ref().filter(|_| check);
    let (program, arguments) = match checked.and_then(|check| check.command.split_first()) {
        Some((program, arguments)) => (program, arguments),
        None => (&instructions.program, &instructions.arguments[..]),
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    command.envs(instructions.environment.iter().filter_map(|entry| entry.split_once('=')));
    if check {
        command.env(CHECK_VARIABLE, process::id().to_string());
    }
    command
}

/// Makes a failure of what is common to all programs.
pub(super) fn cannot_run(error: &dyn error::Error) -> NotStarted {
    not_started(CANNOT_RUN, &chain(error))
}

/// Makes a failure of an entry that was ended before it could say anything.
pub(super) fn ended_silently(end: &dyn Display, ulimits: &[Ulimit]) -> NotStarted {
    let cause = Ulimit::tiny(ulimits).map(|text| format!(": {text}")).unwrap_or_default();
    not_started(CANNOT_RUN, &format!("ended before its program ran ({end}){cause}"))
}

fn not_started(code: i32, reason: &str) -> NotStarted {
    NotStarted { code, reason: reason.chars().take(REASON_CHARACTERS_MAX).collect() }
}

/// What the system said, without the number that the standard library adds.
fn text(error: &io::Error) -> String {
    match number(error) {
        Some(number) => number.desc().to_owned(),
        None => error.to_string(),
    }
}
