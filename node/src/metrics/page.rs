//! The page: which families there are, and what each says.

use std::{collections::BTreeMap, sync::Arc};

use actors::{raft::Status, supervision::ActorReport};
use prometheus::{
    TextEncoder,
    proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType},
};
use protocol::{
    id::{ClusterId, NodeId},
    objects::{Kind, TaskState},
    wire::{self, node_status::State},
};

use super::{counts::Counts, process::Process};

/// Every state that a node may be in.
const NODE_STATES: [State; 4] = [State::Unknown, State::Down, State::Ready, State::Disconnected];

/// Every state that a task may be in.
const TASK_STATES: [wire::TaskState; 14] = [
    wire::TaskState::New,
    wire::TaskState::Pending,
    wire::TaskState::Assigned,
    wire::TaskState::Accepted,
    wire::TaskState::Preparing,
    wire::TaskState::Ready,
    wire::TaskState::Starting,
    wire::TaskState::Running,
    wire::TaskState::Complete,
    wire::TaskState::Shutdown,
    wire::TaskState::Failed,
    wire::TaskState::Rejected,
    wire::TaskState::Remove,
    wire::TaskState::Orphaned,
];

/// Kinds that SwarmKit has a family for.
const SWARMKIT_KINDS: [(Kind, &str, &str); 4] = [
    (Kind::Service, "swarm_manager_services_total", "Services of the cluster"),
    (Kind::Network, "swarm_manager_networks_total", "Networks of the cluster"),
    (Kind::Secret, "swarm_manager_secrets_total", "Secrets of the cluster"),
    (Kind::Config, "swarm_manager_configs_total", "Configs of the cluster"),
];

/// The tasks of an agent have an actor each; a series each would be more than Prometheus bears.
const TASKS_OF_AGENT: &str = "agent/task";

/// One moment of a node.
pub(super) struct Moment {
    pub(super) node_id: NodeId,
    pub(super) cluster_id: ClusterId,
    pub(super) actors: Vec<ActorReport>,
    pub(super) process: Process,
    /// None of a worker.
    pub(super) manager: Option<ManagerMoment>,
}

/// One moment of a manager.
pub(super) struct ManagerMoment {
    /// None when raft did not answer.
    pub(super) status: Option<Status>,
    /// None when the dispatcher did not answer.
    pub(super) sessions: Option<usize>,
    /// None when the process is about to end.
    pub(super) counts: Option<Arc<Counts>>,
}

/// The page of a moment.
pub(super) fn text(moment: &Moment) -> String {
    let mut page = Page::default();
    node(&mut page, moment);
    if let Some(manager) = &moment.manager {
        if let Some(status) = &manager.status {
            raft(&mut page, status);
        }
        if let Some(counts) = &manager.counts {
            store(&mut page, counts);
        }
        let sessions = manager.sessions.map(|sessions| sessions as u64);
        page.number("swarm_dispatcher_sessions", "Sessions of nodes with this leader", sessions);
    }
    actors(&mut page, &moment.actors);
    let Process { resident_bytes, open_files } = moment.process;
    page.number(
        "process_resident_memory_bytes",
        "Memory of this process that is not swapped out",
        resident_bytes,
    );
    page.number("process_open_fds", "Files and sockets that this process has open", open_files);
    page.text()
}

fn node(page: &mut Page, moment: &Moment) {
    let ids = [("swarm_id", moment.cluster_id.as_str()), ("node_id", moment.node_id.as_str())];
    page.gauges("swarm_node_info", "Who this node is", [gauge(&ids, 1.0)]);
    let is_manager = u64::from(moment.manager.is_some());
    page.number("swarm_node_manager", "Whether this node is a manager", Some(is_manager));
}

fn raft(page: &mut Page, status: &Status) {
    let leads = u64::from(status.leader == Some(status.raft_id));
    let has_leader = u64::from(status.leader.is_some());
    let rows = [
        ("swarm_manager_leader", "Whether this manager leads", leads),
        ("swarm_raft_has_leader", "Whether this manager knows of a leader", has_leader),
        ("swarm_raft_term", "The newest term that this manager knows", status.term),
        ("swarm_raft_committed_index", "The last entry that is committed", status.committed),
        ("swarm_raft_applied_index", "The last entry that is applied here", status.applied),
        ("swarm_raft_last_index", "The last entry that this manager has", status.last),
        ("swarm_raft_voters", "Managers that vote", status.voters.len() as u64),
        ("swarm_raft_reachable", "Other managers heard of lately", status.reachable.len() as u64),
        ("swarm_raft_learners", "Managers that do not vote yet", status.learners.len() as u64),
    ];
    for (name, help, value) in rows {
        page.number(name, help, Some(value));
    }
}

