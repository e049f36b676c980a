//! The directory in which daemon and shim of one task meet.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process,
};

use nix::{errno::Errno, sys::stat::Mode, unistd::mkfifo};

use super::record::{self, Claim, Damaged, Exit, Instructions, Record};

const STARTING: &str = "starting";
const OUTPUT: &str = "output";
const TROUBLE: &str = "trouble";
const SWEPT: &str = "swept";

/// No record is larger: the largest holds a spec, of 1.5 MiB at most, with its templates expanded.
const RECORD_BYTES_MAX: u64 = 16 << 20;

/// So much is shown of what a shim had to say.
const TROUBLE_BYTES_MAX: u64 = 4096;

/// Room for an exit record, whatever it says.
const EXIT_BYTES_MAX: usize = 4096;

/// The private directory of one task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TaskDirectory {
    path: PathBuf,
}

/// Why a file of the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system said no.
    #[error("{} cannot be {verb}", path.display())]
    Failed {
        /// What was tried, as a participle.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A record is not what was written.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// Its file.
        path: PathBuf,
        /// In what way.
        source: Damaged,
    },
    /// The shim could not become what it has to be.
    #[error("the shim cannot {verb}")]
    System {
        /// What it tried, as an infinitive.
        verb: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl TaskDirectory {
    /// Names a directory, which need not exist.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether it exists.
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Makes it, for its owner alone, if it is missing.
    pub fn create(&self) -> Result<(), Error> {
        let made = |path: &Path, result: io::Result<()>| match result {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::Failed { verb: "made", path: path.to_owned(), source })
            }
            _ => Ok(()),
        };
        let private =
            |path: &Path| made(path, DirBuilder::new().recursive(true).mode(0o700).create(path));
        private(&self.path)?;
        private(&self.output())?;
        let starting = self.path.join(STARTING);
        made(&starting, mkfifo(&starting, Mode::S_IRUSR | Mode::S_IWUSR).map_err(Errno::into))?;
        let parent = self.path.parent().unwrap_or(&self.path);
        sync_directory(parent)
    }

    /// Removes it with everything in it. Nothing there is success.
    pub fn remove(&self) -> Result<(), Error> {
        // The claim comes last: a removal that a crash has cut short must not let the task be
        // started again.
        self.removed(
            self.remove_all_but(&[Claim::FILE]).and_then(|()| fs::remove_dir_all(&self.path)),
        )
    }

    /// Removes what is of no use any more when only control groups are left of the task.
    pub fn strip(&self) -> Result<(), Error> {
        self.removed(self.remove_all_but(&[Claim::FILE, Instructions::FILE]))
    }

    fn removed(&self, result: io::Result<()>) -> Result<(), Error> {
        match result {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::Failed { verb: "removed", path: self.path.clone(), source })
            }
            _ => Ok(()),
        }
    }

    fn remove_all_but(&self, kept: &[&str]) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.file_name().is_none_or(|name| kept.iter().all(|kept| name != *kept)) {
                remove_entry(&path)?;
            }
        }
        Ok(())
    }

    /// Reads a record; none when it was never written.
    pub fn read<R: Record>(&self) -> Result<Option<R>, Error> {
        let path = self.path.join(R::FILE);
        match read_file(&path, RECORD_BYTES_MAX + 1) {
            Ok(bytes) if bytes.len() as u64 > RECORD_BYTES_MAX => {
                Err(Error::Damaged { path, source: Damaged::TooLarge })
            }
            Ok(bytes) => match record::open(&bytes) {
                Ok(record) => Ok(Some(record)),
                Err(source) => Err(Error::Damaged { path, source }),
            },
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Failed { verb: "read", path, source }),
        }
    }

    /// Writes a record, durable and whole: beside its place, then moved there.
    pub fn write<R: Record>(&self, record: &R) -> Result<(), Error> {
        let beside = self.beside::<R>();
        write_file(&beside, &record::seal(record))?;
        let path = self.path.join(R::FILE);
        fs::rename(&beside, &path).map_err(|source| Error::Failed {
            verb: "written",
            path,
            source,
        })?;
        sync_directory(&self.path)
    }

    /// Claims the task, unless somebody has: returns whether the claim is the caller's.
    pub fn claim(&self, claim: &Claim) -> Result<bool, Error> {
        // A link, unlike a rename, does not replace what is there. Two may claim at once.
        let beside = self.path.join(format!("{}.{}", Claim::FILE, process::id()));
        write_file(&beside, &record::seal(claim))?;
        let path = self.path.join(Claim::FILE);
        let linked = fs::hard_link(&beside, &path);
        fs::remove_file(&beside).ok();
        match linked {
            Ok(()) => sync_directory(&self.path).map(|()| true),
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(source) => Err(Error::Failed { verb: "written", path, source }),
        }
    }

    /// Takes room on the disk for the exit record, so that it can be written when the disk is
    /// full.
    pub(super) fn reserve_exit(&self) -> Result<(), Error> {
        write_file(&self.beside::<Exit>(), &[0; EXIT_BYTES_MAX])
    }

    /// Says that no process of the task is left, and that none will come: it is claimed. It need
    /// not be durable: nothing survives the machine.
    pub fn mark_swept(&self) {
        // Without the mark the daemon looks again.
        File::create(self.path.join(SWEPT)).ok();
    }

    /// Returns whether somebody has seen to it that no process of the task is left.
    pub fn is_swept(&self) -> bool {
        self.path.join(SWEPT).exists()
    }

    /// Opens the pipe whose closing says that the start is decided, one way or the other. It
    /// closes with the process that holds it, however that ends.
    pub(super) fn hold_starting(&self) -> Result<File, Error> {
        let path = self.starting();
        // A pipe opened for both never waits for somebody at the other end.
        OpenOptions::new().read(true).write(true).open(&path).map_err(|source| Error::Failed {
            verb: "opened",
            path,
            source,
        })
    }

    /// Returns where that pipe is.
    pub fn starting(&self) -> PathBuf {
        self.path.join(STARTING)
    }

    /// Returns the folder with the task's output.
    pub fn output(&self) -> PathBuf {
        self.path.join(OUTPUT)
    }

    /// Opens the file that takes what a shim has to say before it dies.
    pub fn open_trouble(&self) -> Result<File, Error> {
        let path = self.path.join(TROUBLE);
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| Error::Failed { verb: "opened", path, source })
    }

    /// Returns what a shim had to say, on one line.
    pub fn trouble(&self) -> Option<String> {
        let text = read_file(&self.path.join(TROUBLE), TROUBLE_BYTES_MAX).ok()?;
        let text = String::from_utf8_lossy(&text).split_whitespace().collect::<Vec<_>>().join(" ");
        (!text.is_empty()).then_some(text)
    }

    fn beside<R: Record>(&self) -> PathBuf {
        self.path.join(format!("{}.next", R::FILE))
    }
}

