//! The directory a daemon owns: made, locked and checked before anything else looks into it.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::shim::Stat;

/// The file whose lock says that a daemon runs here; it holds that daemon's process id.
const LOCK: &str = "swarmd.lock";

/// A process id and the end of its line.
const PROCESS_ID_BYTES_MAX: u64 = 16;

/// How often a lock is looked at whose daemon has ended, and how many times. What that daemon was
/// about to start when it was killed has the lock too, until it is a program of its own; on a busy
/// machine that takes a while.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOKS_MAX: u32 = 500;

/// Where SwarmKit keeps what this daemon cannot read: its raft log, its snapshots, and the
/// database of an agent, in their present and their former places.
const FOREIGN: &[&str] = &[
    "raft/wal-v3-encrypted",
    "raft/snap-v3-encrypted",
    "raft/wal-v3",
    "raft/snap-v3",
    "raft/wal",
    "raft/snap",
    "worker/tasks.db",
];

/// A state directory that this process alone writes to, until the value is dropped.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    _lock: File,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another daemon owns it.
    #[error(
        "state directory {} is in use: another swarmd{} runs on it; stop that one, or give this \
         one a directory of its own with --state-dir",
        .path.display(),
        .process.map(|id| format!(" (process {id})")).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other daemon's process id, when it could be read.
        process: Option<u32>,
    },
    /// SwarmKit has been here.
    #[error(
        "state directory {} holds the state of a SwarmKit node ({found}), which this swarmd \
         cannot read; it has been left as it is. Start with an empty --state-dir: either join \
         the running cluster with --join-addr and --join-token, or begin a new one",
        .path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What was found in it.
        found: &'static str,
    },
    /// It cannot be made, or nothing can be written to it.
    #[error("state directory {} cannot be written to", .path.display())]
    Unwritable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StateDirectory {
    /// Makes the directory if it is missing, readable by its owner alone, and takes its lock.
    ///
    /// The lock belongs to the open file, so it ends with the process however that ends.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let unwritable = |source| Error::Unwritable { path: path.to_owned(), source };
        make(path).map_err(unwritable)?;
        if let Some(found) = FOREIGN.iter().find(|name| path.join(name).exists()) {
            return Err(Error::Foreign { path: path.to_owned(), found });
        }
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(unwritable)?;
        let mut looks = 0;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(unwritable(source)),
                Err(TryLockError::WouldBlock) => {
                    let process = owner(&mut lock);
                    looks += 1;
                    if looks > LOOKS_MAX || process.is_none_or(runs) {
                        return Err(Error::InUse { path: path.to_owned(), process });
                    }
                    thread::sleep(LOOK_EVERY);
                }
            }
        }
        lock.rewind().map_err(unwritable)?;
        lock.set_len(0).map_err(unwritable)?;
        writeln!(lock, "{}", std::process::id()).map_err(unwritable)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Returns a folder inside, made if it is missing, for its owner alone.
    pub fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        make(&path).map_err(|source| Error::Unwritable { path: path.clone(), source })?;
        Ok(path)
    }

    /// Returns where the directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The process id in a lock, if there is one.
