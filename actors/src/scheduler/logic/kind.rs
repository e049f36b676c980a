//! What waiting tasks ask for, prepared once for all that ask for the same.

use std::{collections::BTreeMap, sync::Arc};

use protocol::{
    constraint::{Constraint, Label},
    id::ServiceId,
    image,
    objects::Task,
    wire::{
        self, TaskSpec, generic_resource::Resource, mount, placement_preference::Preference,
        port_config::PublishMode, task_spec::Runtime,
    },
};

use super::filter::architecture;

/// How many specs are remembered as prepared. Each is one version of a service, and a forgotten
/// one is prepared again.
const REMEMBERED: usize = 4096;

/// A port of the host, by protocol and number.
pub(crate) type HostPort = (i32, u32);

/// So many of a generic resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    pub(crate) kind: String,
    /// None where one was asked for by its name, which no node can meet.
    pub(crate) count: Option<i64>,
}

/// An operating system and an architecture in Go's spelling; empty for any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) architecture: String,
}

/// A cluster volume that is to be mounted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClusterMount {
    /// The name of a volume, or of a group of them after `group:`.
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) is_readonly: bool,
}

/// What a spec asks of a node.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asks {
    pub(crate) nano_cpus: i64,
    pub(crate) memory_bytes: i64,
    pub(crate) generic: Vec<Wanted>,
    pub(crate) image: String,
    pub(crate) volume_drivers: Vec<String>,
    pub(crate) log_driver: Option<String>,
    pub(crate) constraints: Vec<Constraint>,
    pub(crate) platforms: Vec<Platform>,
    /// The most tasks of the service on one node; 0 is no limit.
    pub(crate) replicas_max: u64,
    pub(crate) mounts: Vec<ClusterMount>,
    pub(crate) spread_over: Vec<Label>,
}

/// Tasks of one version of one service, or of none, that ask for the same. Kinds of services come
/// before those of tasks that stand alone.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    is_alone: bool,
    pub(crate) service: ServiceId,
    pub(crate) version: Option<u64>,
    pub(crate) asks: Arc<Asks>,
    pub(crate) ports: Vec<HostPort>,
    /// The drivers of its networks; none for a network without one.
    pub(crate) network_drivers: Vec<String>,
}

impl Asks {
    fn of(spec: &TaskSpec) -> Self {
        let reserved = reserved(spec).cloned().unwrap_or_default();
        let none = wire::Placement::default();
        let placement = spec.placement.as_ref().unwrap_or(&none);
        let mounts = mounts(spec);
        Self {
            nano_cpus: reserved.nano_cpus,
            memory_bytes: reserved.memory_bytes,
            generic: reserved.generic.iter().filter_map(wanted).collect(),
            image: match &spec.runtime {
                Some(Runtime::Container(container)) => container.image.clone(),
                Some(Runtime::Attachment(_) | Runtime::Generic(_)) | None => image::HOST.to_owned(),
            },
            volume_drivers: mounts.iter().filter_map(volume_driver).collect(),
            log_driver: spec.log_driver.as_ref().map(|driver| driver.name.clone()),
            // The control API refuses what does not parse; what got in another way is ignored.
            constraints: Constraint::parse_all(&placement.constraints).unwrap_or_default(),
            platforms: placement.platforms.iter().map(Platform::of).collect(),
            replicas_max: placement.max_replicas,
            mounts: mounts.iter().filter_map(cluster_mount).collect(),
            spread_over: placement.preferences.iter().filter_map(label).collect(),
        }
    }

    /// Whether anything is to be kept free.
    pub(crate) fn reserves(&self) -> bool {
        self.nano_cpus != 0 || self.memory_bytes != 0 || !self.generic.is_empty()
    }
}

impl Platform {
    pub(crate) fn of(platform: &wire::Platform) -> Self {
        let architecture = architecture(&platform.architecture).to_owned();
        Self { os: platform.os.clone(), architecture }
    }
}

fn wanted(resource: &wire::GenericResource) -> Option<Wanted> {
    Some(match resource.resource.as_ref()? {
        Resource::DiscreteResourceSpec(wanted) => {
            Wanted { kind: wanted.kind.clone(), count: Some(wanted.value) }
        }
        Resource::NamedResourceSpec(wanted) => Wanted { kind: wanted.kind.clone(), count: None },
    })
}

