//! The bytes of the log and what they mean: pure functions, no file and no clock.

pub(super) mod frame;
pub(super) mod group;
pub(super) mod header;
pub(super) mod names;
pub(super) mod record;
pub(super) mod recovery;
pub(super) mod replay;
pub(super) mod snapshot;

/// Headers, marks and the first group begin at multiples of this, so that a torn write of one
/// never touches another.
pub(super) const BLOCK: u64 = 4096;

/// Where the first group of a segment begins: after the header and the two marks.
pub(super) const GROUPS_BEGIN: u64 = 3 * BLOCK;

/// A place in the log, ordered as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// The sequence number of the segment.
    pub(super) segment: u64,
    /// Bytes from the beginning of that segment.
    pub(super) offset: u64,
}

impl Position {
    /// The place where a segment's first group begins.
    pub(super) fn first_in(segment: u64) -> Self {
        Self { segment, offset: GROUPS_BEGIN }
    }

    /// The place as the one number that a record is sealed for.
    pub(super) fn sequence(self) -> u64 {
        self.segment << 32 | self.offset
    }
}