fn owner(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.take(PROCESS_ID_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether a process runs; one that has ended and waits for its parent does not.
fn runs(process: u32) -> bool {
    let pid = i32::try_from(process).ok();
    pid.and_then(|pid| Stat::of(pid).ok()).is_some_and(|stat| !stat.has_ended())
}

/// Makes a directory for its owner alone, and what it lies in. The names are durable afterwards: a
/// log is only as durable as the way to it.
fn make(path: &Path) -> io::Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|above| !above.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // One that was there may have been made by a daemon that was killed before it came to this.
    let named = missing.into_iter().chain([path]);
    named.filter_map(Path::parent).try_for_each(|parent| {
        let here = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        // Whoever may not read it cannot sync it, and did not make anything in it either.
        match File::open(here) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            opened => opened?.sync_all(),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn parent() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it exists").permissions().mode() & 0o777
    }

    #[test]
    fn it_is_made_for_the_owner_alone() {
        let parent = parent();
        let path = parent.path().join("deep/state");
        let directory = StateDirectory::open(&path).expect("it is made");
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&directory.folder("certificates").expect("it is made")), 0o700);
        assert_eq!(mode(&path.join(LOCK)), 0o600);
    }

    #[test]
    fn a_second_daemon_is_told_who_is_there() {
        let parent = parent();
        let first = StateDirectory::open(parent.path()).expect("free");
        let error = StateDirectory::open(parent.path()).expect_err("taken");
        let text = error.to_string();
        assert!(text.contains(&parent.path().display().to_string()), "{text}");
        assert!(text.contains("another swarmd"), "{text}");
        assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
        drop(first);
        StateDirectory::open(parent.path()).expect("free again");
    }

    #[test]
    fn what_stands_in_the_lock_is_a_process_or_nothing() {
        let own = std::process::id();
        let rows =
            [(format!("{own}\n"), Some(own)), (String::new(), None), ("seventeen".into(), None)];
        for (text, process) in rows {
            let parent = parent();
            let _first = StateDirectory::open(parent.path()).expect("free");
            fs::write(parent.path().join(LOCK), text).expect("written");
            let error = StateDirectory::open(parent.path()).expect_err("taken");
            assert!(matches!(error, Error::InUse { process: found, .. } if found == process));
        }
        let parent = parent();
        let _first = StateDirectory::open(parent.path()).expect("free");
        fs::write(parent.path().join(LOCK), vec![0xff; 1 << 20]).expect("written");
        let error = StateDirectory::open(parent.path()).expect_err("taken");
        assert!(matches!(error, Error::InUse { process: None, .. }));
    }

    /// Killed while it was starting something, a daemon leaves its lock with that for a moment.
    #[test]
    fn a_lock_whose_daemon_has_ended_is_waited_for() {
        let parent = parent();
        let mut daemon = std::process::Command::new("true").spawn().expect("it starts");
        let ended = daemon.id();
        let first = StateDirectory::open(parent.path()).expect("free");
        fs::write(parent.path().join(LOCK), format!("{ended}\n")).expect("written");
        thread::scope(|scope| {
            let second = scope.spawn(|| StateDirectory::open(parent.path()));
            // First it is there and waits for its parent, then it is gone.
            daemon.wait().expect("it ends");
            drop(first);
            second.join().expect("no panic").expect("free after a moment");
        });
        let text = fs::read_to_string(parent.path().join(LOCK)).expect("there");
        assert_eq!(text, format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_directory_of_swarmkit_is_left_alone() {
        for name in FOREIGN {
            let parent = parent();
            let found = parent.path().join(name);
            fs::create_dir_all(found.parent().expect("a parent")).expect("made");
            fs::write(&found, b"theirs").expect("written");
            let error = StateDirectory::open(parent.path()).expect_err("refused");
            let text = error.to_string();
            assert!(text.contains(name) && text.contains("--join-addr"), "{text}");
            assert!(!parent.path().join(LOCK).exists(), "nothing was written");
        }
    }

    #[test]
    fn our_own_directory_opens_again() {
        let parent = parent();
        let directory = StateDirectory::open(parent.path()).expect("free");
        for name in ["certificates", "raft", "worker"] {
            directory.folder(name).expect("made");
        }
        drop(directory);
        StateDirectory::open(parent.path()).expect("it is ours");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_one_error() {
        let parent = parent();
        let file = parent.path().join("file");
        fs::write(&file, b"").expect("written");
        for path in [file.join("state"), PathBuf::from("/proc/state")] {
            let error = StateDirectory::open(&path).expect_err("refused");
            let text = error.to_string();
            assert_eq!(text, format!("state directory {} cannot be written to", path.display()));
            assert!(error.source().is_some());
        }
    }
}
