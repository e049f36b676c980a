//! Who can run what, who does, and what is said when nobody can.

mod actor;
mod filters;
mod placement;

use std::{sync::Arc, time::Instant};

use prost_types::Timestamp;
use protocol::{
    objects::{Node, Object, Task, TaskState, TaskStatus},
    wire::{self, node_spec::Availability, node_status::State},
};

use super::logic::{
    failures::Failures,
    filter::Requirements,
    nodes::Nodes,
    place::{Decision, place},
};
use crate::{
    agenda::Room,
    store::{Transaction, View},
};

const NOW: Timestamp = Timestamp { seconds: 5, nanos: 0 };
const GIB: i64 = 1 << 30;

/// A ready node with two processors and four gibibytes, changed by the test.
fn node(id: &str, change: impl FnOnce(&mut wire::Node)) -> Node {
    let plugin =
        wire::PluginDescription { r#type: "Runtime".to_owned(), name: "process".to_owned() };
    let mut node = wire::Node {
        id: id.to_owned(),
        spec: Some(wire::NodeSpec::default()),
        description: Some(wire::NodeDescription {
            hostname: format!("host-{id}"),
            platform: Some(wire::Platform {
                architecture: "x86_64".to_owned(),
                os: "linux".to_owned(),
            }),
            resources: Some(wire::Resources {
                nano_cpus: 2_000_000_000,
                memory_bytes: 4 * GIB,
                ..Default::default()
            }),
            engine: Some(wire::EngineDescription { plugins: vec![plugin], ..Default::default() }),
            ..Default::default()
        }),
        status: Some(wire::NodeStatus { state: State::Ready.into(), ..Default::default() }),
        ..Default::default()
    };
    change(&mut node);
    node.into()
}

fn plain(id: &str) -> Node {
    node(id, |_| {})
}

fn drained(node: &mut wire::Node) {
    let spec = node.spec.as_mut().expect("a spec");
    spec.availability = Availability::Drain.into();
}

/// A pending task of service `s`.
fn task(id: &str) -> Task {
    let container = wire::ContainerSpec { image: "host".to_owned(), ..Default::default() };
    let runtime = Some(wire::task_spec::Runtime::Container(container));
    Task {
        id: id.into(),
        service_id: "s".into(),
        spec_version: Some(1),
        desired_state: TaskState::RUNNING,
        spec: Arc::new(wire::TaskSpec { runtime, ..Default::default() }),
        status: TaskStatus { state: TaskState::PENDING, ..TaskStatus::default() },
        ..Task::default()
    }
}

/// The same task with another spec.
fn asking(id: &str, change: impl FnOnce(&mut wire::TaskSpec)) -> Task {
    let mut task = task(id);
    change(Arc::make_mut(&mut task.spec));
    task
}

fn reserving(id: &str, nano_cpus: i64, memory_bytes: i64) -> Task {
    asking(id, |spec| {
        let reservations = wire::Resources { nano_cpus, memory_bytes, ..Default::default() };
        spec.resources = Some(wire::ResourceRequirements {
            reservations: Some(reservations),
            ..Default::default()
        });
    })
}

fn publishing(id: &str, port: u32) -> Task {
    let port = wire::PortConfig {
        published_port: port,
        publish_mode: wire::port_config::PublishMode::Host.into(),
        ..Default::default()
    };
    let endpoint = wire::Endpoint { ports: vec![port], ..Default::default() };
    Task { endpoint: Some(Arc::new(endpoint)), ..task(id) }
}

fn running(task: Task, node: &str) -> Task {
    let status = TaskStatus { state: TaskState::RUNNING, ..TaskStatus::default() };
    Task { node_id: node.into(), status, ..task }
}

fn with(objects: impl IntoIterator<Item = Object>) -> View {
    let mut transaction = Transaction::begin(&View::default());
    objects.into_iter().for_each(|object| transaction.create(object).unwrap());
    transaction.seal(1, NOW).view
}

fn begun() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn placed(nodes: &mut Nodes, group: &[Task]) -> Vec<Decision> {
    let group: Vec<_> = group.iter().cloned().map(Arc::new).collect();
    place(nodes, &group, &Failures::default(), (begun(), NOW), &mut Room::new()).0
}

/// Where a group goes, as `task@node`, or what is said.
fn outcome(nodes: impl IntoIterator<Item = Object>, group: &[Task]) -> Vec<String> {
    let mut nodes = Nodes::of(&with(nodes));
    let decisions = placed(&mut nodes, group);
    let outcome = decisions.into_iter().map(|Decision { after, .. }| match &*after.status.err {
        "" => format!("{}@{}", after.id, after.node_id),
        reason => reason.to_owned(),
    });
    outcome.collect()
}

fn fits(node: Node, task: &Task) -> bool {
    let nodes = Nodes::of(&with([node.into()]));
    nodes.places().all(|place| Requirements::of(task).failed_by(place).is_none())
}
