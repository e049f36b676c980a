//! Which cluster volumes tasks use, and which fit a mount (`scheduler-and-allocator` §8).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use protocol::{
    id::{NodeId, TaskId, VolumeId},
    objects::{Node, Task, Volume},
    wire::{
        NodeCsiInfo, Topology, VolumeAttachment, VolumeSpec,
        volume_access_mode::{Scope, Sharing},
        volume_publish_status::State,
        volume_spec::VolumeAvailability,
    },
};

use super::{
    kind::{ClusterMount, Kind},
    places::counts,
};
use crate::store::View;

/// What stands before the name of a group in the source of a mount.
const GROUP: &str = "group:";

/// All cluster volumes that storage plugins have made.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Volumes {
    known: BTreeMap<VolumeId, Arc<Volume>>,
    by_source: BTreeMap<String, BTreeSet<VolumeId>>,
    users: BTreeMap<VolumeId, BTreeMap<TaskId, User>>,
}

/// A task that uses a volume.
#[derive(Clone, Debug, PartialEq)]
struct User {
    node: NodeId,
    is_readonly: bool,
}

impl Volumes {
    /// All volumes of a store, with the tasks that use them.
    pub(crate) fn of(view: &View) -> Self {
        let mut volumes = Self::default();
        view.volumes().for_each(|volume| volumes.put(volume.clone()));
        if !volumes.known.is_empty() {
            view.tasks().filter(|task| counts(task)).for_each(|task| volumes.reserve_for(task));
        }
        volumes
    }

    /// Takes a volume as it is now. One that no plugin has made yet is of no use.
    pub(crate) fn put(&mut self, volume: Arc<Volume>) {
        self.remove(&volume.id);
        let is_made =
            volume.body.volume_info.as_ref().is_some_and(|info| !info.volume_id.is_empty());
        if is_made {
            for source in sources(&volume) {
                self.by_source.entry(source).or_default().insert(volume.id.clone());
            }
            self.known.insert(volume.id.clone(), volume);
        }
    }

    /// A volume is gone.
    pub(crate) fn remove(&mut self, id: &VolumeId) {
        let Some(volume) = self.known.remove(id) else { return };
        for source in sources(&volume) {
            if let Some(ids) = self.by_source.get_mut(&source) {
                ids.remove(id);
                if ids.is_empty() {
                    self.by_source.remove(&source);
                }
            }
        }
    }

    /// A task that is on a node uses its volumes.
    pub(crate) fn reserve_for(&mut self, task: &Task) {
        if !task.volumes.is_empty() {
            self.reserve(&task.id, &task.node_id, &Kind::of(task), &task.volumes);
        }
    }

    /// A task gets a node, and uses these volumes there.
    pub(crate) fn reserve(
        &mut self,
        task: &TaskId,
        node: &NodeId,
        kind: &Kind,
        attachments: &[VolumeAttachment],
    ) {
        for VolumeAttachment { id, source, target } in attachments {
            let mut mounts = kind.asks.mounts.iter();
            let mount = mounts.find(|mount| mount.source == *source && mount.target == *target);
            let is_readonly = mount.is_some_and(|mount| mount.is_readonly);
            let users = self.users.entry(id.as_str().into()).or_default();
            // It may be mounted twice; one place to write is enough to write.
            let user = User { node: node.clone(), is_readonly };
            users.entry(task.clone()).or_insert(user).is_readonly &= is_readonly;
        }
    }

    /// A task uses its volumes no longer. Returns whether it used any.
    pub(crate) fn release(&mut self, task: &TaskId, attachments: &[VolumeAttachment]) -> bool {
        for VolumeAttachment { id, .. } in attachments {
            let id = id.as_str().into();
            if let Some(users) = self.users.get_mut(&id) {
                users.remove(task);
                if users.is_empty() {
                    self.users.remove(&id);
                }
            }
        }
        !attachments.is_empty()
    }