fn store(page: &mut Page, counts: &Counts) {
    page.number("swarm_store_index", "The last entry that the store shows", Some(counts.index));
    let of = |kind| counts.objects.get(&kind).copied().unwrap_or_default();
    let objects = Kind::ALL.map(|kind| gauge(&[("kind", kind.name())], of(kind) as f64));
    page.gauges("swarm_store_objects", "Objects in the store, by kind", objects);
    for (kind, name, help) in SWARMKIT_KINDS {
        page.number(name, help, Some(of(kind)));
    }
    let nodes = NODE_STATES.map(|state| {
        let count = counts.nodes.get(&state).copied().unwrap_or_default();
        by_state(state.as_str_name(), count)
    });
    page.gauges("swarm_manager_nodes", "Nodes of the cluster, by state", nodes);
    let tasks = TASK_STATES.map(|state| {
        let count = counts.tasks.get(&TaskState::from(i32::from(state))).copied();
        by_state(state.as_str_name(), count.unwrap_or_default())
    });
    page.gauges("swarm_manager_tasks_total", "Tasks of the cluster, by state", tasks);
}

fn by_state(state: &str, count: u64) -> Metric {
    gauge(&[("state", &state.to_ascii_lowercase())], count as f64)
}

/// What is told of actors under one name.
#[derive(Default)]
struct Told {
    actors: u64,
    depth: usize,
    capacity: usize,
    restarts: u64,
    handled: u64,
    longest_poll_seconds: f64,
}

fn actors(page: &mut Page, reports: &[ActorReport]) {
    let mut told = BTreeMap::<&str, Told>::new();
    for report in reports {
        let rest = report.path.strip_prefix(TASKS_OF_AGENT);
        let is_task = rest.is_some_and(|rest| rest.starts_with('/'));
        let one = told.entry(if is_task { TASKS_OF_AGENT } else { &report.path }).or_default();
        one.actors += 1;
        one.depth += report.mailbox_depth;
        one.capacity += report.mailbox_capacity;
        one.restarts += report.restarts;
        one.handled += report.messages_handled;
        one.longest_poll_seconds = one.longest_poll_seconds.max(report.longest_poll.as_secs_f64());
    }
    let gauges = |of: fn(&Told) -> f64| {
        told.iter().map(move |(path, told)| gauge(&[("actor", path)], of(told)))
    };
    let counters = |of: fn(&Told) -> f64| {
        told.iter().map(move |(path, told)| counter(&[("actor", path)], of(told)))
    };
    page.gauges("swarm_actors", "Actors of this name", gauges(|told| told.actors as f64));
    page.gauges(
        "swarm_actor_mailbox_depth",
        "Messages that wait or are being handled",
        gauges(|told| told.depth as f64),
    );
    page.gauges(
        "swarm_actor_mailbox_capacity",
        "Messages that may wait before senders do",
        gauges(|told| told.capacity as f64),
    );
    page.gauges(
        "swarm_actor_longest_poll_seconds",
        "The longest time that an actor held its thread at once",
        gauges(|told| told.longest_poll_seconds),
    );
    page.counters(
        "swarm_actor_restarts_total",
        "How often an actor was started again",
        counters(|told| told.restarts as f64),
    );
    page.counters(
        "swarm_actor_messages_total",
        "Messages that were handled",
        counters(|told| told.handled as f64),
    );
}

/// Families in the order in which they are written.
#[derive(Default)]
struct Page(Vec<MetricFamily>);

impl Page {
    /// One number without labels, if there is one.
    fn number(&mut self, name: &str, help: &str, value: Option<u64>) {
        self.gauges(name, help, value.map(|value| gauge(&[], value as f64)));
    }

    fn gauges(&mut self, name: &str, help: &str, metrics: impl IntoIterator<Item = Metric>) {
        self.family(MetricType::GAUGE, name, help, metrics);
    }

    fn counters(&mut self, name: &str, help: &str, metrics: impl IntoIterator<Item = Metric>) {
        self.family(MetricType::COUNTER, name, help, metrics);
    }

    fn family(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        metrics: impl IntoIterator<Item = Metric>,
    ) {
        let metrics: Vec<_> = metrics.into_iter().collect();
        // A family of nothing says nothing, and is refused by what writes the text.
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }

    fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.0).expect("every family has a name and a metric")
    }
}

fn gauge(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut metric = Metric::from_label(labels.iter().map(label).collect());
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

fn counter(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut metric = Metric::from_label(labels.iter().map(label).collect());
    let mut counter = Counter::default();
    counter.set_value(value);
    metric.set_counter(counter);
    metric
}

fn label((name, value): &(&str, &str)) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name((*name).to_owned());
    label.set_value((*value).to_owned());
    label
}
