//! The snapshot for members that are too far behind for entries. It is made in slices, so that
//! nobody waits for it, and kept while a member needs it.

use std::{cell::Cell, collections::VecDeque, mem};

use bytes::Bytes;
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use protocol::wire::{ClusterSnapshot, snapshot};
use raft::eraftpb::{Snapshot, SnapshotMetadata};

use crate::store::View;

/// How much is encoded before others get their turn.
const ENCODED_BYTES: usize = 64 << 10;

/// How much is copied before others get their turn.
const COPIED_BYTES: usize = 1 << 20;

/// How many ticks it is kept without anybody asking for it; who waits for it asks in every tick.
const IDLE_TICKS: u32 = 20;

/// A `Snapshot` whose store is not looked into.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Envelope {
    #[prost(enumeration = "snapshot::Version", tag = "1")]
    pub(super) version: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) membership: Option<ClusterSnapshot>,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) store: Bytes,
}

/// What is on its way to members by snapshot: one at most, for all of them.
#[derive(Default)]
pub(super) struct Sending {
    stage: Stage,
    /// Somebody was told to ask again, or given it, since the last tick.
    asked: Cell<bool>,
    /// What there is does not help who asked last.
    outdated: Cell<bool>,
    idle_ticks: u32,
}

#[derive(Default)]
enum Stage {
    #[default]
    Nothing,
    Encoding(Encoding),
    Joining(Joining),
    Ready(Snapshot),
}

/// Pieces are made of objects.
struct Encoding {
    about: SnapshotMetadata,
    membership: ClusterSnapshot,
    objects: Box<dyn Iterator<Item = Vec<u8>>>,
    pieces: VecDeque<Vec<u8>>,
}

/// The pieces become one. A piece is gone as soon as it is copied.
struct Joining {
    about: SnapshotMetadata,
    pieces: VecDeque<Vec<u8>>,
    whole: Vec<u8>,
}

impl Sending {
    /// The snapshot, if it is ready and helps the member: entries follow it in a log that begins
    /// behind `cut`, and the member is one of those that it names.
    pub(super) fn give(&self, to: u64, cut: u64) -> Option<Snapshot> {
        self.asked.set(true);
        let about = self.about()?;
        let members = about.get_conf_state();
        let helps = about.get_index() >= cut
            && (members.get_voters().contains(&to) || members.get_learners().contains(&to));
        self.outdated.set(!helps);
        match &self.stage {
            Stage::Ready(snapshot) if helps => Some(snapshot.clone()),
            Stage::Ready(_) | Stage::Nothing | Stage::Encoding(_) | Stage::Joining(_) => None,
        }
    }

    fn about(&self) -> Option<&SnapshotMetadata> {
        match &self.stage {
            Stage::Nothing => None,
            Stage::Encoding(encoding) => Some(&encoding.about),
            Stage::Joining(joining) => Some(&joining.about),
            Stage::Ready(snapshot) => Some(snapshot.get_metadata()),
        }
    }

    /// The last entry of what there is: those behind it are going to be needed.
    pub(super) fn index(&self) -> Option<u64> {
        self.about().map(SnapshotMetadata::get_index)
    }

    /// Whether one has to be made.
    pub(super) fn is_wanted(&self) -> bool {
        self.asked.get() && (matches!(self.stage, Stage::Nothing) || self.outdated.get())
    }

    /// Begins to make one, in the place of what there is.
    pub(super) fn begin(&mut self, about: SnapshotMetadata, members: ClusterSnapshot, view: &View) {
        self.outdated.set(false);
        self.stage = Stage::Encoding(Encoding {
            about,
            membership: members,
            objects: Box::new(view.encode_fields()),
            pieces: VecDeque::new(),
        });
    }

    /// Does a little; returns whether there is more to do.
    pub(super) fn advance(&mut self) -> bool {
        self.stage = match mem::take(&mut self.stage) {
            Stage::Encoding(encoding) => encoding.advance(),
            Stage::Joining(joining) => joining.advance(),
            done @ (Stage::Nothing | Stage::Ready(_)) => done,
        };
        matches!(self.stage, Stage::Encoding(_) | Stage::Joining(_))
    }

    /// A tick has passed. Drops what nobody needs any more.
    pub(super) fn tick(&mut self, is_on_its_way: bool) {
        let needed = self.asked.replace(false) || is_on_its_way;
        self.idle_ticks = if needed { 0 } else { self.idle_ticks.saturating_add(1) };
        if self.idle_ticks > IDLE_TICKS {
            self.drop_all();
        }
    }

    /// Drops what there is: this member does not lead.
    pub(super) fn drop_all(&mut self) {
        *self = Self::default();
    }
}

impl Encoding {
    fn advance(mut self) -> Stage {
        let mut piece = Vec::new();
        while piece.len() < ENCODED_BYTES {
            let Some(field) = self.objects.next() else {
                self.pieces.push_back(piece);
                return Stage::Joining(self.join());
            };
            piece.extend_from_slice(&field);
        }
        self.pieces.push_back(piece);
        Stage::Encoding(self)
    }

    fn join(self) -> Joining {
        let Self { about, membership, pieces, .. } = self;
        let store_bytes: usize = pieces.iter().map(Vec::len).sum();
        let membership = Some(membership);
        let mut head = Envelope { membership, ..Envelope::default() }.encode_to_vec();
        encode_key(3, WireType::LengthDelimited, &mut head);
        encode_varint(store_bytes as u64, &mut head);
        let mut whole = Vec::with_capacity(head.len() + store_bytes);
        whole.extend(head);
        Joining { about, pieces, whole }
    }
}

impl Joining {
    fn advance(mut self) -> Stage {
        let mut copied = 0;
        while copied < COPIED_BYTES {
            let Some(piece) = self.pieces.pop_front() else {
                let mut snapshot = Snapshot::default();
                snapshot.set_metadata(self.about);
                snapshot.set_data(self.whole.into());
                return Stage::Ready(snapshot);
            };
            self.whole.extend_from_slice(&piece);
            copied += piece.len();
        }
        Stage::Joining(self)
    }
}
