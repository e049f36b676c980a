//! The process between the daemon and one task: it starts the task, keeps its output and writes
//! down how it ended, whether the daemon lives or not.
//!
//! It is the daemon's own program under another name, and becomes two processes: the *shim*
//! stays, the *entry* turns into the task's program. Both are told everything by files in the
//! task's directory, so that neither shows the task's arguments in a list of processes. There
//! is no runtime here, and one thread.

mod check;
mod clock;
mod control_group;
mod directory;
mod entry;
mod health;
mod output;
mod process;
mod pump;
mod record;
mod report;
mod rotation;
mod supervise;
mod trouble;
mod ulimit;
mod user;

use std::{
    env,
    ffi::{CString, OsStr},
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::AsRawFd,
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::Path,
    process::{Command, exit},
};

use nix::{
    fcntl::OFlag,
    spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn},
    sys::{signal::SigSet, stat::Mode},
};

pub use control_group::{ControlGroup, Setting};
pub use directory::{Error, TaskDirectory};
pub use health::HealthCheck;
pub use output::{DamagedLine, Line, Stream};
pub use process::{ProcessIdentity, Stat, boot_id, carries, open, processes};
pub use record::{
    Claim, Damaged, Exit, Healthy, Instructions, NotStarted, Outcome, Record, Started,
};
use rustix::process::Signal;
pub use ulimit::Ulimit;

/// Set in the environment of a task, with its id, and inherited by everything it starts.
pub const TASK_ID_VARIABLE: &str = "SWARM_TASK_ID";

/// Set in the environment of a health check, with its process id, and inherited likewise.
const CHECK_VARIABLE: &str = "SWARM_HEALTH_CHECK";

/// What a shim obeys: stop the task. Not SIGTERM, which shutdowns and service managers send to
/// every process at once.
pub const STOP_REQUEST: Signal = Signal::USR1;

/// The names under which the daemon's program is one of these processes instead.
const SHIM: &str = "task-shim";
const ENTRY: &str = "task-entry";

/// What follows when an entry is to become a health check of the task.
const CHECK: &str = "check";

/// Returns whether this process has been started as the shim or the entry of a task.
pub fn requested() -> bool {
    env::args_os().next().is_some_and(|name| name == SHIM || name == ENTRY)
}

/// Is the shim or the entry of a task to its end. Only after [`requested`] has said yes, and
/// before anything else has opened a file or started a thread.
pub fn main() -> ! {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    let directory = TaskDirectory::new(arguments.next().unwrap_or_default().into());
    if name == ENTRY {
        let shim = arguments.next().and_then(|number| process_id(&number));
        entry::run(&directory, shim, arguments.next().is_some_and(|what| what == CHECK));
    }
    let Err(error) = supervise::run(&directory) else { exit(0) };
    // Standard error is the file `trouble` of the task; there is nobody else to tell.
    writeln!(io::stderr(), "{}", chain(&error)).ok();
    exit(1)
}

/// Reads the number of a process; an entry that was given none has no shim.
fn process_id(word: &OsStr) -> Option<u32> {
    word.to_str()?.parse().ok()
}

/// Starts `program` as the shim of the task in `directory`, and returns its process id. It gets
/// nothing of the caller's environment, and every signal has its usual meaning: one that the caller
/// was told to ignore would stay ignored in the shim, which must hear of its task's end, and in
/// the task. What the shim has to say before it dies goes to `trouble`.
pub fn spawn(program: &Path, directory: &TaskDirectory, trouble: &File) -> io::Result<i32> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF)?;
    attributes.set_sigdefault(&SigSet::all())?;
    let mut files = PosixSpawnFileActions::init()?;
    for standard in [0, 1] {
        files.add_open(standard, "/dev/null", OFlag::O_RDWR, Mode::empty())?;
    }
    files.add_dup2(trouble.as_raw_fd(), 2)?;
    let arguments = [CString::new(SHIM)?, CString::new(directory.path().as_os_str().as_bytes())?];
    let environment: [CString; 0] = [];
    Ok(posix_spawn(program, &files, &attributes, &arguments, &environment)?.as_raw())
}

/// Returns whether a process is the shim of the task in `directory`.
pub fn serves(pid: i32, directory: &Path) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = words.split(|byte| *byte == 0);
    let directory = directory.as_os_str().as_bytes();
    words.next() == Some(SHIM.as_bytes()) && words.next() == Some(directory)
}

/// Returns the command for a child of this shim that becomes a program of the task. It is told
/// whose child it is: a shim that dies before it can look must not leave it behind.
fn entry(directory: &TaskDirectory, task_id: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(ENTRY).arg(directory.path()).arg(std::process::id().to_string());
    command.env_clear().env(TASK_ID_VARIABLE, task_id);
    command
}

/// Returns an error and its causes as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_word_of_a_command_line_panics(bytes: Vec<u8>, number: u32) {
            process_id(&OsString::from_vec(bytes));
            prop_assert_eq!(process_id(OsStr::new(&number.to_string())), Some(number));
        }
    }
}
