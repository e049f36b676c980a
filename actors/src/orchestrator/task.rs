//! What every orchestrator needs to know of tasks: what a new one contains, whether one still is
//! what its service asks for, and whether its node can keep it.

use std::sync::Arc;

use prost_types::Timestamp;
use protocol::{
    constraint::Constraint,
    id::{NodeId, TaskId},
    objects::{Cluster, Node, Service, Task, TaskState, TaskStatus},
    wire::{
        Annotations, Driver, Endpoint, Placement, TaskSpec, node_spec::Availability, node_status,
        service_spec::Mode, task_spec::Runtime,
    },
};

use super::moment;
use crate::store::View;

/// What the tasks of one version of a service have in common; made once, shared by all of them.
#[derive(Debug)]
pub(super) struct Template {
    spec: Arc<TaskSpec>,
    annotations: Arc<Annotations>,
    endpoint: Option<Arc<Endpoint>>,
    log_driver: Option<Arc<Driver>>,
    service: Arc<Service>,
}

impl Template {
    /// Takes over what a task that already exists has in common with the new ones, so that all
    /// share it.
    pub(super) fn new(
        service: &Arc<Service>,
        cluster: Option<&Cluster>,
        existing: Option<&Task>,
    ) -> Self {
        let spec = service.spec.task.clone().unwrap_or_default();
        let annotations = service.spec.annotations.clone().unwrap_or_default();
        let defaults = cluster.and_then(|cluster| cluster.spec.task_defaults.as_ref());
        let log_driver = spec
            .log_driver
            .as_ref()
            .or_else(|| defaults.and_then(|defaults| defaults.log_driver.as_ref()))
            .map(|driver| Arc::new(driver.clone()));
        let endpoint = service.spec.endpoint.as_ref().map(|endpoint| {
            Arc::new(Endpoint { spec: Some(endpoint.clone()), ..Default::default() })
        });
        Self {
            spec: shared(existing.map(|task| &task.spec), spec),
            annotations: shared(existing.map(|task| &task.service_annotations), annotations),
            endpoint,
            log_driver,
            service: service.clone(),
        }
    }

    /// A new task (`orchestration` §1.1).
    pub(super) fn task(
        &self,
        id: TaskId,
        slot: u64,
        desired_state: TaskState,
        now: Timestamp,
    ) -> Task {
        Task {
            id,
            slot,
            desired_state,
            spec: self.spec.clone(),
            spec_version: self.service.spec_version,
            service_id: self.service.id.clone(),
            service_annotations: self.annotations.clone(),
            endpoint: self.endpoint.clone(),
            log_driver: self.log_driver.clone(),
            status: TaskStatus {
                timestamp: Some(now),
                state: TaskState::NEW,
                message: "created".into(),
                ..TaskStatus::default()
            },
            ..Task::default()
        }
    }
}

fn shared<T: PartialEq>(existing: Option<&Arc<T>>, new: T) -> Arc<T> {
    existing.filter(|existing| ***existing == new).cloned().unwrap_or_else(|| Arc::new(new))
}

/// Whether a task is not what its service asks for now, and must be replaced (`orchestration`
/// §4).
pub(crate) fn is_dirty(task: &Task, service: &Service, node: Option<&Arc<Node>>) -> bool {
    if task.spec_version.is_some() && task.spec_version == service.spec_version {
        return false;
    }
    let nothing = TaskSpec::default();
    let asked = service.task_spec().unwrap_or(&nothing);
    let endpoint = task.endpoint.as_ref().map(|endpoint| &endpoint.spec);
    if endpoint.is_some_and(|endpoint| *endpoint != service.spec.endpoint) {
        return true;
    }
    if *task.spec == *asked {
        return false;
    }
    // Who may pull the image does not matter once it was pulled.
    let has_image = task.desired_state <= TaskState::RUNNING
        && (TaskState::READY..=TaskState::RUNNING).contains(&task.status.state);
    let (kept, asked) = (comparable(&task.spec, has_image), comparable(asked, has_image));
    let placement = asked.placement.clone();
    let differs_in_placement_only = TaskSpec { placement: placement.clone(), ..kept } == asked;
    !differs_in_placement_only
        || (task.spec.placement != placement && !node.is_some_and(|node| fits(placement, node)))
}

fn comparable(spec: &TaskSpec, has_image: bool) -> TaskSpec {
    let mut spec = spec.clone();
    if let Some(Runtime::Container(container)) = &mut spec.runtime
        && has_image
    {
        container.pull_options = None;
    }
    spec
}

fn fits(placement: Option<Placement>, node: &Node) -> bool {
    let constraints = placement.map(|placement| placement.constraints).unwrap_or_default();
    Constraint::parse_all(&constraints)
        .is_ok_and(|all| all.iter().all(|constraint| constraint.matches(node)))
}

