//! What the log needs from the world: one directory of files, and a cipher.

use std::io;

use futures_util::future::LocalBoxFuture;

/// One directory that this process alone writes to. Names are flat.
///
/// A method that fails is never asked again: the log treats every failure as final.
pub trait Disk: 'static {
    /// Returns the names of everything in the directory, folders included, in any order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file of `bytes` zero bytes whose space is reserved, replacing one of that name.
    ///
    /// Neither the file nor its name is durable before [`File::sync`] and
    /// [`Disk::sync_directory`].
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn File>>;

    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn File>>;

    /// Gives a file another name, replacing the file that had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes every change of names so far durable.
    fn sync_directory(&self) -> LocalBoxFuture<'static, io::Result<()>>;
}

/// An open file of a [`Disk`].
#[expect(clippy::len_without_is_empty, reason = "a file is asked for its size, never whether")]
pub trait File: 'static {
    /// Returns the size in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset`; a file that ends before that is an error.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, growing the file if it ends before that.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes every write so far durable, together with the size (`fdatasync`).
    fn sync(&self) -> LocalBoxFuture<'static, io::Result<()>>;
}

/// Seals each record of the log with a key that never leaves the implementation.
///
/// `sequence` is the place of the record; what was sealed for one place does not open for another.
/// One place may be sealed more than once, each time for other bytes.
pub trait Cipher: 'static {
    /// Appends the sealed form of `plain` to `out`.
    fn seal(&self, sequence: u64, plain: &[u8], out: &mut Vec<u8>);

    /// Returns what was sealed, or nothing when key, place or bytes are not those of the sealing.
    fn open(&self, sequence: u64, sealed: &[u8]) -> Option<Vec<u8>>;
}
