//! One moment of the whole store, for anybody to read.

use std::sync::Arc;

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

use super::{changes::Changes, table::Tables};

/// The name of the one cluster object.
const DEFAULT_CLUSTER: &str = "default";

/// One moment of the whole store. A copy is one pointer; what it shows never changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    pub(super) moment: Arc<Moment>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Moment {
    pub(super) index: u64,
    pub(super) tables: Tables,
}

macro_rules! readers {
    ($($one:ident, $id:ident, $all:ident, $kind:ident;)*) => {
        /// Each kind: one by id, and all by id.
        #[allow(missing_docs, reason = "the names say it")]
        impl View {
            $(
                pub fn $one(&self, id: &$id) -> Option<&Arc<$kind>> {
                    self.moment.tables.$all.get(id)
                }

                pub fn $all(&self) -> impl DoubleEndedIterator<Item = &Arc<$kind>> {
                    self.moment.tables.$all.values()
                }
            )*
        }
    };
}

readers! {
    cluster, ClusterId, clusters, Cluster;
    config, ConfigId, configs, Config;
    extension, ExtensionId, extensions, Extension;
    network, NetworkId, networks, Network;
    node, NodeId, nodes, Node;
    resource, ResourceId, resources, Resource;
    secret, SecretId, secrets, Secret;
    service, ServiceId, services, Service;
    task, TaskId, tasks, Task;
    volume, VolumeId, volumes, Volume;
}

impl View {
    /// The index of the last log entry that this view shows.
    pub fn index(&self) -> u64 {
        self.moment.index
    }

    /// An object of any kind.
    pub fn get(&self, kind: Kind, id: &Id) -> Option<Object> {
        self.moment.tables.get(kind, id)
    }

    /// The id of what has this name, in any case. Nodes and tasks are not found by name.
    pub fn named(&self, kind: Kind, name: &str) -> Option<&Id> {
        self.moment.tables.names.get(&(kind, name.to_lowercase()))
    }

    /// The service with this name, in any case.
    pub fn service_named(&self, name: &str) -> Option<&Arc<Service>> {
        self.service(&self.named(Kind::Service, name)?.clone().into())
    }

    /// The settings of the cluster; there from the first leader on.
    pub fn default_cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster(&self.named(Kind::Cluster, DEFAULT_CLUSTER)?.clone().into())
    }

    /// The tasks of a service, by slot, then by id.
    pub fn tasks_of_service<'a>(
        &'a self,
        id: &ServiceId,
    ) -> impl Iterator<Item = &'a Arc<Task>> + use<'a> {
        let id = id.clone();
        let slots = self.moment.tables.slots.range((id.clone(), 0, TaskId::default())..);
        let belonging = slots.take_while(move |(service, ..)| *service == id);
        belonging.filter_map(|(_, _, task)| self.task(task))
    }

    /// The tasks of one slot, by id.
    pub fn tasks_in_slot<'a>(
        &'a self,
        id: &ServiceId,
        slot: u64,
    ) -> impl Iterator<Item = &'a Arc<Task>> + use<'a> {
        let id = id.clone();
        let slots = self.moment.tables.slots.range((id.clone(), slot, TaskId::default())..);
        let belonging = slots.take_while(move |(service, of, _)| *service == id && *of == slot);
        belonging.filter_map(|(_, _, task)| self.task(task))
    }

    /// The tasks on a node, by id.
    pub fn tasks_on_node<'a>(
        &'a self,
        id: &NodeId,
    ) -> impl Iterator<Item = &'a Arc<Task>> + use<'a> {
        let id = id.clone();
        let placements = self.moment.tables.placements.range((id.clone(), TaskId::default())..);
        let belonging = placements.take_while(move |(node, _)| *node == id);
        belonging.filter_map(|(_, task)| self.task(task))
    }

    /// Every object, in the order of snapshots. The iterator keeps this moment alive.
    pub fn objects(&self) -> impl Iterator<Item = Object> + use<> {
        self.moment.tables.objects()
    }

    /// Panics unless the indices are what the objects make them.
    pub fn verify_indices(&self) {
        let mut tables = Tables::default();
        for object in self.objects() {
            tables.put(&object, &mut Changes::default());
        }
        assert_eq!(tables, self.moment.tables, "the indices are what the objects make them");
    }
}
