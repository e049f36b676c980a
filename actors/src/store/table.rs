//! The maps and indices of one moment. They share structure, so a copy costs nothing.
//!
//! Physical indices are tasks by service and slot, tasks by node, and names; whatever else is
//! asked for is filtered.

use std::{ops::Bound, sync::Arc};

use imbl::{OrdMap, OrdSet};
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

use super::{Error, changes::Changes};

/// All objects and indices.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tables {
    pub(super) clusters: OrdMap<ClusterId, Arc<Cluster>>,
    pub(super) configs: OrdMap<ConfigId, Arc<Config>>,
    pub(super) extensions: OrdMap<ExtensionId, Arc<Extension>>,
    pub(super) networks: OrdMap<NetworkId, Arc<Network>>,
    pub(super) nodes: OrdMap<NodeId, Arc<Node>>,
    pub(super) resources: OrdMap<ResourceId, Arc<Resource>>,
    pub(super) secrets: OrdMap<SecretId, Arc<Secret>>,
    pub(super) services: OrdMap<ServiceId, Arc<Service>>,
    pub(super) tasks: OrdMap<TaskId, Arc<Task>>,
    pub(super) volumes: OrdMap<VolumeId, Arc<Volume>>,
    /// Tasks by service and slot; those without a service under the empty id.
    pub(super) slots: OrdSet<(ServiceId, u64, TaskId)>,
    /// Tasks by node; those without a node are left out.
    pub(super) placements: OrdSet<(NodeId, TaskId)>,
    /// Lower-cased names of the kinds whose names are unique, with who has them: of two that came
    /// from outside with one name, the one with the lower id goes by it.
    pub(super) names: OrdSet<(Kind, String, Id)>,
}

macro_rules! tables {
    ($($kind:ident by $id:ident in $table:ident,)*) => {
        impl Tables {
            pub(super) fn get(&self, kind: Kind, id: &Id) -> Option<Object> {
                match kind {
                    $(Kind::$kind => {
                        self.$table.get(&$id::from(id.clone())).cloned().map(Object::$kind)
                    })*
                }
            }

            /// Puts an object in, and returns what it replaces.
            fn insert(&mut self, object: &Object) -> Option<Object> {
                match object {
                    $(Object::$kind(object) => {
                        let before = self.$table.insert(object.id.clone(), object.clone());
                        before.map(Object::$kind)
                    })*
                }
            }

            fn take(&mut self, kind: Kind, id: &Id) -> Option<Object> {
                match kind {
                    $(Kind::$kind => {
                        self.$table.remove(&$id::from(id.clone())).map(Object::$kind)
                    })*
                }
            }

            /// How many objects of a kind there are.
            pub(super) fn count(&self, kind: Kind) -> usize {
                match kind {
                    $(Kind::$kind => self.$table.len(),)*
                }
            }

            /// The first objects of a kind that the place does not leave out, by id.
            pub(super) fn page(&self, kind: Kind, from: Bound<&Id>, count: usize) -> Vec<Object> {
                match kind {
                    $(Kind::$kind => {
                        let from = from.map(|id| $id::from(id.clone()));
                        let range = self.$table.range((from, Bound::Unbounded)).take(count);
                        range.map(|(_, object)| Object::$kind(object.clone())).collect()
                    })*
                }
            }
        }
    };
}

tables! {
    Cluster by ClusterId in clusters,
    Config by ConfigId in configs,
    Extension by ExtensionId in extensions,
    Network by NetworkId in networks,
    Node by NodeId in nodes,
    Resource by ResourceId in resources,
    Secret by SecretId in secrets,
    Service by ServiceId in services,
    Task by TaskId in tasks,
    Volume by VolumeId in volumes,
}

/// Whether a name belongs to one object of the kind (store-and-raft §1).
fn has_unique_names(kind: Kind) -> bool {
    match kind {
        Kind::Cluster
        | Kind::Config
        | Kind::Extension
        | Kind::Network
        | Kind::Resource
        | Kind::Secret
        | Kind::Service
        | Kind::Volume => true,
        Kind::Node | Kind::Task => false,
    }
}

/// The name that is unique within its kind, lower-cased; none for nodes, tasks and the nameless.
fn unique_name(object: &Object) -> Option<String> {
    let freed = matches!(object, Object::Service(service) if service.pending_delete);
    if !has_unique_names(object.kind()) || planted!(NameFreedEarly) && freed {
        return None;
    }
    object.name().filter(|name| !name.is_empty()).map(|name| name.to_lowercase())
}

impl Tables {
    /// Adds an object (store-and-raft §1).
    pub(super) fn create(&mut self, object: &Object, changes: &mut Changes) -> Result<(), Error> {
        if self.get(object.kind(), object.id()).is_some() {
            return Err(Error::Exists);
        }
        self.check_name(object)?;
        self.check_kind(object)?;
        self.put(object, changes);
        Ok(())
    }

