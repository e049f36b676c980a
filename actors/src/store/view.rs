//! One moment of the whole store, for anybody to read.

use std::{ops::Bound, sync::Arc, vec};

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

use super::{
    changes::{Changes, Side},
    table::Tables,
};

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
    /// Becomes what it is after the changes of the entry with this index.
    pub(super) fn follow(&mut self, index: u64, changes: &Changes) {
        let moment = Arc::make_mut(&mut self.moment);
        moment.index = index;
        moment.tables.set(changes.side(Side::After));
    }

    /// Becomes what it was before the changes, when it showed the entry with this index.
    pub(super) fn undo(&mut self, index: u64, changes: &Changes) {
        if index != self.index() || !changes.is_empty() {
            let moment = Arc::make_mut(&mut self.moment);
            moment.index = index;
            moment.tables.set(changes.side(Side::Before));
        }
    }

    /// The index of the last log entry that this view shows.
    pub fn index(&self) -> u64 {
        self.moment.index
    }

    /// How many objects of a kind there are; known without counting.
    pub fn count(&self, kind: Kind) -> usize {
        self.moment.tables.count(kind)
    }

    /// An object of any kind.
    pub fn get(&self, kind: Kind, id: &Id) -> Option<Object> {
        self.moment.tables.get(kind, id)
    }

    /// The id of what has this name, in any case. Nodes and tasks are not found by name.
    pub fn named(&self, kind: Kind, name: &str) -> Option<&Id> {
        self.moment.tables.named(kind, name).next()
    }

    /// The service with this name, in any case.
    pub fn service_named(&self, name: &str) -> Option<&Arc<Service>> {
        self.service(&self.named(Kind::Service, name)?.clone().into())
    }

    /// The settings of the cluster; there from the first leader on.
    pub fn default_cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster(&self.named(Kind::Cluster, DEFAULT_CLUSTER)?.clone().into())
    }

    /// The nodes behind one, by id; all of them behind none.
    pub fn nodes_after(&self, id: Option<&NodeId>) -> impl Iterator<Item = &Arc<Node>> {
        self.moment.tables.nodes.range(behind(id)).map(|(_, node)| node)
    }

    /// The tasks behind one, by id; all of them behind none.
    pub fn tasks_after(&self, id: Option<&TaskId>) -> impl Iterator<Item = &Arc<Task>> {
        self.moment.tables.tasks.range(behind(id)).map(|(_, task)| task)
    }

    /// The first id behind one that a service has, or that tasks name as their service.
    pub fn service_after(&self, id: Option<&ServiceId>) -> Option<ServiceId> {
        let tables = &self.moment.tables;
        // Ids order as text, and this is the next text.
        let from = id.map_or(ServiceId::default(), |id| format!("{id}\0").into());
        let service = tables.services.range(from.clone()..).next().map(|(id, _)| id);
        let slot = tables.slots.range((from, 0, TaskId::default())..).next();
        service.into_iter().chain(slot.map(|(id, ..)| id)).min().cloned()
    }

    /// The tasks of a service, by slot, then by id.
    pub fn tasks_of_service<'a>(
        &'a self,
        id: &ServiceId,
    ) -> impl Iterator<Item = &'a Arc<Task>> + use<'a> {
        self.tasks_of_service_from(id, 0)
    }

    /// The same, from a slot on.
    pub fn tasks_of_service_from<'a>(
        &'a self,
        id: &ServiceId,
        slot: u64,
    ) -> impl Iterator<Item = &'a Arc<Task>> + use<'a> {
        let id = id.clone();
        let slots = self.moment.tables.slots.range((id.clone(), slot, TaskId::default())..);
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

    /// Every object, kind by kind, by id. The iterator keeps this moment alive, and reads a few
    /// objects at a time: to begin costs nothing, whatever there is.
    pub fn objects(&self) -> impl Iterator<Item = Object> + Send + use<> {
        Kind::ALL.into_iter().flat_map({
            let view = self.clone();
            move |kind| view.all(kind)
        })
    }

    /// Every object of a kind, by id, as [`View::objects`] gives them.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = Object> + Send + use<> {
        All { view: self.clone(), kind, from: Bound::Unbounded, page: Vec::new().into_iter() }
    }

    /// The objects of a kind behind one, by id, no more than so many; the first ones behind none.
    pub fn page(&self, kind: Kind, after: Option<&Id>, count: usize) -> Vec<Object> {
        self.moment.tables.page(kind, after.map_or(Bound::Unbounded, Bound::Excluded), count)
    }

    /// Takes some objects away that nobody else sees; returns whether there is more to do. A whole
    /// store would hold up whoever drops it.
    pub(super) fn dismantle(&mut self, objects: usize) -> bool {
        // Whoever shares it will drop it.
        let Some(moment) = Arc::get_mut(&mut self.moment) else { return false };
        let mut gone = Vec::new();
        for kind in Kind::ALL {
            let page = moment.tables.page(kind, Bound::Unbounded, objects - gone.len());
            gone.extend(page.into_iter().map(|object| (kind, object.id().clone(), None)));
        }
        let is_full = gone.len() == objects;
        moment.tables.set(gone);
        is_full
    }

    /// Whether the indices are what the objects make them.
    pub fn has_right_indices(&self) -> bool {
        let mut tables = Tables::default();
        for object in self.objects() {
            tables.put(&object, &mut Changes::default());
        }
        tables == self.moment.tables
    }

    /// Panics unless the indices are what the objects make them.
    pub fn verify_indices(&self) {
        assert!(self.has_right_indices(), "the indices are what the objects make them");
    }
}

/// How many objects are read at once.
const PAGE: usize = 64;

/// The objects of a kind, by id. Each page finds its place anew: the map's own iterator over
/// shared nodes would collect all of them first.
struct All {
    view: View,
    kind: Kind,
    from: Bound<Id>,
    page: vec::IntoIter<Object>,
}

impl Iterator for All {
    type Item = Object;

    fn next(&mut self) -> Option<Object> {
        if self.page.as_slice().is_empty() {
            let page = self.view.moment.tables.page(self.kind, self.from.as_ref(), PAGE);
            self.from = Bound::Excluded(page.last()?.id().clone());
            self.page = page.into_iter();
        }
        self.page.next()
    }
}

fn behind<T: Clone>(id: Option<&T>) -> (Bound<T>, Bound<T>) {
    (id.cloned().map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}
