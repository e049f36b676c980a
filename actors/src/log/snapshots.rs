//! Snapshot files: written under a temporary name while appends go on, read part by part.

use super::{
    Cursor, Error, Snapshot, SnapshotInfo, SnapshotPart,
    files::{Directory, OpenFile},
    logic::{
        frame::{self, FRAME_BYTES, Unreadable},
        header::{HEADER_BYTES, Kind},
        names,
        recovery::check_header,
        snapshot::{self, Encoder, RECORDS_BEGIN, SnapshotRecord},
    },
};

/// How much is written between two syncs, so that no single sync holds appends up for long.
const SYNC_BYTES: u64 = 8 * 1024 * 1024;

/// When a part of a snapshot is large enough to be answered.
const PART_BYTES: usize = 1024 * 1024;

/// A snapshot file that is whole.
pub(super) struct SavedSnapshot {
    file: OpenFile,
    info: SnapshotInfo,
    length: u64,
    first_objects: u64,
}

impl SavedSnapshot {
    /// Writes a snapshot that the log can do without: when that fails, nothing is left of it.
    ///
    /// # Errors
    ///
    /// [`Error::NotSaved`]; [`Error::Failed`] when it is whole and the directory fails.
    pub(super) async fn save(directory: &Directory, snapshot: Snapshot) -> Result<Self, Error> {
        let name = names::unfinished(&names::snapshot(snapshot.info.index));
        match Self::write(directory, snapshot).await {
            // Whether the directory has its name for good is not known: that is final.
            Err(Error::Failed { action, file, source }) if file == name => {
                // Half a file would keep the room that the disk is short of.
                directory.remove(&name).await.ok();
                Err(Error::NotSaved { action, file, source })
            }
            saved => saved,
        }
    }

    /// Writes a snapshot; when it returns, file and name are durable.
    pub(super) async fn write(directory: &Directory, snapshot: Snapshot) -> Result<Self, Error> {
        let info = snapshot.info.clone();
        let name = names::snapshot(info.index);
        let file = directory.create(&names::unfinished(&name), 0)?;
        let mut encoder = Encoder::new(snapshot);
        let (mut length, mut unsynced, mut first_objects) = (0, 0, None);
        while let Some(bytes) = encoder.next(directory.cipher()) {
            file.write(length, &bytes)?;
            length += bytes.len() as u64;
            unsynced += bytes.len() as u64;
            first_objects.get_or_insert(length);
            if unsynced >= SYNC_BYTES {
                file.sync().await?;
                unsynced = 0;
            }
            tokio::task::yield_now().await;
        }
        file.sync().await?;
        let file = directory.finish(file, &name).await?;
        Ok(Self { file, info, length, first_objects: first_objects.unwrap_or(length) })
    }

    /// Opens a snapshot, after reading all of it once to see that it is whole.
    pub(super) fn open(directory: &Directory, index: u64) -> Result<Self, Error> {
        let file = directory.open(&names::snapshot(index))?;
        let length = file.len()?;
        let damaged = |offset| Error::Damaged { file: file.name().to_owned(), offset };
        if length < HEADER_BYTES as u64 {
            return Err(damaged(0));
        }
        check_header(&file.read(0, HEADER_BYTES)?, Kind::Snapshot, index, file.name())?;

        let reader = Reader { directory, file: &file, index, length };
        let (first, first_objects) = reader.record(RECORDS_BEGIN)?;
        let info = match first {
            SnapshotRecord::Info(info) if info.index == index => info,
            SnapshotRecord::Info(_) | SnapshotRecord::Objects(_) | SnapshotRecord::End => {
                return Err(damaged(RECORDS_BEGIN));
            }
        };
        let (mut last, mut at) = (RECORDS_BEGIN, first_objects);
        while at < length {
            last = at;
            at += reader.checked(at)?.len() as u64;
        }
        match reader.record(last)? {
            (SnapshotRecord::End, _) => Ok(Self { file, info, length, first_objects }),
            (SnapshotRecord::Info(_) | SnapshotRecord::Objects(_), _) => Err(damaged(at)),
        }
    }

    pub(super) fn info(&self) -> &SnapshotInfo {
        &self.info
    }

    /// Reads some objects.
    pub(super) fn read(&self, directory: &Directory, from: Cursor) -> Result<SnapshotPart, Error> {
        let (index, length) = (self.info.index, self.length);
        let reader = Reader { directory, file: &self.file, index, length };
        let mut at = from.0.max(self.first_objects);
        let (mut objects, mut bytes) = (Vec::new(), 0);
        while bytes < PART_BYTES {
            let (record, next) = reader.record(at)?;
            match record {
                SnapshotRecord::Objects(more) => {
                    bytes += more.iter().map(|object| object.len()).sum::<usize>();
                    objects.extend(more);
                }
                SnapshotRecord::End => return Ok(SnapshotPart { objects, next: None }),
                SnapshotRecord::Info(_) => return Err(reader.damaged(at)),
            }
            at = next;
        }
        Ok(SnapshotPart { objects, next: Some(Cursor(at)) })
    }
}

struct Reader<'a> {
    directory: &'a Directory,
    file: &'a OpenFile,
    index: u64,
    length: u64,
}

impl Reader<'_> {
    /// Reads the record at `at`; returns it and where the next one begins.
    fn record(&self, at: u64) -> Result<(SnapshotRecord, u64), Error> {
        let framed = self.checked(at)?;
        match snapshot::decode(self.directory.cipher(), self.index, at, &framed) {
            Ok(record) => Ok((record, at + framed.len() as u64)),
            Err(Unreadable::Sealed) if at == RECORDS_BEGIN => {
                Err(Error::WrongKey { file: self.file.name().to_owned() })
            }
            Err(Unreadable::Sealed | Unreadable::Broken) => Err(self.damaged(at)),
        }
    }

    /// Reads the frame at `at`, still sealed, and holds it against its checksum.
    fn checked(&self, at: u64) -> Result<Vec<u8>, Error> {
        let rest = self.length.saturating_sub(at);
        if rest < FRAME_BYTES as u64 {
            return Err(self.damaged(at));
        }
        let head = self.file.read(at, FRAME_BYTES)?;
        let bytes = frame::length(head.try_into().expect("as many bytes as were asked for"));
        if bytes > rest {
            return Err(self.damaged(at));
        }
        let bytes = usize::try_from(bytes).map_err(|_| self.damaged(at))?;
        let framed = self.file.read(at, bytes)?;
        frame::check(&framed).ok_or_else(|| self.damaged(at))?;
        Ok(framed)
    }

    fn damaged(&self, offset: u64) -> Error {
        Error::Damaged { file: self.file.name().to_owned(), offset }
    }
}
