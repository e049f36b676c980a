//! The bytes of a snapshot file.

use bytes::{Buf, BufMut, Bytes};

use super::{
    Position,
    frame::{self, Unreadable},
    header::{self, HEADER_BYTES, Kind},
};
use crate::log::{Cipher, SnapshotInfo};

/// Where the first record begins.
pub(in crate::log) const RECORDS_BEGIN: u64 = 32;

/// Objects are sealed together until they have this many bytes.
const OBJECTS_BYTES: usize = 64 * 1024;

const INFO: u8 = 16;
const OBJECTS: u8 = 17;
const END: u8 = 18;

/// One record of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::log) enum SnapshotRecord {
    /// Comes first.
    Info(SnapshotInfo),
    /// Some objects.
    Objects(Vec<Bytes>),
    /// Comes last: with it the snapshot is whole.
    End,
}

impl SnapshotRecord {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Info(info) => {
                out.put_u8(INFO);
                out.put_u64_le(info.index);
                out.put_u64_le(info.term);
                out.put_slice(&info.membership);
            }
            Self::Objects(objects) => {
                out.put_u8(OBJECTS);
                for object in objects {
                    let length = u32::try_from(object.len()).expect("an object is below 4 GiB");
                    out.put_u32_le(length);
                    out.put_slice(object);
                }
            }
            Self::End => out.put_u8(END),
        }
        out
    }

    fn decode(plain: Vec<u8>) -> Option<Self> {
        let mut rest = Bytes::from(plain);
        match rest.try_get_u8().ok()? {
            INFO => {
                let index = rest.try_get_u64_le().ok()?;
                let term = rest.try_get_u64_le().ok()?;
                Some(Self::Info(SnapshotInfo { index, term, membership: rest }))
            }
            OBJECTS => {
                let mut objects = Vec::new();
                while !rest.is_empty() {
                    let length = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
                    if length > rest.len() {
                        return None;
                    }
                    objects.push(rest.split_to(length));
                }
                Some(Self::Objects(objects))
            }
            END => rest.is_empty().then_some(Self::End),
            _ => None,
        }
    }
}

/// Makes the bytes of a snapshot piece by piece.
pub(in crate::log) struct Encoder {
    info: SnapshotInfo,
    objects: Box<dyn Iterator<Item = Bytes> + Send>,
    offset: u64,
    stage: Stage,
}

enum Stage {
    Info,
    Objects,
    Done,
}

impl Encoder {
    /// Begins a snapshot.
    pub(in crate::log) fn new(snapshot: crate::log::Snapshot) -> Self {
        let crate::log::Snapshot { info, objects } = snapshot;
        Self { info, objects, offset: 0, stage: Stage::Info }
    }

    /// Returns the next bytes of the file, until there are none.
    pub(in crate::log) fn next(&mut self, cipher: &dyn Cipher) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let record = match self.stage {
            Stage::Info => {
                out = header::encode(Kind::Snapshot, self.info.index);
                out.resize(usize::try_from(RECORDS_BEGIN).expect("a small number"), 0);
                self.stage = Stage::Objects;
                SnapshotRecord::Info(self.info.clone())
            }
            Stage::Objects => {
                let objects = self.pull();
                if objects.is_empty() {
                    self.stage = Stage::Done;
                    SnapshotRecord::End
                } else {
                    SnapshotRecord::Objects(objects)
                }
            }
            Stage::Done => return None,
        };
        let place = sequence(self.info.index, self.offset + out.len() as u64);
        frame::write(cipher, place, &record.encode(), &mut out);
        self.offset += out.len() as u64;
        Some(out)
    }

    fn pull(&mut self) -> Vec<Bytes> {
        let mut objects = Vec::new();
        let mut bytes = 0;
        while bytes < OBJECTS_BYTES {
            let Some(object) = self.objects.next() else { break };
            bytes += object.len();
            objects.push(object);
        }
        objects
    }
}

/// Reads the record whose frame begins at `offset` of the snapshot with this index.
pub(in crate::log) fn decode(
    cipher: &dyn Cipher,
    index: u64,
    offset: u64,
    frame: &[u8],
) -> Result<SnapshotRecord, Unreadable> {
    let (plain, _) = frame::read(cipher, sequence(index, offset), frame)?;
    SnapshotRecord::decode(plain).ok_or(Unreadable::Broken)
}

fn sequence(index: u64, offset: u64) -> u64 {
    Position { segment: index, offset }.sequence()
}

const _: () = assert!(HEADER_BYTES as u64 <= RECORDS_BEGIN);
