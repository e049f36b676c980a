//! Which nodes can run a task, and what is said when none can (`scheduler-and-allocator` §3).

use std::{collections::BTreeMap, fmt};

use protocol::{
    constraint::Constraint,
    objects::Task,
    wire::{self, node_spec::Availability, node_status::State, task_spec::Runtime},
};

use super::nodes::{HostPort, Place, host_ports, reserved};

/// The image that stands for the host's own file system.
const HOST_IMAGE: &str = "host";

/// A plugin of this type names a way of running tasks that is no engine.
const RUNTIME: &str = "Runtime";

/// The runtime that runs tasks as processes of the host.
const PROCESS: &str = "process";

/// What a node must be like; the filters, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Filter {
    Ready,
    Resources,
    /// With the image that no node can run.
    Runtime(String),
    Constraints,
    Platform,
    HostPort,
    MaxReplicas,
}

/// What a task asks of a node, prepared once for all nodes.
pub(crate) struct Requirements<'t> {
    task: &'t Task,
    reserved: wire::Resources,
    image: &'t str,
    constraints: Vec<Constraint>,
    platforms: &'t [wire::Platform],
    ports: Vec<HostPort>,
    replicas_max: u64,
}

impl<'t> Requirements<'t> {
    pub(crate) fn of(task: &'t Task) -> Self {
        let placement = task.spec.placement.as_ref();
        let constraints = placement.map_or(&[][..], |placement| &placement.constraints);
        Self {
            task,
            reserved: reserved(task),
            image: match &task.spec.runtime {
                Some(Runtime::Container(container)) => &container.image,
                Some(Runtime::Attachment(_) | Runtime::Generic(_)) | None => HOST_IMAGE,
            },
            // The control API refuses what does not parse; what got in another way is ignored.
            constraints: Constraint::parse_all(constraints).unwrap_or_default(),
            platforms: placement.map_or(&[][..], |placement| &placement.platforms),
            ports: host_ports(task).collect(),
            replicas_max: placement.map_or(0, |placement| placement.max_replicas),
        }
    }

    pub(crate) fn reserved(&self) -> &wire::Resources {
        &self.reserved
    }

    /// The first filter that a node fails; none when it can run the task.
    pub(crate) fn failed_by(&self, place: &Place) -> Option<Filter> {
        let is_free = |port: &HostPort| !place.ports.contains_key(port);
        let failed = if !is_ready(place) {
            Filter::Ready
        } else if !place.free.can_meet(&self.reserved) {
            Filter::Resources
        } else if !runs(self.image, place) {
            Filter::Runtime(self.image.to_owned())
        } else if !self.constraints.iter().all(|one| one.matches(&place.node)) {
            Filter::Constraints
        } else if !self.fits_platform(place) {
            Filter::Platform
        } else if !self.ports.iter().all(is_free) {
            Filter::HostPort
        } else if !self.is_below_max(place) {
            Filter::MaxReplicas
        } else {
            return None;
        };
        Some(failed)
    }

    fn fits_platform(&self, place: &Place) -> bool {
        let offered = place.node.description.as_ref().and_then(|found| found.platform.as_ref());
        self.platforms.is_empty()
            || offered.is_some_and(|offered| {
                self.platforms.iter().any(|wanted| {
                    let (os, architecture) = (&wanted.os, architecture(&wanted.architecture));
                    (os.is_empty() || *os == offered.os)
                        && (architecture.is_empty()
                            || architecture == self::architecture(&offered.architecture))
                })
            })
    }

    fn is_below_max(&self, place: &Place) -> bool {
        self.replicas_max == 0 || place.active_of(&self.task.service_id) < self.replicas_max
    }
}

/// Whether a node takes new tasks.
pub(crate) fn is_ready(place: &Place) -> bool {
    place.node.status.state() == State::Ready
        && place.node.spec.availability() == Availability::Active
}

/// Whether a node can run an image. One that announces no runtime is an engine, which runs every
/// image but the host's; one that has not described itself may be anything.
fn runs(image: &str, place: &Place) -> bool {
    let Some(engine) = place.node.description.as_ref().and_then(|found| found.engine.as_ref())
    else {
        return true;
    };
    let mut runtimes = engine.plugins.iter().filter(|plugin| plugin.r#type == RUNTIME).peekable();
    let is_engine = runtimes.peek().is_none();
    let is_process = runtimes.any(|plugin| plugin.name == PROCESS);
    match image {
        "" | HOST_IMAGE => is_process,
        _ => is_engine,
    }
}

/// The name that Go gives to an architecture.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// How many nodes failed at which filter.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Explanation {
    counts: BTreeMap<Filter, usize>,
}

impl Explanation {
    pub(crate) fn count(&mut self, filter: Filter) {
        *self.counts.entry(filter).or_default() += 1;
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("no suitable node")?;
        let mut counts: Vec<_> = self.counts.iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (position, (filter, count)) in counts.iter().enumerate() {
            formatter.write_str(if position == 0 { " (" } else { "; " })?;
            filter.describe(**count, formatter)?;
        }
        if !counts.is_empty() { formatter.write_str(")") } else { Ok(()) }
    }
}

impl Filter {
    fn describe(&self, count: usize, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = if count == 1 { "node" } else { "nodes" };
        match self {
            Self::Ready => write!(formatter, "{count} {nodes} not available for new tasks"),
            Self::Resources => write!(formatter, "insufficient resources on {count} {nodes}"),
            Self::Runtime(image) => write!(formatter, "no node can run image {image}"),
            Self::Constraints => {
                write!(formatter, "scheduling constraints not satisfied on {count} {nodes}")
            }
            Self::Platform => write!(formatter, "unsupported platform on {count} {nodes}"),
            Self::HostPort => {
                write!(formatter, "host-mode port already in use on {count} {nodes}")
            }
            Self::MaxReplicas => formatter.write_str("max replicas per node limit exceed"),
        }
    }
}
