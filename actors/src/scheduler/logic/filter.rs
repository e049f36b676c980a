//! Which nodes can run a task, and what is said when none can (`scheduler-and-allocator` §3).

use protocol::{
    image::is_host,
    objects::Node,
    wire::{PluginDescription, node_spec::Availability, node_status::State},
};

use super::{
    kind::{Kind, Platform},
    places::Place,
};

/// A plugin of this type names a way of running tasks that is no engine.
const RUNTIME: &str = "Runtime";

/// The runtime that runs tasks as processes of the host.
const PROCESS: &str = "process";

/// Types of plugins, as engines name them.
const VOLUME: &str = "Volume";
const NETWORK: &str = "Network";
const LOG: &str = "Log";

/// What a node must be like; the filters, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Filter {
    /// Answers, and takes new tasks.
    Ready,
    /// Has enough processors, memory and generic resources left.
    Resources,
    /// Runs this sort of image.
    Runtime,
    /// Has the plugins for volumes, networks and logs.
    Plugin,
    /// Satisfies all constraints.
    Constraints,
    /// Is of one of the platforms.
    Platform,
    /// Has the ports of the host free.
    HostPort,
    /// Has fewer tasks of the service than there may be on one node.
    MaxReplicas,
    /// Can reach volumes for all mounts of cluster volumes.
    Volumes,
}

impl Filter {
    /// All filters, in order.
    pub const ALL: [Self; 9] = [
        Self::Ready,
        Self::Resources,
        Self::Runtime,
        Self::Plugin,
        Self::Constraints,
        Self::Platform,
        Self::HostPort,
        Self::MaxReplicas,
        Self::Volumes,
    ];
}

/// The first filter that a node fails whatever runs on it: nothing but the node itself is asked.
pub(crate) fn failed_for_good(kind: &Kind, node: &Node) -> Option<Filter> {
    let asks = &kind.asks;
    let failed = if !is_ready(node) {
        Filter::Ready
    } else if !runs(&asks.image, node) {
        Filter::Runtime
    } else if missing_plugin(kind, node).is_some() {
        Filter::Plugin
    } else if !asks.constraints.iter().all(|one| one.matches(node)) {
        Filter::Constraints
    } else if !fits_platform(&asks.platforms, node) {
        Filter::Platform
    } else {
        return None;
    };
    Some(failed)
}

/// The first filter that a node fails, volumes left aside; `for_good` is what
/// [`failed_for_good`] says of it.
pub(crate) fn failed(kind: &Kind, place: &Place, for_good: Option<Filter>) -> Option<Filter> {
    if for_good == Some(Filter::Ready) {
        return for_good;
    }
    if kind.asks.reserves() && !place.load.taken.leaves_enough(place.offered(), &kind.asks) {
        return Some(Filter::Resources);
    }
    if for_good.is_some() {
        return for_good;
    }
    if kind.ports.iter().any(|port| place.load.ports.contains_key(port)) {
        return Some(Filter::HostPort);
    }
    let replicas_max = kind.asks.replicas_max;
    let is_below = replicas_max == 0 || place.load.active_of(&kind.service) < replicas_max;
    (!is_below).then_some(Filter::MaxReplicas)
}

/// Whether a node takes new tasks.
pub(crate) fn is_ready(node: &Node) -> bool {
    node.status.state() == State::Ready && node.spec.availability() == Availability::Active
}

