//! A view as a stream of objects, on the way to a disk or to another manager, so that no snapshot
//! is ever in memory twice, nor made or read in one piece.

use std::{fmt::Display, sync::Arc};

use bytes::Bytes;
use prost::{
    DecodeError, Message,
    encoding::{WireType, decode_key, decode_varint},
};
use protocol::{
    objects::{Interner, Kind, Object, nested},
    wire::{self, StoreAction, StoreActionKind},
};

use super::{Changes, View, apply::share};

/// An object of a snapshot that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The bytes are no object.
    #[error("object {position} of the snapshot is damaged: {reason}")]
    Damaged {
        /// Which object of the stream, from 0.
        position: u64,
        /// What the decoder said.
        reason: String,
    },
    /// Written by a newer version.
    #[error("object {position} of the snapshot is of a kind that this version does not know")]
    UnknownKind {
        /// Which object of the stream, from 0.
        position: u64,
    },
}

impl View {
    /// Every object, encoded one by one while the stream is read.
    pub fn encode(&self) -> impl Iterator<Item = Bytes> + Send + use<> {
        let create = StoreActionKind::StoreActionCreate;
        let missed =
            |object: &Object| planted!(SnapshotMissesKind) && object.kind() == Kind::Config;
        let objects = self.objects().filter(move |object| !missed(object));
        objects.map(move |object| {
            let mut bytes = Vec::new();
            object.encode_action(create, &mut bytes);
            bytes.into()
        })
    }
}

macro_rules! fields {
    ($($tag:literal $kind:ident,)*) => {
        /// The kinds, in the order of their fields in a `StoreSnapshot`.
        const KINDS: [Kind; 10] = [$(Kind::$kind,)*];

        /// An object as a field of a `StoreSnapshot`.
        fn to_field(object: &Object) -> Vec<u8> {
            let mut bytes = Vec::new();
            match object {
                $(Object::$kind(object) => nested($tag, &mut bytes, |out| object.encode(out)),)*
            }
            bytes
        }

        /// An object from a field of a `StoreSnapshot`; none of a kind that is not known.
        fn from_field(tag: u32, bytes: &[u8]) -> Option<Result<Object, DecodeError>> {
            match tag {
                $($tag => Some(wire::$kind::decode(bytes).map(|object| {
                    Object::$kind(Arc::new(object.into()))
                })),)*
                _ => None,
            }
        }
    };
}

fields! {
    1 Node,
    2 Service,
    3 Network,
    4 Task,
    5 Cluster,
    6 Secret,
    7 Resource,
    8 Extension,
    9 Config,
    10 Volume,
}

impl View {
    /// Every object in the form in which one manager sends them to another, encoded one by one
    /// while the stream is read: joined, they are a `StoreSnapshot`.
    pub fn encode_fields(&self) -> impl Iterator<Item = Vec<u8>> + Send + use<> {
        let view = self.clone();
        KINDS.into_iter().flat_map(move |kind| view.all(kind)).map(|object| to_field(&object))
    }
}

/// Builds a view from the objects of a snapshot, as they come.
#[derive(Debug, Default)]
pub struct Restore {
    view: View,
    interner: Interner,
    read: u64,
}

impl Restore {
    /// Takes the next object.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), Unreadable> {
        let position = self.read;
        let action = StoreAction::decode(bytes).map_err(|error| self.damaged(&error))?;
        let target = action.target.ok_or(Unreadable::UnknownKind { position })?;
        self.put(Object::from_target(target));
        Ok(())
    }

    /// Takes the next object off what is left of a `StoreSnapshot` that another manager sent.
    pub fn add_field(&mut self, rest: &mut &[u8]) -> Result<(), Unreadable> {
        let (tag, bytes) = take_field(rest).ok_or_else(|| self.damaged(&"it is no field"))?;
        let unknown = Unreadable::UnknownKind { position: self.read };
        let object = from_field(tag, bytes).ok_or(unknown)?;
        self.put(object.map_err(|error| self.damaged(&error))?);
        Ok(())
    }

    fn damaged(&self, reason: &dyn Display) -> Unreadable {
        Unreadable::Damaged { position: self.read, reason: reason.to_string() }
    }

    fn put(&mut self, object: Object) {
        let object = share(object, &mut self.interner);
        let moment = Arc::make_mut(&mut self.view.moment);
        moment.tables.put(&object, &mut Changes::default());
        self.read += 1;
    }

    /// The whole, with the index of the last entry that it stands for.
    pub fn finish(self, index: u64) -> View {
        let Self { mut view, .. } = self;
        Arc::make_mut(&mut view.moment).index = index;
        view
    }
}

/// Takes a field and its tag; a snapshot has only such as are messages.
fn take_field<'b>(rest: &mut &'b [u8]) -> Option<(u32, &'b [u8])> {
    let (tag, wire_type) = decode_key(rest).ok()?;
    let length = usize::try_from(decode_varint(rest).ok()?).ok()?;
    let (field, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    (wire_type == WireType::LengthDelimited).then_some((tag, field))
}
