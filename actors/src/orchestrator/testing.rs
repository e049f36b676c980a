//! Small clusters, written down in a line, for the tests of all three orchestrators.

use std::{sync::Arc, time::Duration};

use prost_types::Timestamp;
use protocol::{
    id::NodeId,
    objects::{Cluster, Node, Object, Service, Task, TaskState, TaskStatus},
    wire::{
        self, Annotations, ReplicatedService, RestartPolicy, ServiceSpec, TaskSpec,
        node_spec::Availability, node_status::State, restart_policy::RestartCondition,
        service_spec::Mode,
    },
};
use tokio::task::LocalSet;

use crate::{
    environment::testing::BEGINNING,
    store::{Transaction, View},
    supervision::{Budget, Census, Tree},
};

/// The version of the spec that a service has, and its tasks, unless they are dirty.
const VERSION: u64 = 7;

/// A time in seconds since the beginning of a test.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds: BEGINNING + seconds, nanos: 0 }
}

/// A task spec with a restart policy.
pub(super) fn spec(condition: RestartCondition, max_attempts: u64) -> TaskSpec {
    let restart = RestartPolicy { condition: condition.into(), max_attempts, ..Default::default() };
    TaskSpec { restart: Some(restart), ..Default::default() }
}

/// The service `s`.
pub(super) fn service(replicas: u64, task: &TaskSpec) -> Service {
    let spec = ServiceSpec {
        annotations: Some(Annotations { name: "web".to_owned(), ..Default::default() }),
        task: Some(task.clone()),
        mode: Some(Mode::Replicated(ReplicatedService { replicas })),
        ..Default::default()
    };
    let service = wire::Service { id: "s".to_owned(), spec: Some(spec), ..Default::default() };
    Service { spec_version: Some(VERSION), ..Service::from(service) }
}

/// The tasks of the service `s`: a word each, `slot[!~]:observed[>desired][@node]`, the oldest
/// first, called `t1`, `t2` and so on. `!` means that the spec is an older one, `~` that only its
/// version is: something else of the service was changed.
pub(super) fn tasks(words: &str, spec: &TaskSpec) -> Vec<Task> {
    let words = words.split_whitespace().zip(1..);
    words.map(|(word, number)| task(word, number, spec)).collect()
}

fn task(word: &str, number: i64, spec: &TaskSpec) -> Task {
    let (word, node) = word.split_once('@').unwrap_or((word, ""));
    let (slot, states) = word.split_once(':').expect("a colon after the slot");
    let (observed, desired) = states.split_once('>').unwrap_or((states, "running"));
    let (is_dirty, is_older) = (slot.ends_with('!'), slot.ends_with(['!', '~']));
    let mut spec = spec.clone();
    spec.force_update = is_dirty.into();
    let mut task = Task {
        id: format!("t{number}").as_str().into(),
        service_id: "s".into(),
        slot: slot.trim_end_matches(['!', '~']).parse().expect("the number of a slot"),
        node_id: node.into(),
        desired_state: state(desired),
        spec: Arc::new(spec),
        spec_version: Some(VERSION - u64::from(is_older)),
        status: TaskStatus {
            state: state(observed),
            timestamp: Some(at(number)),
            ..TaskStatus::default()
        },
        ..Task::default()
    };
    task.meta.created_at = Some(at(number));
    task
}

/// A state by its name in lower case.
pub(super) fn state(name: &str) -> TaskState {
    let state = wire::TaskState::from_str_name(&name.to_uppercase());
    TaskState::from(i32::from(state.expect("the name of a state")))
}

/// A node.
pub(super) fn node(id: &str, state: State, availability: Availability) -> Node {
    let spec = wire::NodeSpec { availability: availability.into(), ..Default::default() };
    let status = wire::NodeStatus { state: state.into(), ..Default::default() };
    wire::Node { id: id.to_owned(), spec: Some(spec), status: Some(status), ..Default::default() }
        .into()
}

/// `n1` and `n2` are fine, `down` and `drained` are what they are called.
pub(super) fn nodes() -> Vec<Node> {
    vec![
        node("n1", State::Ready, Availability::Active),
        node("n2", State::Ready, Availability::Active),
        node("down", State::Down, Availability::Active),
        node("drained", State::Ready, Availability::Drain),
    ]
}

/// The settings of a cluster that keeps so many tasks of a slot.
pub(super) fn cluster(history_limit: i64) -> Cluster {
    let orchestration = wire::OrchestrationConfig { task_history_retention_limit: history_limit };
    let spec = wire::ClusterSpec {
        annotations: Some(Annotations { name: "default".to_owned(), ..Default::default() }),
        orchestration: Some(orchestration),
        ..Default::default()
    };
    wire::Cluster { id: "c".to_owned(), spec: Some(spec), ..Default::default() }.into()
}

/// The nodes, and whatever else there is.
pub(super) fn view(objects: impl IntoIterator<Item = Object>) -> View {
    let nodes = nodes().into_iter().map(Object::from);
    let objects: Vec<_> = nodes.chain(objects).collect();
    commit(&View::default(), 100, |head| {
        objects.into_iter().for_each(|object| head.create(object).unwrap());
    })
}

/// A service with its tasks.
pub(super) fn served(service: &Service, words: &str) -> View {
    let tasks = tasks(words, service.task_spec().unwrap());
    let tasks = tasks.into_iter().map(Object::from);
    view(tasks.chain([service.clone().into()]))
}

/// The view after a transaction at a time, in seconds since the beginning.
pub(super) fn commit(view: &View, seconds: i64, write: impl FnOnce(&mut Transaction)) -> View {
    let mut transaction = Transaction::begin(view);
    write(&mut transaction);
    transaction.seal(view.index() + 1, at(seconds)).view
}

/// Changes a task in a transaction.
pub(super) fn change(head: &mut Transaction, id: &str, change: impl FnOnce(&mut Task)) {
    let mut task = head.task(&id.into()).expect("the task exists").as_ref().clone();
    change(&mut task);
    head.update(task).unwrap();
}

/// How many tasks of the service should run.
pub(super) fn runnable(view: &View) -> usize {
    let tasks = view.tasks_of_service(&"s".into());
    tasks.filter(|task| task.desired_state <= TaskState::RUNNING).count()
}

/// Lets a task be on a node, and be as far as it says.
pub(super) fn observe(task: &mut Task, node: &str, observed: &str) {
    task.node_id = NodeId::from(node);
    task.status.state = state(observed);
}

/// Runs a test on the paused clock.
pub(super) fn run<T>(test: impl AsyncFnOnce(&Tree) -> T) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let budget = Budget { restarts: 0, within: Duration::from_secs(60) };
        let tree = Tree::root("test", budget, Census::default(), |lost| panic!("{lost}"));
        let result = test(&tree).await;
        tree.stop().await;
        result
    })
}
