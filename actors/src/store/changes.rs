//! What was written between two moments: per object how it was and how it is.

use std::{collections::BTreeMap, sync::Arc};

use protocol::{
    id::{
        ClusterId, ConfigId, ExtensionId, NetworkId, NodeId, ResourceId, SecretId, ServiceId,
        TaskId, VolumeId,
    },
    objects::{
        Cluster, Config, Extension, Network, Node, Object, Resource, Secret, Service, Task, Volume,
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
    match table.remove(&id) {
        Some(Touched { before: None, .. }) if after.is_none() => {}
        Some(first) => drop(table.insert(id, Touched { before: first.before, after })),
        None => drop(table.insert(id, Touched { before, after })),
    }
}
