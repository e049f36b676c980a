//! A directory of the file system as the log's disk.
//!
//! The log's writer has a thread of its own, so these calls block; what the futures of the port
//! stand for, the time a sync takes, passes inside their first poll.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use actors::log::{Disk, File};
use futures_util::future::LocalBoxFuture;
use nix::fcntl::{FallocateFlags, fallocate};

/// The real disk: one directory, flat names, files for their owner alone.
pub struct FileDisk {
    directory: PathBuf,
}

impl FileDisk {
    /// Uses a directory that exists and that no other process writes to.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }
}

impl Disk for FileDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.directory)?
            .map(|entry| entry.map(|entry| entry.file_name().into_string()))
            .collect::<io::Result<Vec<_>>>()?;
        // A name that is not text is none of the log's.
        Ok(names.into_iter().flatten().collect())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn File>> {
        let path = self.directory.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        if let Err(error) = preallocate(&file, bytes) {
            // Half a file would keep the room that the disk is short of.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Box::new(OpenFile(Arc::new(file))))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let file = OpenOptions::new().read(true).write(true).open(self.directory.join(name))?;
        Ok(Box::new(OpenFile(Arc::new(file))))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.directory.join(name))
    }

    fn sync_directory(&self) -> LocalBoxFuture<'static, io::Result<()>> {
        let directory = self.directory.clone();
        Box::pin(async move { fs::File::open(directory)?.sync_all() })
    }
}

/// An open file; shared with the sync that is under way.
struct OpenFile(Arc<fs::File>);

impl File for OpenFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> LocalBoxFuture<'static, io::Result<()>> {
        let file = Arc::clone(&self.0);
        Box::pin(async move { file.sync_data() })
    }
}

/// Takes the room for a whole file at once, so that a full disk is noticed now and a later sync
/// has no new blocks to record. Reads as zeros.
fn preallocate(file: &fs::File, bytes: u64) -> io::Result<()> {
    let length = i64::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
    if length == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        // Not every file system can; a file of the right length is the next best.
        Err(nix::Error::EOPNOTSUPP) => file.set_len(bytes),
        // Some file systems end it early for a signal.
        Err(nix::Error::EINTR) => preallocate(file, bytes),
        outcome => Ok(outcome?),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        os::unix::fs::{MetadataExt, PermissionsExt},
    };

    use futures_util::FutureExt;

    use super::*;

    fn disk() -> (tempfile::TempDir, FileDisk) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = FileDisk::new(folder.path());
        (folder, disk)
    }

    fn now<T>(future: LocalBoxFuture<'static, T>) -> T {
        future.now_or_never().expect("the thread is the log's own: it blocks")
    }

    #[test]
    fn a_created_file_has_its_room_and_reads_as_zeros() {
        let (folder, disk) = disk();
        let file = disk.create("segment", 1 << 20).expect("created");
        let metadata = fs::metadata(folder.path().join("segment")).expect("there");
        assert_eq!(metadata.len(), 1 << 20);
        assert!(metadata.blocks() * 512 >= 1 << 20, "{} blocks", metadata.blocks());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        let mut buffer = [1; 100];
        file.read_at((1 << 20) - 100, &mut buffer).expect("read");
        assert_eq!(buffer, [0; 100]);
    }

    #[test]
    fn what_is_written_is_read_by_whoever_opens_the_file() {
        let (_folder, disk) = disk();
        let file = disk.create("segment", 0).expect("created");
        file.write_at(10, b"record").expect("written");
        now(file.sync()).expect("durable");
        now(disk.sync_directory()).expect("durable");
        let file = disk.open("segment").expect("opened");
        assert_eq!(file.len().expect("known"), 16);
        let mut buffer = [0; 6];
        file.read_at(10, &mut buffer).expect("read");
        assert_eq!(&buffer, b"record");
        let error = file.read_at(11, &mut buffer).expect_err("past the end");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn names_are_listed_renamed_and_removed() {
        let (_folder, disk) = disk();
        for name in ["b", "a"] {
            disk.create(name, 1).expect("created");
        }
        assert_eq!(
            BTreeSet::from_iter(disk.list().expect("listed")),
            ["a", "b"].map(Into::into).into()
        );
        disk.rename("b", "c").expect("renamed");
        disk.remove("a").expect("removed");
        assert_eq!(disk.list().expect("listed"), ["c"]);
        assert_eq!(disk.open("b").err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn creating_again_begins_with_zeros() {
        let (_folder, disk) = disk();
        let file = disk.create("segment", 8).expect("created");
        file.write_at(0, b"old data and more").expect("written");
        let file = disk.create("segment", 8).expect("created again");
        let mut buffer = [1; 8];
        file.read_at(0, &mut buffer).expect("read");
        assert_eq!((buffer, file.len().expect("known")), ([0; 8], 8));
    }

    #[test]
    fn a_full_disk_is_noticed_when_the_room_is_taken() {
        let (_folder, disk) = disk();
        let error = disk.create("segment", 1 << 60).err().expect("nobody has that much");
        let expected = [io::ErrorKind::StorageFull, io::ErrorKind::FileTooLarge];
        assert!(expected.contains(&error.kind()), "{error:?}");
        assert_eq!(disk.list().expect("listed"), [""; 0]);
    }
}