    /// Chooses a volume for every mount, or says which source has none that fits. No volume is
    /// chosen for two mounts that name a group.
    pub(crate) fn choose<'k>(
        &self,
        mounts: &'k [ClusterMount],
        node: &Node,
    ) -> Result<Vec<VolumeAttachment>, &'k str> {
        let mut chosen: Vec<VolumeAttachment> = Vec::new();
        for mount in mounts {
            let is_group = mount.source.starts_with(GROUP);
            let is_chosen = |id: &VolumeId| chosen.iter().any(|one| one.id == id.as_str());
            let ids = self.by_source.get(&mount.source).into_iter().flatten();
            let mut fitting = ids
                .filter(|id| !(is_group && is_chosen(id)))
                .filter(|id| self.fits(&self.known[*id], mount, node));
            let id = fitting.next().ok_or(mount.source.as_str())?.as_str().to_owned();
            let (source, target) = (mount.source.clone(), mount.target.clone());
            chosen.push(VolumeAttachment { id, source, target });
        }
        Ok(chosen)
    }

    fn fits(&self, volume: &Volume, mount: &ClusterMount, node: &Node) -> bool {
        let Some(spec) = &volume.body.spec else { return false };
        let users = || self.users.get(&volume.id).into_iter().flat_map(BTreeMap::values);
        let mode = spec.access_mode.clone().unwrap_or_default();
        let is_in_scope = match mode.scope() {
            Scope::SingleNode => users().all(|user| user.node == node.id),
            Scope::MultiNode => true,
        };
        let is_shared = match mode.sharing() {
            Sharing::None => users().next().is_none(),
            Sharing::ReadOnly => mount.is_readonly,
            Sharing::OneWriter => mount.is_readonly || users().all(|user| user.is_readonly),
            Sharing::All => true,
        };
        is_active(spec) && is_in_scope && is_shared && is_reachable(volume, spec, node)
    }

    /// The nodes that a volume is published on although nobody there uses it.
    pub(crate) fn unused_on(&self, volume: &Volume) -> Vec<NodeId> {
        let users = self.users.get(&volume.id);
        let is_used = |node: &NodeId| {
            users.is_some_and(|users| users.values().any(|user| user.node == *node))
        };
        let published =
            volume.body.publish_status.iter().filter(|entry| entry.state() == State::Published);
        let nodes = published.map(|entry| NodeId::from(entry.node_id.as_str()));
        nodes.filter(|node| !is_used(node)).collect()
    }

    /// Every volume, by id.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Volume>> {
        self.known.values()
    }
}

/// What mounts may name to get this volume.
fn sources(volume: &Volume) -> Vec<String> {
    let group = volume.body.spec.as_ref().map_or("", |spec| &spec.group);
    let group = (!group.is_empty()).then(|| format!("{GROUP}{group}"));
    group.into_iter().chain([volume.name().to_owned()]).collect()
}

/// Whether tasks may get a volume.
pub(crate) fn is_active(spec: &VolumeSpec) -> bool {
    spec.availability() == VolumeAvailability::Active
}

/// Whether a volume can be reached from a node. What either does not say is no hindrance.
fn is_reachable(volume: &Volume, spec: &VolumeSpec, node: &Node) -> bool {
    let driver = spec.driver.as_ref().map_or("", |driver| &driver.name);
    let accessible = volume.body.volume_info.as_ref();
    let accessible = accessible.map_or(&[][..], |info| &info.accessible_topology);
    let known = node.description.iter().flat_map(|description| &description.csi_info);
    let mut of_driver = known.filter(|info: &&NodeCsiInfo| info.plugin_name == driver);
    let Some(own) = of_driver.next().and_then(|info| info.accessible_topology.as_ref()) else {
        return true;
    };
    let agrees = |topology: &Topology| {
        topology.segments.iter().all(|(name, value)| own.segments.get(name) == Some(value))
    };
    accessible.is_empty() || accessible.iter().any(agrees)
}
