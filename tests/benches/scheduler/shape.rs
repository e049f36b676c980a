//! The clusters that are measured: so many nodes that are ready, so many tasks that wait.

use std::sync::Arc;

use actors::store::{Transaction, View};
use prost_types::Timestamp;
use protocol::{
    id::{Id, TaskId},
    objects::{Node, Service, Task, TaskState},
    wire::{
        self, NetworkAttachment, PlacementPreference, PluginDescription, SpreadOver, TaskSpec,
        placement_preference::Preference,
    },
};
use rand::{RngCore, SeedableRng, rngs::StdRng};

const NOW: Timestamp = Timestamp { seconds: 1_700_000_000, nanos: 0 };

/// How many objects are made at once.
const TOGETHER: usize = 10_000;

/// The driver of the network that tasks ask for, where they do.
const DRIVER: &str = "network";

/// How many racks there are.
const RACKS: usize = 10;

/// The service, where tasks have one.
const SERVICE: &str = "a-service-of-the-bench-00";

/// What the tasks ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Nothing, and each stands alone.
    Nothing,
    /// A plugin that every third node has; each stands alone.
    Plugin,
    /// Resources, a label, evenly over racks; all are of one service.
    Service,
}

/// One cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) nodes: usize,
    pub(crate) tasks: usize,
    pub(crate) asks: Asks,
}

impl Asks {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "alone",
            Self::Plugin => "plugin",
            Self::Service => "service",
        }
    }

    pub(crate) fn named(name: &str) -> Self {
        let all = [Self::Nothing, Self::Plugin, Self::Service];
        all.into_iter().find(|asks| asks.name() == name).expect("one of the names")
    }
}

impl Shape {
    /// A store that holds all of it.
    pub(crate) fn view(self) -> View {
        let random = &mut StdRng::seed_from_u64(1);
        let mut view = self.cluster(random);
        let mut tasks = self.all_tasks(random);
        while let Some(first) = tasks.next() {
            let some: Vec<_> = tasks.by_ref().take(TOGETHER - 1).collect();
            view = with(&view, |transaction| {
                for task in [first].into_iter().chain(some) {
                    transaction.create(task).expect("it is new");
                }
            });
        }
        view
    }

    /// The nodes, and the service.
    pub(crate) fn cluster(self, random: &mut StdRng) -> View {
        let mut numbers = (0..self.nodes).peekable();
        let mut view = with(&View::default(), |transaction| {
            transaction.create(self.service()).expect("it is new");
        });
        while numbers.peek().is_some() {
            view = with(&view, |transaction| {
                for number in numbers.by_ref().take(TOGETHER) {
                    transaction.create(self.node(number, random)).expect("it is new");
                }
            });
        }
        view
    }

    pub(crate) fn all_tasks(self, random: &mut StdRng) -> impl Iterator<Item = Task> + use<'_> {
        let pattern = self.task();
        (1..=self.tasks as u64).map(move |slot| Task {
            id: TaskId::from(Id::random(random)),
            slot,
            // Each has attachments of its own, as the allocator makes them.
            networks: pattern.networks.to_vec().into(),
            ..pattern.clone()
        })
    }

    fn node(self, number: usize, random: &mut impl RngCore) -> Node {
        let annotations = wire::Annotations {
            labels: [("rack".to_owned(), format!("r{}", number % RACKS))].into(),
            ..Default::default()
        };
        let plugin = PluginDescription { r#type: "Network".to_owned(), name: DRIVER.to_owned() };
        let runtime =
            PluginDescription { r#type: "Runtime".to_owned(), name: "process".to_owned() };
        let plugins = match number % 3 {
            0 => vec![runtime, plugin],
            _ => vec![runtime],
        };
        let status = wire::NodeStatus {
            state: wire::node_status::State::Ready.into(),
            ..Default::default()
        };
        let description = wire::NodeDescription {
            resources: Some(wire::Resources {
                nano_cpus: 64_000_000_000_000,
                memory_bytes: 1 << 40,
                ..Default::default()
            }),
            engine: Some(wire::EngineDescription { plugins, ..Default::default() }),
            ..Default::default()
        };
        Node::from(wire::Node {
            id: Id::random(random).to_string(),
            spec: Some(wire::NodeSpec { annotations: Some(annotations), ..Default::default() }),
            description: Some(description),
            status: Some(status),
            ..Default::default()
        })
    }

    fn service(self) -> Service {
        Service::from(wire::Service {
            id: SERVICE.to_owned(),
            spec: Some(wire::ServiceSpec { task: Some(self.spec()), ..Default::default() }),
            spec_version: Some(wire::Version { index: 1 }),
            ..Default::default()
        })
    }

    fn spec(self) -> TaskSpec {
        match self.asks {
            Asks::Nothing | Asks::Plugin => TaskSpec::default(),
            Asks::Service => {
                let over = SpreadOver { spread_descriptor: "node.labels.rack".to_owned() };
                let reservations = wire::Resources {
                    nano_cpus: 10_000_000,
                    memory_bytes: 1 << 20,
                    ..Default::default()
                };
                TaskSpec {
                    placement: Some(wire::Placement {
                        constraints: vec!["node.labels.rack != r3".to_owned()],
                        preferences: vec![PlacementPreference {
                            preference: Some(Preference::Spread(over)),
                        }],
                        ..Default::default()
                    }),
                    resources: Some(wire::ResourceRequirements {
                        reservations: Some(reservations),
                        ..Default::default()
                    }),
                    ..Default::default()
                }
            }
        }
    }

    /// A task that waits.
    fn task(self) -> Task {
        let mut task = Task {
            spec: Arc::new(self.spec()),
            desired_state: TaskState::RUNNING,
            ..Task::default()
        };
        task.status.state = TaskState::PENDING;
        task.status.timestamp = Some(NOW);
        match self.asks {
            Asks::Nothing => {}
            Asks::Plugin => {
                let driver = wire::Driver { name: DRIVER.to_owned(), ..Default::default() };
                let network = wire::Network { driver_state: Some(driver), ..Default::default() };
                let attachment = NetworkAttachment { network: Some(network), ..Default::default() };
                task.networks = [attachment].into();
            }
            Asks::Service => {
                task.service_id = SERVICE.into();
                task.spec_version = Some(1);
            }
        }
        task
    }
}

fn with(view: &View, write: impl FnOnce(&mut Transaction)) -> View {
    let mut transaction = Transaction::begin(view);
    write(&mut transaction);
    transaction.seal(view.index() + 1, NOW).view
}
