//! The header of a file and the durable marks of a segment.

use bytes::{Buf, BufMut};

use super::{BLOCK, Position};

/// The format this release writes, and the highest it reads.
pub(in crate::log) const VERSION: u32 = 1;

/// Bytes of a header.
pub(in crate::log) const HEADER_BYTES: usize = 28;

/// Bytes of a mark.
pub(in crate::log) const MARK_BYTES: usize = 36;

const MAGIC: &[u8; 8] = b"swarmlog";
const MARK_MAGIC: &[u8; 8] = b"swarmmrk";

/// What a file of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) enum Kind {
    /// Groups of records.
    Segment = 1,
    /// A snapshot.
    Snapshot = 2,
}

/// Why a file does not begin as it must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) enum BadHeader {
    /// No header, or that of another file.
    Broken,
    /// A whole header of a version that this release cannot read.
    Version(u32),
}

/// Returns the header of a file; `number` is the one in its name.
pub(in crate::log) fn encode(kind: Kind, number: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.put_slice(MAGIC);
    out.put_u32_le(VERSION);
    out.put_u32_le(kind as u32);
    out.put_u64_le(number);
    seal(out)
}

/// Checks that a file begins with its header.
pub(in crate::log) fn check(bytes: &[u8], kind: Kind, number: u64) -> Result<(), BadHeader> {
    let mut rest = whole(bytes, HEADER_BYTES, MAGIC).ok_or(BadHeader::Broken)?;
    let version = rest.get_u32_le();
    if version != VERSION {
        return Err(BadHeader::Version(version));
    }
    let fits = rest.get_u32_le() == kind as u32 && rest.get_u64_le() == number;
    if fits { Ok(()) } else { Err(BadHeader::Broken) }
}

/// A claim, kept apart from the groups, that the log was durable up to a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::log) struct Mark {
    /// How many marks the segment has had.
    pub(in crate::log) count: u64,
    /// Everything before this is durable.
    pub(in crate::log) durable: Position,
}

impl Mark {
    /// Returns where the mark is written: by turns, so that a torn one never hurts the last.
    pub(in crate::log) fn offset(&self) -> u64 {
        BLOCK * (1 + self.count % 2)
    }

    /// Returns the bytes of the mark.
    pub(in crate::log) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MARK_BYTES);
        out.put_slice(MARK_MAGIC);
        out.put_u64_le(self.count);
        out.put_u64_le(self.durable.segment);
        out.put_u64_le(self.durable.offset);
        seal(out)
    }

    /// Returns the newest mark of a segment, if it has one that is whole.
    pub(in crate::log) fn newest(segment: &[u8]) -> Option<Self> {
        let block = usize::try_from(BLOCK).expect("a block fits in memory");
        let places = [block, 2 * block];
        places.iter().filter_map(|place| Self::decode(segment.get(*place..)?)).max()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = whole(bytes, MARK_BYTES, MARK_MAGIC)?;
        let count = rest.get_u64_le();
        let durable = Position { segment: rest.get_u64_le(), offset: rest.get_u64_le() };
        Some(Self { count, durable })
    }
}

/// Appends the checksum of everything before it.
pub(super) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c::crc32c(&bytes);
    bytes.put_u32_le(checksum);
    bytes
}

/// Returns what is between magic and checksum, if `length` bytes are there and both fit.
pub(super) fn whole<'bytes>(
    bytes: &'bytes [u8],
    length: usize,
    magic: &[u8],
) -> Option<&'bytes [u8]> {
    let (body, checksum) = bytes.get(..length)?.split_last_chunk::<4>()?;
    let fits = body.starts_with(magic) && crc32c::crc32c(body) == u32::from_le_bytes(*checksum);
    fits.then(|| &body[magic.len()..])
}
