//! Who can run what, who does, and what is said when nobody can.

mod actor;
mod filters;
mod following;
mod generic;
mod intake;
mod nearest;
mod placement;
mod preassigned;
mod rows;
mod spread;
mod trust;
mod volumes;

use std::{sync::Arc, time::Instant};

use prost_types::Timestamp;
use protocol::{
    objects::{Node, Object, Task, TaskState, TaskStatus},
    wire::{self, node_spec::Availability, node_status::State},
};

use super::{Board, Decision, Outcome, explain, logic::decision};
use crate::store::{Transaction, View};

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
        slot: 1,
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

/// A store with these objects, and with service `s`, which the tasks belong to.
fn with(objects: impl IntoIterator<Item = Object>) -> View {
    let mut transaction = Transaction::begin(&View::default());
    let service = wire::Service {
        id: "s".to_owned(),
        spec_version: Some(wire::Version { index: 1 }),
        ..Default::default()
    };
    transaction.create(protocol::objects::Service::from(service)).unwrap();
    objects.into_iter().for_each(|object| transaction.create(object).unwrap());
    transaction.seal(1, NOW).view
}

fn begun() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn board(view: View) -> Board {
    let mut board = Board::default();
    board.resync(view);
    board
}

/// Decides until there is nothing left to decide.
fn decide_all(board: &mut Board) -> Vec<Decision> {
    let mut decisions = Vec::new();
    while !board.is_idle() {
        decisions.extend(board.decide(begun(), 1000, 1000));
        board.take_unused(100);
    }
    decisions
}

/// What is decided, as `task@node`, or as what is said.
fn told(decision: &Decision) -> String {
    match &decision.outcome {
        Outcome::Placed { node, .. } => format!("{}@{node}", decision.task.id),
        Outcome::Waits { reason } => reason.to_string(),
        Outcome::Stopped => format!("{} stopped", decision.task.id),
    }
}

/// What is decided about what waits in a store with these objects.
fn outcome(objects: impl IntoIterator<Item = Object>) -> Vec<String> {
    decide_all(&mut board(with(objects))).iter().map(told).collect()
}

fn fits(node: Node, task: &Task) -> bool {
    outcome([node.into(), task.clone().into()])[0].contains('@')
}

/// The store after some writes, which the board follows.
fn commit(board: &mut Board, view: &View, write: impl FnOnce(&mut Transaction)) -> View {
    let mut transaction = Transaction::begin(view);
    write(&mut transaction);
    let sealed = transaction.seal(view.index() + 1, NOW);
    board.follow(sealed.view.clone(), &sealed.changes, begun());
    board.verify();
    sealed.view
}

/// Writes decisions as the actor does, and lets the board see them committed.
fn carry_out(board: &mut Board, view: &View, decisions: Vec<Decision>) -> View {
    commit(board, view, |head| assert!(write(head, decisions).is_empty()))
}

/// Writes decisions as the actor does, and returns those that do not apply.
fn write(head: &mut Transaction, decisions: Vec<Decision>) -> Vec<Decision> {
    let results = decision::results(&decisions, NOW);
    let failed = decision::write(head, &decisions, results).unwrap();
    failed.into_iter().map(|position| decisions[position].clone()).collect()
}
