//! Why tasks do not run, told as data and as sentences. Reads a view and changes nothing.

use protocol::{
    id::ServiceId,
    objects::{Task, TaskState},
    swarm::{self, ExplainRequest, ExplainResponse, FailedFilter, NearestMiss, TaskExplanation},
    wire::{node_spec::Availability, node_status::State, port_config::Protocol},
};

use crate::{
    control::Error,
    scheduler::{Filter, Lack, Miss, explain},
    store::View,
};

/// How many tasks are explained at most: each is held against every node.
const EXPLAINED_MAX: usize = 100;

/// Explains one task, or those of a service that should run and do not.
pub fn answer(view: &View, request: &ExplainRequest) -> Result<ExplainResponse, Error> {
    match (request.service_id.as_str(), request.task_id.as_str()) {
        ("", "") => Err(Error::incomplete()),
        (_, "") => of_service(view, &request.service_id),
        ("", _) => {
            let task = super::task::get(view, &request.task_id)?;
            Ok(ExplainResponse { tasks: vec![explained(view, task)], left_out: 0 })
        }
        _ => Err(Error::invalid("a service or a task can be explained, not both at once")),
    }
}

fn of_service(view: &View, id: &str) -> Result<ExplainResponse, Error> {
    super::service::get(view, id)?;
    let mut waiting: Vec<_> =
        view.tasks_of_service(&ServiceId::from(id)).filter(|task| is_missing(task)).collect();
    waiting.sort_by_key(|task| (task.slot, task.id.clone()));
    let left_out = waiting.len().saturating_sub(EXPLAINED_MAX) as u64;
    let tasks = waiting.iter().take(EXPLAINED_MAX).map(|task| explained(view, task));
    Ok(ExplainResponse { tasks: tasks.collect(), left_out })
}

/// Whether a task should run and does not.
fn is_missing(task: &Task) -> bool {
    task.desired_state <= TaskState::RUNNING && task.status.state != TaskState::RUNNING
}

fn explained(view: &View, task: &Task) -> TaskExplanation {
    let status = &task.status;
    let said = if status.err.is_empty() { &status.message } else { &status.err };
    let mut told = TaskExplanation {
        task_id: task.id.as_str().to_owned(),
        service_id: task.service_id.as_str().to_owned(),
        slot: task.slot,
        state: status.state.number(),
        desired_state: task.desired_state.number(),
        node_id: task.node_id.as_str().to_owned(),
        reason: said.to_string(),
        since: status.timestamp,
        ..TaskExplanation::default()
    };
    if is_missing(task) && task.node_id.is_empty() {
        let explanation = explain(view, task);
        let counted = |(filter, nodes): &(Filter, usize)| FailedFilter {
            filter: name(*filter).to_owned(),
            nodes: *nodes as u64,
        };
        told.failed = explanation.failed.iter().map(counted).collect();
        told.suitable_nodes = explanation.suitable as u64;
        told.nearest = explanation.nearest.map(nearest);
    }
    told
}

fn nearest(Miss { node, lacks }: Miss) -> NearestMiss {
    NearestMiss { node_id: node.as_str().to_owned(), lacks: lacks.iter().map(told).collect() }
}

fn name(filter: Filter) -> &'static str {
    match filter {
        Filter::Ready => "ready",
        Filter::Resources => "resources",
        Filter::Runtime => "runtime",
        Filter::Plugin => "plugin",
        Filter::Constraints => "constraints",
        Filter::Platform => "platform",
        Filter::HostPort => "host port",
        Filter::MaxReplicas => "max replicas",
        Filter::Volumes => "volumes",
    }
}

/// What a node lacks and what would change that, each in one clause.
fn told(lack: &Lack) -> swarm::Lack {
    let (text, remedy) = match lack {
        Lack::Ready { state, availability } => not_ready(*state, *availability),
        Lack::NanoCpus { wanted, free } => {
            let cpus = |nanos: i64| nanos as f64 / 1e9;
            let text = format!("{} CPUs are wanted, {} are free", cpus(*wanted), cpus(*free));
            (text, "reserve fewer CPUs, or free some there".to_owned())
        }
        Lack::MemoryBytes { wanted, free } => {
            let mib = |bytes: i64| bytes as f64 / f64::from(1 << 20);
            let (wanted, free) = (mib(*wanted), mib(*free));
            let text = format!("{wanted:.1} MiB of memory are wanted, {free:.1} MiB are free");
            (text, "reserve less memory, or free some there".to_owned())
        }
        Lack::Generic { kind, wanted: Some(wanted), free } => (
            format!("{wanted} of {kind} are wanted, {free} are free"),
            format!("reserve less of {kind}, or free some there"),
        ),
        Lack::Generic { kind, wanted: None, .. } => (
            format!("{kind} is asked for by name, which no node can meet"),
            format!("ask for a number of {kind}"),
        ),
        Lack::Runtime { image } => (
            format!("it cannot run image {image}"),
            "use another image, or give the node a runtime for it".to_owned(),
        ),
        Lack::Plugin { of, name } => (
            format!("it has no {of} plugin {name}"),
            format!("install {name} there, or do without it"),
        ),
        Lack::Constraint { expression } => (
            format!("the constraint {expression} does not hold"),
            "change the constraint, or what it asks of the node".to_owned(),
        ),
        Lack::Platform { offered } => {
            let offered = offered.clone().unwrap_or_default();
            let text = format!("its platform is {}/{}", offered.os, offered.architecture);
            (text, "allow this platform, or add a node of another".to_owned())
        }
        Lack::HostPort { protocol, port } => {
            let protocol = Protocol::try_from(*protocol).map_or("", |one| one.as_str_name());
            let text = format!("its port {port}/{} is in use", protocol.to_lowercase());
            (text, "publish another port, or free this one there".to_owned())
        }
        Lack::MaxReplicas { most, active } => (
            format!("it has {active} tasks of the service, of at most {most}"),
            "allow more replicas per node, or add a node".to_owned(),
        ),
        Lack::Volume { source } => (
            format!("no volume for {source} can be had there"),
            "make such a volume, or make it available there".to_owned(),
        ),
    };
    swarm::Lack { filter: name(lack.filter()).to_owned(), text, remedy }
}

fn not_ready(state: i32, availability: i32) -> (String, String) {
    let state = State::try_from(state).unwrap_or_default();
    let availability = Availability::try_from(availability).unwrap_or_default();
    if state != State::Ready {
        let text = format!("its state is {}", state.as_str_name());
        return (text, "bring the node up".to_owned());
    }
    let text = format!("its availability is {}", availability.as_str_name());
    (text, "activate the node".to_owned())
}