    /// Replaces an object.
    pub(super) fn update(&mut self, object: &Object, changes: &mut Changes) -> Result<(), Error> {
        if self.get(object.kind(), object.id()).is_none() {
            return Err(Error::NotExist);
        }
        match object {
            Object::Extension(_) => return Err(Error::Immutable),
            // The name of a resource was checked when it was made.
            Object::Resource(_) => {}
            Object::Cluster(_)
            | Object::Config(_)
            | Object::Network(_)
            | Object::Node(_)
            | Object::Secret(_)
            | Object::Service(_)
            | Object::Task(_)
            | Object::Volume(_) => self.check_name(object)?,
        }
        self.check_kind(object)?;
        self.put(object, changes);
        Ok(())
    }

    /// Removes an object, and returns it as it was.
    pub(super) fn remove(
        &mut self,
        kind: Kind,
        id: &Id,
        changes: &mut Changes,
    ) -> Result<Object, Error> {
        let object = self.get(kind, id).ok_or(Error::NotExist)?;
        if let Object::Extension(extension) = &object {
            let name = extension.name().to_lowercase();
            let mut resources = self.resources.values();
            if resources.any(|resource| resource.body.kind.to_lowercase() == name) {
                return Err(Error::KindInUse);
            }
        }
        self.take(kind, id);
        if !planted!(IndexLeftBehind) {
            self.unindex(&object);
        }
        changes.record(Some(object.clone()), None);
        Ok(object)
    }

    /// Puts an object in without any check, indices included.
    pub(super) fn put(&mut self, object: &Object, changes: &mut Changes) {
        let before = self.insert(object);
        match (&before, object) {
            (Some(Object::Task(before)), Object::Task(after)) => self.index_again(before, after),
            (Some(before), after) => {
                self.unindex(before);
                self.index(after);
            }
            (None, object) => self.index(object),
        }
        changes.record(before, Some(object.clone()));
    }

    /// Most updates of a task change none of its keys.
    fn index_again(&mut self, before: &Task, after: &Task) {
        if (&before.service_id, before.slot) != (&after.service_id, after.slot) {
            self.slots.remove(&slot_key(before));
            self.slots.insert(slot_key(after));
        }
        if before.node_id != after.node_id {
            self.unplace(before);
            self.place(after);
        }
    }

    fn place(&mut self, task: &Task) {
        if !task.node_id.is_empty() {
            self.placements.insert(placement_key(task));
        }
    }

    /// A tree copies the way to a key that is to be removed, also when the key is not there.
    fn unplace(&mut self, task: &Task) {
        if !task.node_id.is_empty() {
            self.placements.remove(&placement_key(task));
        }
    }

    /// Sets objects to what they are to be, or takes them away, without any check.
    pub(super) fn set(&mut self, objects: Vec<(Kind, Id, Option<Object>)>) {
        // All names are free before any is given again: they may have changed hands.
        for (kind, id, _) in &objects {
            if let Some(before) = self.take(*kind, id) {
                self.unindex(&before);
            }
        }
        for object in objects.into_iter().filter_map(|(.., object)| object) {
            self.insert(&object);
            self.index(&object);
        }
    }

    /// A name belongs to one object of its kind, whatever its case; and no extension may be called
    /// like a kind that is built in.
    fn check_name(&self, object: &Object) -> Result<(), Error> {
        let Some(name) = unique_name(object) else { return Ok(()) };
        let built_in = Kind::ALL.iter().any(|kind| kind.name() == name);
        if object.kind() == Kind::Extension && built_in {
            return Err(Error::NameConflict);
        }
        let mut owners = self.named(object.kind(), &name);
        if owners.any(|owner| owner != object.id()) { Err(Error::NameConflict) } else { Ok(()) }
    }

    fn check_kind(&self, object: &Object) -> Result<(), Error> {
        let Object::Resource(resource) = object else { return Ok(()) };
        let registered = self.named(Kind::Extension, &resource.body.kind).next().is_some();
        if registered { Ok(()) } else { Err(Error::KindUnregistered) }
    }

    /// Who has a name, in any case, by id.
    pub(super) fn named(&self, kind: Kind, name: &str) -> impl Iterator<Item = &Id> {
        let name = name.to_lowercase();
        let from = (kind, name.clone(), Id::default());
        let range = self.names.range(from..);
        range.take_while(move |(of, its, _)| *of == kind && *its == name).map(|(.., id)| id)
    }

    fn index(&mut self, object: &Object) {
        if let Some(name) = unique_name(object) {
            self.names.insert((object.kind(), name, object.id().clone()));
        }
        if let Object::Task(task) = object {
            self.slots.insert(slot_key(task));
            self.place(task);
        }
    }

    fn unindex(&mut self, object: &Object) {
        if let Some(name) = unique_name(object) {
            self.names.remove(&(object.kind(), name, object.id().clone()));
        }
        if let Object::Task(task) = object {
            self.slots.remove(&slot_key(task));
            self.unplace(task);
        }
    }
}

fn slot_key(task: &Task) -> (ServiceId, u64, TaskId) {
    (task.service_id.clone(), task.slot, task.id.clone())
}

fn placement_key(task: &Task) -> (NodeId, TaskId) {
    (task.node_id.clone(), task.id.clone())
}