/// Whether a node cannot keep its tasks: it is gone, down, or drained. A task without a node has
/// no such trouble.
pub(super) fn is_node_invalid(view: &View, id: &NodeId) -> bool {
    if id.is_empty() {
        return false;
    }
    view.node(id).is_none_or(|node| is_down(node) || is_drained(node))
}

/// Whether the dispatcher has lost a node.
pub(super) fn is_down(node: &Node) -> bool {
    node.status.state() == node_status::State::Down
}

/// Whether a node is to give up its tasks.
pub(super) fn is_drained(node: &Node) -> bool {
    node.spec.availability() == Availability::Drain
}

/// How many tasks a service asks for; `None` for a service of another kind than replicated.
pub(super) fn replicas(service: &Service) -> Option<u64> {
    match service.spec.mode {
        Some(Mode::Replicated(replicated)) => Some(replicated.replicas),
        Some(Mode::Global(_) | Mode::ReplicatedJob(_) | Mode::GlobalJob(_)) | None => None,
    }
}

/// When the leader last wrote down how far a task is, else when the node saw it; what has no time
/// is the oldest.
pub(super) fn stamp(task: &Task) -> i128 {
    let time = task.status.applied_at.as_ref().or(task.status.timestamp.as_ref());
    time.map_or(i128::MIN, moment::nanos)
}

/// The order in which tasks were made. Reports that come late do not change it.
pub(super) fn made(task: &Task) -> (Option<i128>, &TaskId) {
    (task.meta.created_at.as_ref().map(moment::nanos), &task.id)
}

/// The task with a higher desired state; `None` when it has that already, since managers never
/// lower one.
pub(super) fn raised(task: &Task, to: TaskState) -> Option<Arc<Task>> {
    (task.desired_state < to).then(|| Arc::new(Task { desired_state: to, ..task.clone() }))
}

#[cfg(test)]
mod tests {
    use protocol::wire::{
        ContainerSpec, EndpointSpec, PortConfig, container_spec::PullOptions,
        restart_policy::RestartCondition,
    };

    use super::{
        super::testing::{nodes, service, spec, state, tasks},
        *,
    };

    /// Checks a task that was made from an older version of the spec, which differs by `change`,
    /// and runs on a node that is called `n1`.
    #[track_caller]
    fn check(observed: &str, change: impl FnOnce(&mut TaskSpec), expected: bool) {
        let mut asked = spec(RestartCondition::Any, 0);
        asked.runtime = Some(Runtime::Container(ContainerSpec::default()));
        let mut task = tasks("1:new@n1", &asked).remove(0);
        task.spec_version = Some(1);
        task.status.state = state(observed);
        change(&mut asked);
        let nodes: Vec<_> = nodes().into_iter().map(Arc::new).collect();
        assert_eq!(is_dirty(&task, &service(1, &asked), nodes.first()), expected);
    }

    fn placed(constraint: &str) -> impl FnOnce(&mut TaskSpec) {
        let constraints = vec![constraint.to_owned()];
        |spec| spec.placement = Some(Placement { constraints, ..Default::default() })
    }

    fn authorized(spec: &mut TaskSpec) {
        let Some(Runtime::Container(container)) = &mut spec.runtime else { return };
        let registry_auth = "secret".to_owned();
        container.pull_options = Some(PullOptions { registry_auth });
    }

    #[test]
    fn only_what_matters_makes_a_task_dirty() {
        check("running", |_| {}, false);
        check("running", |spec| spec.force_update = 1, true);
        check("running", placed("node.id == n1"), false);
        check("running", placed("node.id == n2"), true);
        check("running", placed("no constraint"), true);
        check("preparing", authorized, true);
        check("ready", authorized, false);
        check("running", authorized, false);
        check("failed", authorized, true);
    }

    #[test]
    fn the_version_settles_it() {
        let (new, old) = (spec(RestartCondition::Any, 1), spec(RestartCondition::Any, 0));
        let task = &tasks("1:running", &old)[0];
        let mut service = service(1, &new);
        assert!(!is_dirty(task, &service, None), "equal versions are equal specs");
        service.spec_version = None;
        assert!(is_dirty(task, &service, None));
    }

    #[test]
    fn other_ports_make_a_task_dirty_once_it_has_an_endpoint() {
        let asked = spec(RestartCondition::Any, 0);
        let mut service = service(1, &asked);
        service.spec_version = None;
        let mut task = tasks("1:running", &asked).remove(0);
        let ports = EndpointSpec { ports: vec![PortConfig::default()], ..Default::default() };
        let mut wish = service.spec.as_ref().clone();
        wish.endpoint = Some(ports.clone());
        service.spec = wish.into();
        assert!(!is_dirty(&task, &service, None));
        task.endpoint = Some(Endpoint::default().into());
        assert!(is_dirty(&task, &service, None));
        task.endpoint = Some(Endpoint { spec: Some(ports), ..Default::default() }.into());
        assert!(!is_dirty(&task, &service, None));
    }
}