/// What a spec reserves.
pub(crate) fn reserved(spec: &TaskSpec) -> Option<&wire::Resources> {
    spec.resources.as_ref()?.reservations.as_ref()
}

fn mounts(spec: &TaskSpec) -> &[wire::Mount] {
    match &spec.runtime {
        Some(Runtime::Container(container)) => &container.mounts,
        Some(Runtime::Attachment(_) | Runtime::Generic(_)) | None => &[],
    }
}

fn volume_driver(mount: &wire::Mount) -> Option<String> {
    let driver = mount.volume_options.as_ref()?.driver_config.as_ref()?;
    let is_plugin = mount.r#type() == mount::Type::Volume;
    (is_plugin && !["", "local"].contains(&driver.name.as_str())).then(|| driver.name.clone())
}

fn cluster_mount(mount: &wire::Mount) -> Option<ClusterMount> {
    let wire::Mount { source, target, readonly, .. } = mount;
    let (source, target) = (source.clone(), target.clone());
    (mount.r#type() == mount::Type::Cluster).then_some(ClusterMount {
        source,
        target,
        is_readonly: *readonly,
    })
}

fn label(preference: &wire::PlacementPreference) -> Option<Label> {
    match preference.preference.as_ref()? {
        Preference::Spread(spread) => Label::named(&spread.spread_descriptor),
    }
}

/// The ports that a task takes on its host.
pub(crate) fn host_ports(task: &Task) -> Vec<HostPort> {
    let ports = task.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    let host = i32::from(PublishMode::Host);
    ports
        .filter(|port| port.publish_mode == host && port.published_port != 0)
        .map(|port| (port.protocol, port.published_port))
        .collect()
}

/// The drivers that a node must have. What arrives on the ingress network reaches an engine, which
/// always has its driver, as well as a process, which needs none.
fn network_drivers(task: &Task) -> impl Iterator<Item = &str> {
    let networks = task.networks.iter().filter_map(|attachment| attachment.network.as_ref());
    let networks = networks.filter(|network| !network.is_ingress());
    let drivers = networks.filter_map(|network| network.driver_state.as_ref());
    drivers.map(|driver| driver.name.as_str()).filter(|name| !name.is_empty())
}

impl Kind {
    /// What one task asks for, prepared for it alone.
    pub(crate) fn of(task: &Task) -> Self {
        Self {
            is_alone: task.spec_version.is_none() || task.service_id.is_empty(),
            service: task.service_id.clone(),
            version: task.spec_version,
            asks: Arc::new(Asks::of(&task.spec)),
            ports: host_ports(task),
            network_drivers: network_drivers(task).map(str::to_owned).collect(),
        }
    }
}

/// The kinds of tasks seen lately: most tasks share the spec of one before them.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    known: BTreeMap<(ServiceId, Option<u64>), Known>,
}

#[derive(Debug)]
struct Known {
    spec: Arc<TaskSpec>,
    endpoint: Option<Arc<wire::Endpoint>>,
    kind: Arc<Kind>,
}

impl Kinds {
    /// What a task asks for.
    pub(crate) fn of(&mut self, task: &Task) -> Arc<Kind> {
        let key = (task.service_id.clone(), task.spec_version);
        if let Some(known) = self.known.get(&key)
            && is_same(&known.spec, &task.spec)
            && known.has_endpoint_of(task)
            && network_drivers(task).eq(known.kind.network_drivers.iter().map(String::as_str))
        {
            return known.kind.clone();
        }
        let kind = Arc::new(Kind::of(task));
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let (spec, endpoint) = (task.spec.clone(), task.endpoint.clone());
        self.known.insert(key, Known { spec, endpoint, kind: kind.clone() });
        kind
    }
}

impl Known {
    fn has_endpoint_of(&self, task: &Task) -> bool {
        match (&self.endpoint, &task.endpoint) {
            (None, None) => true,
            (Some(known), Some(own)) => is_same(known, own),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

fn is_same<T: PartialEq>(left: &Arc<T>, right: &Arc<T>) -> bool {
    Arc::ptr_eq(left, right) || left == right
}
