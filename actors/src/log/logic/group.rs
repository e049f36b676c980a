//! A group: the records that are written with one write and made durable with one sync.

use bytes::{Buf, BufMut};

use super::{
    Position,
    frame::{self, Unreadable},
    header,
    record::Record,
};
use crate::log::Cipher;

/// Bytes of a group's header.
pub(in crate::log) const GROUP_HEADER_BYTES: usize = 56;

/// Groups begin at multiples of this.
pub(in crate::log) const GROUP_ALIGNMENT: usize = 8;

const MAGIC: &[u8; 4] = b"GRP1";

/// What stands before the records of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) struct GroupHeader {
    /// Bytes of the records.
    pub(in crate::log) bytes: u32,
    /// Number of records.
    pub(in crate::log) count: u32,
    /// The index of the first entry, 0 when there is none.
    pub(in crate::log) first_index: u64,
    /// Where the group was written.
    pub(in crate::log) position: Position,
    /// Everything before this was durable when the group was written.
    pub(in crate::log) durable: Position,
}

impl GroupHeader {
    /// Reads the header of a group that was written at `position`.
    pub(in crate::log) fn read(bytes: &[u8], position: Position) -> Option<Self> {
        let mut rest = header::whole(bytes, GROUP_HEADER_BYTES, MAGIC)?;
        let found = Self {
            bytes: rest.get_u32_le(),
            count: rest.get_u32_le(),
            first_index: rest.get_u64_le(),
            position: Position { segment: rest.get_u64_le(), offset: rest.get_u64_le() },
            durable: Position { segment: rest.get_u64_le(), offset: rest.get_u64_le() },
        };
        // A copy of a group elsewhere, inside the data of an entry for example, claims nothing.
        (found.position == position).then_some(found)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(GROUP_HEADER_BYTES);
        out.put_slice(MAGIC);
        out.put_u32_le(self.bytes);
        out.put_u32_le(self.count);
        out.put_u64_le(self.first_index);
        for position in [self.position, self.durable] {
            out.put_u64_le(position.segment);
            out.put_u64_le(position.offset);
        }
        header::seal(out)
    }
}

/// A whole group.
#[derive(Debug)]
pub(in crate::log) struct Group {
    /// Its header.
    pub(in crate::log) header: GroupHeader,
    /// Its records.
    pub(in crate::log) records: Vec<Record>,
    /// Where the next group begins.
    pub(in crate::log) end: Position,
}

/// Why no whole group begins at some place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) enum BadGroup {
    /// Torn, damaged, or never written; the first bad byte is in what begins at this offset.
    Broken(u64),
    /// The record at this offset is whole, but sealed with another key.
    Sealed(u64),
}

/// Returns the bytes of a group that will be written at `position`.
pub(in crate::log) fn encode(
    cipher: &dyn Cipher,
    position: Position,
    durable: Position,
    records: &[Record],
) -> Vec<u8> {
    let mut out = vec![0; GROUP_HEADER_BYTES];
    for record in records {
        let place = Position { offset: position.offset + out.len() as u64, ..position };
        frame::write(cipher, place.sequence(), &record.encode(), &mut out);
    }
    let first_index = records.iter().find_map(|record| match record {
        Record::Entry(entry) => Some(entry.index),
        Record::HardState(_) | Record::Member(_) | Record::Snapshot(_) => None,
    });
    let header = GroupHeader {
        bytes: u32::try_from(out.len() - GROUP_HEADER_BYTES).expect("a group is below 4 GiB"),
        count: u32::try_from(records.len()).expect("a record has at least one byte"),
        first_index: first_index.unwrap_or(0),
        position,
        durable,
    };
    out[..GROUP_HEADER_BYTES].copy_from_slice(&header.encode());
    out.resize(out.len().next_multiple_of(GROUP_ALIGNMENT), 0);
    out
}

/// Reads the group that begins at `position` in its segment.
pub(in crate::log) fn decode(
    cipher: &dyn Cipher,
    segment: &[u8],
    position: Position,
) -> Result<Group, BadGroup> {
    let start = usize::try_from(position.offset).expect("an offset in memory");
    let header = segment
        .get(start..)
        .and_then(|bytes| GroupHeader::read(bytes, position))
        .ok_or(BadGroup::Broken(position.offset))?;
    let mut at = start + GROUP_HEADER_BYTES;
    let end = at + header.bytes as usize;
    let mut records = Vec::new();
    while at < end {
        let broken = BadGroup::Broken(at as u64);
        let bytes = segment.get(at..end).ok_or(broken)?;
        let place = Position { offset: at as u64, ..position };
        let (plain, length) = frame::read(cipher, place.sequence(), bytes).map_err(
            |unreadable| match unreadable {
                Unreadable::Broken => broken,
                Unreadable::Sealed => BadGroup::Sealed(at as u64),
            },
        )?;
        records.push(Record::decode(plain).ok_or(broken)?);
        at += length;
    }
    if records.len() != header.count as usize {
        return Err(BadGroup::Broken(position.offset));
    }
    let end = at.next_multiple_of(GROUP_ALIGNMENT) as u64;
    Ok(Group { header, records, end: Position { offset: end, ..position } })
}