/// Whether a node can run an image. One that announces no runtime is an engine, which runs every
/// image but the host's; one that has not described itself may be anything.
pub(crate) fn runs(image: &str, node: &Node) -> bool {
    let Some(plugins) = plugins(node) else { return true };
    let mut runtimes = plugins.iter().filter(|plugin| plugin.r#type == RUNTIME).peekable();
    let is_engine = runtimes.peek().is_none();
    let is_process = runtimes.any(|plugin| plugin.name == PROCESS);
    if is_host(image) { is_process } else { is_engine }
}

/// The type and the name of the first plugin that a node lacks (`scheduler-and-allocator` §3.1).
/// One that has not described its engine may have all.
pub(crate) fn missing_plugin<'k>(kind: &'k Kind, node: &Node) -> Option<(&'static str, &'k str)> {
    let plugins = plugins(node)?;
    let lacks = |of: &str, name: &str| !plugins.iter().any(|plugin| is_plugin(plugin, of, name));
    let volumes = kind.asks.volume_drivers.iter().map(|name| (VOLUME, name.as_str()));
    let networks = kind.network_drivers.iter().map(|name| (NETWORK, name.as_str()));
    // Older engines list no plugins for logs, and have some.
    let lists_logs = plugins.iter().any(|plugin| plugin.r#type == LOG);
    let log = kind.asks.log_driver.as_deref();
    let log = log.filter(|name| lists_logs && !["", "none"].contains(name));
    let wanted = volumes.chain(networks).chain(log.map(|name| (LOG, name)));
    wanted.into_iter().find(|(of, name)| lacks(of, name))
}

fn plugins(node: &Node) -> Option<&[PluginDescription]> {
    Some(&node.description.as_ref()?.engine.as_ref()?.plugins)
}

fn is_plugin(plugin: &PluginDescription, of: &str, name: &str) -> bool {
    plugin.r#type == of
        && (plugin.name == name || plugin.name.strip_suffix(":latest") == Some(name))
}

/// Whether a node is of one of the platforms, or any is right.
pub(crate) fn fits_platform(wanted: &[Platform], node: &Node) -> bool {
    let offered = node.description.as_ref().and_then(|found| found.platform.as_ref());
    let is_or_any = |wanted: &str, offered: &str| wanted.is_empty() || wanted == offered;
    wanted.is_empty()
        || offered.is_some_and(|offered| {
            wanted.iter().any(|wanted| {
                is_or_any(&wanted.os, &offered.os)
                    && is_or_any(&wanted.architecture, architecture(&offered.architecture))
            })
        })
}

/// The name that Go gives to an architecture.
pub(crate) fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// How many nodes failed at which filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failed([usize; Filter::ALL.len()]);

impl Failed {
    pub(crate) fn add(&mut self, filter: Filter) {
        self.0[filter as usize] += 1;
    }

    pub(crate) fn remove(&mut self, filter: Filter) {
        self.0[filter as usize] -= 1;
    }

    /// The filters that nodes failed at, the most frequent first, then in order.
    pub(crate) fn counts(&self) -> Vec<(Filter, usize)> {
        let counts = Filter::ALL.map(|filter| (filter, self.0[filter as usize]));
        let mut counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }
}

/// Says how many nodes fail at which filter (`scheduler-and-allocator` §3.2).
pub(crate) fn describe(counts: &[(Filter, usize)], image: &str) -> String {
    let texts = counts.iter().map(|(filter, count)| describe_one(*filter, *count, image));
    texts.collect::<Vec<_>>().join("; ")
}

fn describe_one(filter: Filter, count: usize, image: &str) -> String {
    let nodes = if count == 1 { "node" } else { "nodes" };
    match filter {
        Filter::Ready => format!("{count} {nodes} not available for new tasks"),
        Filter::Resources => format!("insufficient resources on {count} {nodes}"),
        Filter::Runtime => format!("no node can run image {image}"),
        Filter::Plugin => format!("missing plugin on {count} {nodes}"),
        Filter::Constraints => format!("scheduling constraints not satisfied on {count} {nodes}"),
        Filter::Platform => format!("unsupported platform on {count} {nodes}"),
        Filter::HostPort => format!("host-mode port already in use on {count} {nodes}"),
        Filter::MaxReplicas => "max replicas per node limit exceed".to_owned(),
        Filter::Volumes => {
            format!("cannot fulfill requested CSI volume mounts on {count} {nodes}")
        }
    }
}
