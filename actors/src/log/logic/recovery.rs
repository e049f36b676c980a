//! The rule of recovery: where acknowledged data ends, and whether any of it is damaged.

use super::{
    BLOCK, Position,
    group::{self, BadGroup, GROUP_ALIGNMENT, GROUP_HEADER_BYTES, Group, GroupHeader},
    header::{self, BadHeader, Kind, Mark, VERSION},
    names,
    record::Record,
    replay::Replay,
};
use crate::log::{Cipher, Error};

/// Reads the segments one after the other, oldest first.
pub(in crate::log) struct Recovery<'cipher> {
    cipher: &'cipher dyn Cipher,
    /// What the records add up to.
    pub(in crate::log) replay: Replay,
    /// Every segment so far with the highest index of an entry in it.
    pub(in crate::log) segments: Vec<(u64, u64)>,
    last: Option<Last>,
    /// The furthest position that anything claims to have been durable.
    claim: Option<Position>,
}

/// How the last segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) struct Last {
    /// Where the next group is to be written; everything from here on must be set to zero.
    pub(in crate::log) end: Position,
    /// Where the last group begins: the only one that may be in the page cache alone.
    pub(in crate::log) tail: u64,
    /// Whether anything but zeros follows.
    pub(in crate::log) dirty: bool,
    /// The count of the newest mark, 0 when there is none.
    pub(in crate::log) mark_count: u64,
    /// The first bad record.
    broken_at: u64,
}

impl<'cipher> Recovery<'cipher> {
    /// Begins with no segment read.
    pub(in crate::log) fn new(cipher: &'cipher dyn Cipher) -> Self {
        let (replay, segments) = (Replay::default(), Vec::new());
        Self { cipher, replay, segments, last: None, claim: None }
    }

    /// Reads the next segment.
    pub(in crate::log) fn read(&mut self, sequence: u64, bytes: &[u8]) -> Result<(), Error> {
        check_header(bytes, Kind::Segment, sequence, &names::segment(sequence))?;
        let scan = Scan::of(self.cipher, sequence, bytes);
        self.follows(sequence, &scan)?;

        let mark = Mark::newest(bytes);
        self.claim = self.claim.max(scan.claim).max(mark.map(|mark| mark.durable));
        self.last = Some(Last {
            end: scan.end,
            tail: scan.groups.last().map_or(scan.end.offset, |last| last.header.position.offset),
            dirty: scan.dirty,
            mark_count: mark.map_or(0, |mark| mark.count),
            broken_at: scan.broken_at,
        });
        let mut highest = 0;
        for group in scan.groups {
            for record in group.records {
                if let Record::Entry(entry) = &record {
                    highest = highest.max(entry.index);
                }
                let at = group.header.position;
                self.replay.apply(record).map_err(|_| damaged(sequence, at.offset))?;
            }
        }
        self.segments.push((sequence, highest));
        Ok(())
    }

    /// Checks that the segment is the next one, and that the one before has all it had then.
    fn follows(&self, sequence: u64, scan: &Scan) -> Result<(), Error> {
        // A segment gets its name only when its first group is durable.
        let Some(first) = scan.groups.first() else {
            return Err(match scan.stop {
                BadGroup::Sealed(_) if self.last.is_none() => {
                    Error::WrongKey { file: names::segment(sequence) }
                }
                BadGroup::Sealed(offset) | BadGroup::Broken(offset) => damaged(sequence, offset),
            });
        };
        let Some(before) = self.last else { return Ok(()) };
        if sequence != before.end.segment + 1 {
            return Err(Error::Missing { file: names::segment(before.end.segment + 1) });
        }
        if first.header.durable != before.end {
            return Err(damaged(before.end.segment, before.broken_at));
        }
        Ok(())
    }

    /// Returns how the last segment ends, unless something that was durable is not there.
    pub(in crate::log) fn end(&self) -> Result<Option<Last>, Error> {
        let Some(last) = self.last else { return Ok(None) };
        match self.claim {
            Some(claim) if claim.segment > last.end.segment => {
                Err(Error::Missing { file: names::segment(last.end.segment + 1) })
            }
            Some(claim) if claim > last.end => Err(damaged(last.end.segment, last.broken_at)),
            Some(_) | None => Ok(Some(last)),
        }
    }
}

/// Checks the header of a file.
pub(in crate::log) fn check_header(
    bytes: &[u8],
    kind: Kind,
    number: u64,
    file: &str,
) -> Result<(), Error> {
    header::check(bytes, kind, number).map_err(|bad| match bad {
        BadHeader::Broken => Error::Damaged { file: file.to_owned(), offset: 0 },
        BadHeader::Version(version) => {
            Error::UnknownVersion { file: file.to_owned(), version, supported: VERSION }
        }
    })
}

fn damaged(sequence: u64, offset: u64) -> Error {
    Error::Damaged { file: names::segment(sequence), offset }
}

/// What one segment holds, read to its first bad record.
struct Scan {
    groups: Vec<Group>,
    end: Position,
    stop: BadGroup,
    broken_at: u64,
    dirty: bool,
    claim: Option<Position>,
}

impl Scan {
    fn of(cipher: &dyn Cipher, sequence: u64, bytes: &[u8]) -> Self {
        let mut end = Position::first_in(sequence);
        let mut groups = Vec::new();
        let stop = loop {
            match group::decode(cipher, bytes, end) {
                Ok(group) => {
                    end = group.end;
                    groups.push(group);
                }
                Err(stop) => break stop,
            }
        };
        let (BadGroup::Broken(broken_at) | BadGroup::Sealed(broken_at)) = stop;
        let start = usize::try_from(end.offset).map_or(bytes.len(), |at| at.min(bytes.len()));
        let (dirty, claim) = claims(sequence, bytes, start);
        let claim = groups.iter().map(|group| group.header.durable).max().max(claim);
        Self { groups, end, stop, broken_at, dirty, claim }
    }
}

/// Looks through everything from `start` on: whether it is more than zeros, and the furthest
/// claim of any group's header in it.
fn claims(sequence: u64, bytes: &[u8], start: usize) -> (bool, Option<Position>) {
    const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
    let mut dirty = false;
    let mut claim = None;
    let mut at = start;
    while at < bytes.len() {
        let block = &bytes[at..bytes.len().min(at + ZEROS.len())];
        if block != &ZEROS[..block.len()] {
            dirty = true;
            for step in (0..block.len()).step_by(GROUP_ALIGNMENT) {
                let offset = at + step;
                let head = &bytes[offset..bytes.len().min(offset + GROUP_HEADER_BYTES)];
                let position = Position { segment: sequence, offset: offset as u64 };
                claim = claim.max(GroupHeader::read(head, position).map(|header| header.durable));
            }
        }
        at += ZEROS.len();
    }
    (dirty, claim)
}
