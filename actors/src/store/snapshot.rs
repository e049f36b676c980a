//! A view as a stream of objects, so that no snapshot is ever in memory twice.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use protocol::{
    objects::{Interner, Object},
    wire::{StoreAction, StoreActionKind, StoreSnapshot, store_action::Target},
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
        self.objects().map(move |object| object.to_action(create).encode_to_vec().into())
    }
}

macro_rules! snapshots {
    ($($kind:ident, $all:ident;)*) => {
        impl View {
            /// Every object, in the form in which one manager sends them to another.
            pub fn to_snapshot(&self) -> StoreSnapshot {
                StoreSnapshot { $($all: self.$all().map(|object| (&**object).into()).collect(),)* }
            }
        }

        impl Restore {
            /// Takes every object that another manager sent.
            pub fn add_snapshot(&mut self, snapshot: StoreSnapshot) {
                // Extensions come before the resources that need them.
                $(for object in snapshot.$all {
                    self.put(Object::from_target(Target::$kind(object)));
                })*
            }
        }
    };
}

snapshots! {
    Cluster, clusters;
    Config, configs;
    Extension, extensions;
    Network, networks;
    Node, nodes;
    Resource, resources;
    Secret, secrets;
    Service, services;
    Task, tasks;
    Volume, volumes;
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
        let action = StoreAction::decode(bytes)
            .map_err(|error| Unreadable::Damaged { position, reason: error.to_string() })?;
        let target = action.target.ok_or(Unreadable::UnknownKind { position })?;
        self.put(Object::from_target(target));
        Ok(())
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
