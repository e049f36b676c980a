//! The files that a task's output is kept in: a bounded number of bounded files.
//!
//! They are numbered from 1 and never renamed, so that a reader's place, number and offset,
//! stays true. The oldest is removed when a new one is begun.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::output::{LINE_BYTES_MAX, Line};

/// More than the longest line, so that a line is taken whole or not at all.
const BUFFER_BYTES: usize = 2 * LINE_BYTES_MAX;

/// How much output is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long one file may become, in bytes.
    pub(super) file_bytes_max: u64,
    /// How many files are kept; at least one is.
    pub(super) files_max: u32,
}

/// Where output goes.
pub(super) struct OutputFiles {
    folder: PathBuf,
    limits: Limits,
    file: BufWriter<File>,
    number: u64,
    bytes: u64,
    line: Vec<u8>,
}

impl OutputFiles {
    /// Begins the first file in a folder that holds none.
    pub(super) fn begin(folder: PathBuf, limits: Limits) -> io::Result<Self> {
        let file = begin_file(&folder, 1)?;
        Ok(Self { folder, limits, file, number: 1, bytes: 0, line: Vec::new() })
    }

    /// Keeps a line. It is lost when it cannot be written: the task must not wait for a full
    /// disk, nor end because of it.
    pub(super) fn append(&mut self, line: &Line) {
        self.line.clear();
        line.encode(&mut self.line);
        let bytes = self.line.len() as u64;
        let full = self.bytes > 0 && self.bytes + bytes > self.limits.file_bytes_max;
        if full && self.begin_next().is_err() {
            return;
        }
        if self.file.write_all(&self.line).is_ok() {
            self.bytes += bytes;
        }
    }

    /// Hands what was appended to the system.
    pub(super) fn flush(&mut self) {
        // What could not be written stays in the buffer and goes first the next time.
        self.file.flush().ok();
    }

    fn begin_next(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let number = self.number + 1;
        self.file = begin_file(&self.folder, number)?;
        self.number = number;
        self.bytes = 0;
        let kept = u64::from(self.limits.files_max.max(1));
        if let Some(oldest) = number.checked_sub(kept).filter(|number| *number > 0) {
            fs::remove_file(self.folder.join(oldest.to_string())).ok();
        }
        Ok(())
    }
}

fn begin_file(folder: &Path, number: u64) -> io::Result<BufWriter<File>> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(folder.join(number.to_string()))?;
    Ok(BufWriter::with_capacity(BUFFER_BYTES, file))
}

#[cfg(test)]
mod tests {
    use time::UtcDateTime;

    use super::{super::output::Stream, *};

    fn line(text: &str) -> Line {
        let at = UtcDateTime::UNIX_EPOCH;
        Line { at, stream: Stream::Stdout, whole: true, bytes: text.as_bytes().to_vec() }
    }

    fn kept(folder: &Path) -> Vec<(u64, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let number = entry.file_name().to_str().unwrap().parse().unwrap();
                (number, fs::read(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn files_and_their_length_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { file_bytes_max: 200, files_max: 3 };
        let mut files = OutputFiles::begin(folder.path().into(), limits).unwrap();
        for number in 0..100 {
            files.append(&line(&format!("line {number}")));
        }
        files.flush();
        let kept = kept(folder.path());
        assert_eq!(kept.len(), 3);
        let last = kept.last().unwrap();
        assert!(last.1.ends_with(b"line 99\n"));
        for (number, bytes) in &kept {
            assert!(bytes.len() <= 200, "file {number} has {} bytes", bytes.len());
            for line in bytes.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n') {
                Line::decode(line).expect("no line is spread over two files");
            }
        }
        let numbers: Vec<_> = kept.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [last.0 - 2, last.0 - 1, last.0]);
    }

    #[test]
    fn a_line_longer_than_a_file_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { file_bytes_max: 10, files_max: 0 };
        let mut files = OutputFiles::begin(folder.path().into(), limits).unwrap();
        files.append(&line("first"));
        files.append(&line("second"));
        files.flush();
        let kept = kept(folder.path());
        assert_eq!(kept.len(), 1);
        assert!(kept[0].1.ends_with(b"second\n"));
    }

    #[test]
    fn a_folder_that_is_gone_ends_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { file_bytes_max: 100, files_max: 2 };
        let mut files = OutputFiles::begin(folder.path().join("."), limits).unwrap();
        folder.close().unwrap();
        for _ in 0..100 {
            files.append(&line("lost"));
            files.flush();
        }
    }
}