/// Reads a file up to so many bytes.
fn read_file(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Removes a file, or a folder with everything in it. One that is gone is success: whoever still
/// works here moves and removes files of its own.
fn remove_entry(path: &Path) -> io::Result<()> {
    let removed = fs::symlink_metadata(path).and_then(|found| {
        if found.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
    });
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Writes over what is there, so that room already taken is used, and makes it durable.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    };
    write().map_err(|source| Error::Failed { verb: "written", path: path.to_owned(), source })
}

fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|source| Error::Failed {
        verb: "synced",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_meanwhile_ends_no_removal() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        fs::create_dir_all(path("folder/below")).unwrap();
        fs::write(path("file"), "").unwrap();
        for name in ["gone", "file", "folder"] {
            remove_entry(&path(name)).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(path("file"), "").unwrap();
        remove_entry(&path("file/below")).unwrap_err();
    }

    #[test]
    fn what_a_shim_had_to_say_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let directory = TaskDirectory::new(folder.path().to_owned());
        assert_eq!(directory.trouble(), None);
        for (said, shown) in [
            (&b""[..], None),
            (b" \n\n", None),
            (b"no\n  room\n", Some("no room")),
            (b"\xff\xfe\n", Some("\u{fffd}\u{fffd}")),
        ] {
            fs::write(folder.path().join(TROUBLE), said).unwrap();
            assert_eq!(directory.trouble().as_deref(), shown, "{said:?}");
        }
    }

    #[test]
    fn no_file_is_read_without_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let directory = TaskDirectory::new(folder.path().to_owned());
        let endless = |name| File::create(folder.path().join(name)).unwrap().set_len(1 << 40);
        endless(TROUBLE).unwrap();
        assert!(directory.trouble().unwrap().len() as u64 <= TROUBLE_BYTES_MAX);
        endless(Claim::FILE).unwrap();
        let refused = directory.read::<Claim>().unwrap_err();
        assert!(matches!(refused, Error::Damaged { source: Damaged::TooLarge, .. }), "{refused:?}");
    }
}
