//! What was written between two moments: per object how it was and how it is.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use protocol::{
    id::{
        ClusterId, ConfigId, ExtensionId, Id, NetworkId, NodeId, ResourceId, SecretId, ServiceId,
        TaskId, VolumeId,
    },
    objects::{
        Cluster, Config, Extension, Kind, Network, Node, Object, Resource, Secret, Service, Task,
        Volume,
    },
};

/// One object before and after. Not there before: it was created; not there after: removed.
#[derive(Clone, Debug, PartialEq)]
pub struct Touched<T> {
    /// How it was.
    pub before: Option<Arc<T>>,
    /// How it is.
    pub after: Option<Arc<T>>,
}

/// How objects were before a change, or how they are after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

macro_rules! changes {
    ($($kind:ident, $id:ident, $table:ident;)*) => {
        /// Every object that was written between two moments, by kind and id.
        #[derive(Clone, Debug, Default, PartialEq)]
        #[allow(missing_docs, reason = "the names say it")]
        pub struct Changes {
            $(pub $table: BTreeMap<$id, Touched<$kind>>,)*
        }

        impl Changes {
            /// How many objects were written.
            pub fn len(&self) -> usize {
                0 $(+ self.$table.len())*
            }

            /// Notes one write. Of several to one object, the first before and the last after
            /// count; what was created and removed again leaves no trace.
            pub(super) fn record(&mut self, before: Option<Object>, after: Option<Object>) {
                match (before, after) {
                    $(
                        (Some(Object::$kind(before)), Some(Object::$kind(after))) => {
                            note(&mut self.$table, before.id.clone(), Some(before), Some(after));
                        }
                        (Some(Object::$kind(before)), None) => {
                            note(&mut self.$table, before.id.clone(), Some(before), None);
                        }
                        (None, Some(Object::$kind(after))) => {
                            note(&mut self.$table, after.id.clone(), None, Some(after));
                        }
                    )*
                    (None, None) => {}
                    (Some(before), Some(after)) => {
                        unreachable!("{:?} became {:?}", before.kind(), after.kind())
                    }
                }
            }

            /// Every object that was written: its kind, its id, and how it is on one side, if it is
            /// there at all.
            pub(super) fn side(&self, side: Side) -> Vec<(Kind, Id, Option<Object>)> {
                let mut objects = Vec::with_capacity(self.len());
                $(for (id, touched) in &self.$table {
                    let object = match side {
                        Side::Before => &touched.before,
                        Side::After => &touched.after,
                    };
                    let object = object.clone().map(Object::$kind);
                    objects.push((Kind::$kind, id.as_id().clone(), object));
                })*
                objects
            }

            /// Whether an object of this kind and id was written.
            pub fn contains(&self, kind: Kind, id: &str) -> bool {
                match kind {
                    $(Kind::$kind => self.$table.contains_key(&$id::from(id)),)*
                }
            }

            /// An object as it was before, if it was there and was written.
            pub fn before(&self, kind: Kind, id: &str) -> Option<Object> {
                match kind {
                    $(Kind::$kind => {
                        self.$table.get(&$id::from(id))?.before.clone().map(Object::$kind)
                    })*
                }
            }

            /// Every object that was written, with its version before and after.
            #[cfg(any(test, feature = "testing"))]
            pub fn versions(&self) -> Vec<(Kind, protocol::id::Id, Option<u64>, Option<u64>)> {
                let mut versions = Vec::new();
                $(for (id, Touched { before, after }) in &self.$table {
                    let before = before.as_ref().map(|object| object.meta.version);
                    let after = after.as_ref().map(|object| object.meta.version);
                    versions.push((Kind::$kind, id.as_id().clone(), before, after));
                })*
                versions
            }

            /// Adds what was written next.
            pub fn then(&mut self, next: &Self) {
                $(for (id, Touched { before, after }) in &next.$table {
                    note(&mut self.$table, id.clone(), before.clone(), after.clone());
                })*
            }
        }
    };
}

changes! {
    Cluster, ClusterId, clusters;
    Config, ConfigId, configs;
    Extension, ExtensionId, extensions;
    Network, NetworkId, networks;
    Node, NodeId, nodes;
    Resource, ResourceId, resources;
    Secret, SecretId, secrets;
    Service, ServiceId, services;
    Task, TaskId, tasks;
    Volume, VolumeId, volumes;
}

impl Changes {
    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn note<I: Ord, T>(
    table: &mut BTreeMap<I, Touched<T>>,
    id: I,
    before: Option<Arc<T>>,
    after: Option<Arc<T>>,
) {
    match table.entry(id) {
        Entry::Occupied(first) if first.get().before.is_none() && after.is_none() => {
            first.remove();
        }
        Entry::Occupied(mut first) => first.get_mut().after = after,
        Entry::Vacant(free) => {
            free.insert(Touched { before, after });
        }
    }
}
