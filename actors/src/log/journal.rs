//! The open log: its segments in order, and what is known durable in them.

use super::{
    Cursor, Entry, Error, HardState, Member, SnapshotPart,
    files::{Directory, OpenFile},
    logic::{
        GROUPS_BEGIN, Position, group,
        header::{self, Kind, Mark},
        names,
        record::{Covered, Record},
    },
    snapshots::SavedSnapshot,
};

/// A log that can be appended to.
pub(super) struct Journal {
    pub(super) directory: Directory,
    pub(super) segment_bytes: u64,
    /// Oldest first; the last is the one that is written to.
    pub(super) segments: Vec<Segment>,
    /// Everything before this is durable, and the next group goes here.
    pub(super) end: Position,
    /// What the newest mark says, if this life of the log has written one.
    pub(super) marked: Option<Position>,
    pub(super) member: Member,
    pub(super) hard_state: HardState,
    pub(super) snapshot: Option<SavedSnapshot>,
    pub(super) last_index: u64,
}

/// A segment that exists under its final name.
pub(super) struct Segment {
    pub(super) file: OpenFile,
    pub(super) bytes: u64,
    /// The highest index of an entry in it.
    pub(super) highest: u64,
    /// The count of its newest mark.
    pub(super) mark_count: u64,
}

impl Journal {
    /// Starts the log of a new member.
    pub(super) async fn begin(
        directory: Directory,
        segment_bytes: u64,
        member: Member,
    ) -> Result<Self, Error> {
        let mut journal = Self {
            directory,
            segment_bytes,
            segments: Vec::new(),
            end: Position::first_in(0),
            marked: None,
            member,
            hard_state: HardState::default(),
            snapshot: None,
            last_index: 0,
        };
        journal.extend(0).await?;
        Ok(journal)
    }

    /// Writes the records as one group and makes them durable.
    pub(super) async fn append(&mut self, records: Vec<Record>) -> Result<(), Error> {
        self.check(&records);
        let mut bytes = self.encode(&records);
        if self.end.offset + bytes.len() as u64 > self.active().bytes {
            self.extend(bytes.len() as u64).await?;
            bytes = self.encode(&records);
        }
        let active = self.active();
        active.file.write(self.end.offset, &bytes)?;
        active.file.sync().await?;
        self.end.offset += bytes.len() as u64;
        self.note(&records);
        Ok(())
    }

    /// Records that a snapshot is durable; entries it does not continue are void from now on.
    pub(super) async fn cover(&mut self, snapshot: SavedSnapshot) -> Result<(), Error> {
        let (index, term) = (snapshot.info().index, snapshot.info().term);
        if self.covered().is_some_and(|covered| covered.index >= index) {
            return Ok(());
        }
        self.append(vec![Record::Snapshot(Covered { index, term })]).await?;
        self.last_index = self.last_index.max(index);
        self.snapshot = Some(snapshot);
        Ok(())
    }

    /// Removes what nothing needs: see [`super::Compact`].
    pub(super) async fn compact(&mut self, to: u64) -> Result<(), Error> {
        let Some(covered) = self.covered() else { return Ok(()) };
        let to = to.min(covered.index);
        while self.segments.len() > 1 && self.segments[0].highest <= to {
            let oldest = self.segments.remove(0);
            self.directory.remove(oldest.file.name()).await?;
        }
        for index in self.directory.list()?.snapshots {
            if index < covered.index {
                self.directory.remove(&names::snapshot(index)).await?;
            }
        }
        Ok(())
    }

    /// Reads a part of the newest snapshot.
    pub(super) fn read(&self, from: Cursor) -> Result<SnapshotPart, Error> {
        match &self.snapshot {
            Some(snapshot) => snapshot.read(&self.directory, from),
            None => Ok(SnapshotPart { objects: Vec::new(), next: None }),
        }
    }

    /// Whether anything is durable that no mark speaks of.
    pub(super) fn is_unmarked(&self) -> bool {
        self.marked != Some(self.end)
    }

    /// Writes down, beside the groups, that all of them are durable.
    pub(super) async fn mark(&mut self) -> Result<(), Error> {
        let end = self.end;
        let active = self.segments.last_mut().expect("a log has a segment");
        active.mark(end).await?;
        self.marked = Some(end);
        Ok(())
    }

    /// Starts a segment that has room for a group of `bytes`.
    async fn extend(&mut self, bytes: u64) -> Result<(), Error> {
        let start = Position::first_in(self.end.segment + 1);
        let mut records =
            vec![Record::Member(self.member.clone()), Record::HardState(self.hard_state)];
        records.extend(self.covered().map(Record::Snapshot));
        let first = group::encode(self.directory.cipher(), start, self.end, &records);
        let end = Position { offset: start.offset + first.len() as u64, ..start };

        let name = names::segment(start.segment);
        let bytes = self.segment_bytes.max(end.offset + bytes);
        let file = self.directory.create(&names::unfinished(&name), bytes)?;
        file.write(0, &header::encode(Kind::Segment, start.segment))?;
        file.write(GROUPS_BEGIN, &first)?;
        file.sync().await?;
        let file = self.directory.finish(file, &name).await?;

        // Should the new file ever be lost, the old one knows that there was one.
        if let Some(before) = self.segments.last_mut() {
            before.mark(end).await?;
        }
        self.segments.push(Segment { file, bytes, highest: 0, mark_count: 0 });
        self.end = end;
        Ok(())
    }

    /// Checks that the records can follow what is in the log.
    fn check(&self, records: &[Record]) {
        let base = self.covered().map_or(0, |covered| covered.index);
        let mut last = self.last_index;
        for record in records {
            match record {
                Record::Entry(Entry { index, .. }) => {
                    assert!(*index > base, "entry {index} is in the snapshot up to {base}");
                    assert!(*index <= last + 1, "entry {index} leaves a gap after {last}");
                    last = *index;
                }
                Record::HardState(HardState { commit, .. }) => {
                    assert!(*commit <= last, "commit {commit} is beyond the last entry {last}");
                }
                Record::Member(_) | Record::Snapshot(_) => {}
            }
        }
    }

    /// Remembers what is durable now.
    fn note(&mut self, records: &[Record]) {
        let active = self.segments.last_mut().expect("a log has a segment");
        for record in records {
            match record {
                Record::Entry(entry) => {
                    self.last_index = entry.index;
                    active.highest = active.highest.max(entry.index);
                }
                Record::HardState(state) => self.hard_state = *state,
                Record::Member(_) | Record::Snapshot(_) => {}
            }
        }
    }

    fn covered(&self) -> Option<Covered> {
        let info = self.snapshot.as_ref()?.info();
        Some(Covered { index: info.index, term: info.term })
    }

    fn encode(&self, records: &[Record]) -> Vec<u8> {
        group::encode(self.directory.cipher(), self.end, self.end, records)
    }

    fn active(&self) -> &Segment {
        self.segments.last().expect("a log has a segment")
    }
}

impl Segment {
    async fn mark(&mut self, durable: Position) -> Result<(), Error> {
        self.mark_count += 1;
        let mark = Mark { count: self.mark_count, durable };
        self.file.write(mark.offset(), &mark.encode())?;
        self.file.sync().await
    }
}
