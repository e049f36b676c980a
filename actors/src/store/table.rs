//! The maps and indices of one moment. They share structure, so a copy costs nothing.
//!
//! Physical indices are tasks by service and slot, tasks by node, and names; whatever else is
//! asked for is filtered.

use std::sync::Arc;

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
    /// Lower-cased names of the kinds whose names are unique.
    pub(super) names: OrdMap<(Kind, String), Id>,
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

            /// Every object, in the order of snapshots.
            pub(super) fn objects(&self) -> impl Iterator<Item = Object> + use<> {
                let tables = self.clone();
                std::iter::empty()$(
                    .chain(tables.$table.into_iter().map(|(_, object)| Object::$kind(object)))
                )*
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

/// The name that is unique within its kind, lower-cased; none for nodes, tasks and the nameless.
fn unique_name(object: &Object) -> Option<(Kind, String)> {
    let name = match object {
        Object::Cluster(object) => object.name(),
        Object::Config(object) => object.name(),
        Object::Extension(object) => object.name(),
        Object::Network(object) => object.name(),
        Object::Resource(object) => object.name(),
        Object::Secret(object) => object.name(),
        Object::Service(object) => object.name(),
        Object::Volume(object) => object.name(),
        Object::Node(_) | Object::Task(_) => "",
    };
    (!name.is_empty()).then(|| (object.kind(), name.to_lowercase()))
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
            let mut resources = self.resources.values();
            if resources.any(|resource| resource.body.kind == extension.name()) {
                return Err(Error::KindInUse);
            }
        }
        self.take(kind, id);
        self.unindex(&object);
        changes.record(Some(object.clone()), None);
        Ok(object)
    }

    /// Puts an object in without any check, indices included.
    pub(super) fn put(&mut self, object: &Object, changes: &mut Changes) {
        let before = self.insert(object);
        if let Some(before) = &before {
            self.unindex(before);
        }
        self.index(object);
        changes.record(before, Some(object.clone()));
    }

    /// A name belongs to one object of its kind, whatever its case; and no extension may be called
    /// like a kind that is built in.
    fn check_name(&self, object: &Object) -> Result<(), Error> {
        let Some(name) = unique_name(object) else { return Ok(()) };
        let built_in = Kind::ALL.iter().any(|kind| kind.name() == name.1);
        if object.kind() == Kind::Extension && built_in {
            return Err(Error::NameConflict);
        }
        match self.names.get(&name) {
            Some(owner) if owner != object.id() => Err(Error::NameConflict),
            Some(_) | None => Ok(()),
        }
    }

    fn check_kind(&self, object: &Object) -> Result<(), Error> {
        let Object::Resource(resource) = object else { return Ok(()) };
        let name = (Kind::Extension, resource.body.kind.to_lowercase());
        if self.names.contains_key(&name) { Ok(()) } else { Err(Error::KindUnregistered) }
    }

    fn index(&mut self, object: &Object) {
        if let Some(name) = unique_name(object) {
            // Of two that came from outside with one name, the first keeps it.
            self.names.entry(name).or_insert_with(|| object.id().clone());
        }
        if let Object::Task(task) = object {
            self.slots.insert((task.service_id.clone(), task.slot, task.id.clone()));
            if !task.node_id.is_empty() {
                self.placements.insert((task.node_id.clone(), task.id.clone()));
            }
        }
    }

    fn unindex(&mut self, object: &Object) {
        if let Some(name) = unique_name(object)
            && self.names.get(&name) == Some(object.id())
        {
            self.names.remove(&name);
        }
        if let Object::Task(task) = object {
            self.slots.remove(&(task.service_id.clone(), task.slot, task.id.clone()));
            self.placements.remove(&(task.node_id.clone(), task.id.clone()));
        }
    }
}
