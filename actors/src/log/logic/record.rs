//! The plain bytes of the records in a segment.

use bytes::{Buf, BufMut, Bytes};

use crate::log::{Entry, EntryKind, HardState, Member};

const ENTRY: u8 = 1;
const HARD_STATE: u8 = 2;
const MEMBER: u8 = 3;
const SNAPSHOT: u8 = 4;

const NORMAL: u8 = 0;
const CONF_CHANGE: u8 = 1;

/// One record of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::log) enum Record {
    /// Replaces the entry of its index and everything after it.
    Entry(Entry),
    /// Replaces the one before.
    HardState(HardState),
    /// Whose log it is.
    Member(Member),
    /// A snapshot is durable; entries it does not continue are void.
    Snapshot(Covered),
}

/// What a snapshot covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) struct Covered {
    /// Its last entry.
    pub(in crate::log) index: u64,
    /// The term of that entry.
    pub(in crate::log) term: u64,
}

impl Record {
    /// Returns the plain bytes.
    pub(in crate::log) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Entry(entry) => {
                out.reserve(18 + entry.data.len());
                out.put_u8(ENTRY);
                out.put_u8(match entry.kind {
                    EntryKind::Normal => NORMAL,
                    EntryKind::ConfChange => CONF_CHANGE,
                });
                out.put_u64_le(entry.term);
                out.put_u64_le(entry.index);
                out.put_slice(&entry.data);
            }
            Self::HardState(state) => {
                out.put_u8(HARD_STATE);
                out.put_u64_le(state.term);
                out.put_u64_le(state.vote);
                out.put_u64_le(state.commit);
            }
            Self::Member(member) => {
                out.put_u8(MEMBER);
                out.put_u64_le(member.raft_id);
                let node = member.node_id.as_bytes();
                out.put_u32_le(u32::try_from(node.len()).expect("an id is short"));
                out.put_slice(node);
                out.put_slice(member.cluster_id.as_bytes());
            }
            Self::Snapshot(covered) => {
                out.put_u8(SNAPSHOT);
                out.put_u64_le(covered.index);
                out.put_u64_le(covered.term);
            }
        }
        out
    }

    /// Reads a record; nothing when the bytes are none that [`Record::encode`] makes.
    pub(in crate::log) fn decode(plain: Vec<u8>) -> Option<Self> {
        let mut rest = Bytes::from(plain);
        match rest.try_get_u8().ok()? {
            ENTRY => {
                let kind = match rest.try_get_u8().ok()? {
                    NORMAL => EntryKind::Normal,
                    CONF_CHANGE => EntryKind::ConfChange,
                    _ => return None,
                };
                let term = rest.try_get_u64_le().ok()?;
                let index = rest.try_get_u64_le().ok()?;
                Some(Self::Entry(Entry { index, term, kind, data: rest }))
            }
            HARD_STATE => {
                let term = rest.try_get_u64_le().ok()?;
                let vote = rest.try_get_u64_le().ok()?;
                let commit = rest.try_get_u64_le().ok()?;
                rest.is_empty().then_some(Self::HardState(HardState { term, vote, commit }))
            }
            MEMBER => {
                let raft_id = rest.try_get_u64_le().ok()?;
                let length = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
                if length > rest.len() {
                    return None;
                }
                let node_id = String::from_utf8(rest.split_to(length).into()).ok()?;
                let cluster_id = String::from_utf8(rest.into()).ok()?;
                Some(Self::Member(Member { raft_id, node_id, cluster_id }))
            }
            SNAPSHOT => {
                let index = rest.try_get_u64_le().ok()?;
                let term = rest.try_get_u64_le().ok()?;
                rest.is_empty().then_some(Self::Snapshot(Covered { index, term }))
            }
            _ => None,
        }
    }
}
