//! Why a task has no node, and which node comes closest, as data. Reads a view and changes nothing.

use std::{cmp::Reverse, fmt};

use protocol::{id::NodeId, objects::Task, wire};

use super::{
    board::places_of,
    filter::{
        Failed, Filter, describe, failed, failed_for_good, fits_platform, is_ready, missing_plugin,
        runs,
    },
    kind::Kind,
    places::Place,
    volumes::Volumes,
};
use crate::store::View;

/// What the nodes of a view say to a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// How many nodes fail at which filter first, the most frequent first.
    pub failed: Vec<(Filter, usize)>,
    /// How many nodes could run the task.
    pub suitable: usize,
    /// Of the nodes that cannot, the one that comes closest.
    pub nearest: Option<Miss>,
    image: String,
}

/// A node that cannot run a task, and everything that it lacks.
#[derive(Clone, Debug, PartialEq)]
pub struct Miss {
    /// Which.
    pub node: NodeId,
    /// What it lacks, in the order of the filters.
    pub lacks: Vec<Lack>,
}

/// One thing that a node lacks, and by how much.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Lack {
    /// It does not answer, or takes no new tasks.
    Ready { state: i32, availability: i32 },
    /// Processor time, in billionths of a processor.
    NanoCpus { wanted: i64, free: i64 },
    /// Memory in bytes.
    MemoryBytes { wanted: i64, free: i64 },
    /// A generic resource; asked for by its name if `wanted` is none, which no node can meet.
    Generic { kind: String, wanted: Option<i64>, free: i64 },
    /// A runtime for the image.
    Runtime { image: String },
    /// A plugin.
    Plugin { of: String, name: String },
    /// What a constraint demands.
    Constraint { expression: String },
    /// One of the platforms.
    Platform { offered: Option<wire::Platform> },
    /// A port of the host, which is in use.
    HostPort { protocol: i32, port: u32 },
    /// Room for one more task of the service.
    MaxReplicas { most: u64, active: u64 },
    /// Volumes for all mounts; none fits this one.
    Volume { source: String },
}

impl Lack {
    /// The filter that fails for it.
    pub fn filter(&self) -> Filter {
        match self {
            Self::Ready { .. } => Filter::Ready,
            Self::NanoCpus { .. } | Self::MemoryBytes { .. } | Self::Generic { .. } => {
                Filter::Resources
            }
            Self::Runtime { .. } => Filter::Runtime,
            Self::Plugin { .. } => Filter::Plugin,
            Self::Constraint { .. } => Filter::Constraints,
            Self::Platform { .. } => Filter::Platform,
            Self::HostPort { .. } => Filter::HostPort,
            Self::MaxReplicas { .. } => Filter::MaxReplicas,
            Self::Volume { .. } => Filter::Volumes,
        }
    }

    /// How much of what is wanted is missing, in thousandths.
    fn missing(&self) -> u64 {
        let share = |wanted: i64, free: i64| {
            let missing = i128::from(wanted) - i128::from(free.max(0));
            let share = missing.max(0) * 1000 / i128::from(wanted.max(1));
            u64::try_from(share.min(1000)).expect("between 0 and 1000")
        };
        match self {
            Self::NanoCpus { wanted, free }
            | Self::MemoryBytes { wanted, free }
            | Self::Generic { wanted: Some(wanted), free, .. } => share(*wanted, *free),
            Self::Generic { wanted: None, .. }
            | Self::Ready { .. }
            | Self::Runtime { .. }
            | Self::Plugin { .. }
            | Self::Constraint { .. }
            | Self::Platform { .. }
            | Self::HostPort { .. }
            | Self::MaxReplicas { .. }
            | Self::Volume { .. } => 1000,
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&describe(&self.failed, &self.image))
    }
}

/// Says what every node of a view lacks for a task. The nearest is the one that fails at the
/// fewest filters; of those the one that fails latest; then the one that lacks the smallest share
/// of what is wanted; then the one with the lower id.
pub fn explain(view: &View, task: &Task) -> Explanation {
    let (kind, places, volumes) = (Kind::of(task), places_of(view), Volumes::of(view));
    let (mut counts, mut suitable, mut nearest) = (Failed::default(), 0, None);
    for place in places.all() {
        let first = failed(&kind, place, failed_for_good(&kind, &place.node));
        let lacks = lacks(&kind, place, &volumes);
        match first.or_else(|| lacks.first().map(Lack::filter)) {
            Some(filter) => counts.add(filter),
            None => {
                suitable += 1;
                continue;
            }
        }
        let mut filters: Vec<_> = lacks.iter().map(Lack::filter).collect();
        filters.dedup();
        let missing: u64 = lacks.iter().map(Lack::missing).sum();
        let distance = (filters.len(), filters.first().map(|first| Reverse(*first)), missing);
        if nearest.as_ref().is_none_or(|(least, _)| distance < *least) {
            nearest = Some((distance, Miss { node: place.node.id.clone(), lacks }));
        }
    }
    Explanation {
        failed: counts.counts(),
        suitable,
        nearest: nearest.map(|(_, miss)| miss),
        image: kind.asks.image.clone(),
    }
}

/// Everything that a node lacks, not only the first.
fn lacks(kind: &Kind, place: &Place, volumes: &Volumes) -> Vec<Lack> {
    let (asks, node) = (&kind.asks, &place.node);
    let mut lacks = Vec::new();
    if !is_ready(node) {
        let (state, availability) = (node.status.state, node.spec.availability);
        lacks.push(Lack::Ready { state, availability });
    }
    lack_resources(kind, place, &mut lacks);
    if !runs(&asks.image, node) {
        lacks.push(Lack::Runtime { image: asks.image.clone() });
    }
    if let Some((of, name)) = missing_plugin(kind, node) {
        lacks.push(Lack::Plugin { of: of.to_owned(), name: name.to_owned() });
    }
    let unmet = asks.constraints.iter().filter(|constraint| !constraint.matches(node));
    lacks.extend(unmet.map(|unmet| Lack::Constraint { expression: unmet.to_string() }));
    if !fits_platform(&asks.platforms, node) {
        let offered = node.description.as_ref().and_then(|found| found.platform.clone());
        lacks.push(Lack::Platform { offered });
    }
    let used = kind.ports.iter().filter(|port| place.load.ports.contains_key(port));
    lacks.extend(used.map(|(protocol, port)| Lack::HostPort { protocol: *protocol, port: *port }));
    let (most, active) = (asks.replicas_max, place.load.active_of(&kind.service));
    if most > 0 && active >= most {
        lacks.push(Lack::MaxReplicas { most, active });
    }
    if let Err(source) = volumes.choose(&asks.mounts, node) {
        lacks.push(Lack::Volume { source: source.to_owned() });
    }
    lacks
}

fn lack_resources(kind: &Kind, place: &Place, lacks: &mut Vec<Lack>) {
    let (asks, offered, taken) = (&kind.asks, place.offered(), &place.load.taken);
    let (wanted, free) = (asks.nano_cpus, taken.free_nano_cpus(offered));
    if wanted != 0 && wanted > free {
        lacks.push(Lack::NanoCpus { wanted, free });
    }
    let (wanted, free) = (asks.memory_bytes, taken.free_memory_bytes(offered));
    if wanted != 0 && wanted > free {
        lacks.push(Lack::MemoryBytes { wanted, free });
    }
    for wanted in &asks.generic {
        let free = taken.free_of(offered, &wanted.kind);
        if wanted.count.is_none_or(|count| count > free) {
            lacks.push(Lack::Generic { kind: wanted.kind.clone(), wanted: wanted.count, free });
        }
    }
}
