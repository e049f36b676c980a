//! What a create or an update of a service would do, found by doing it on a copy of a view: the
//! same checks, the same orchestrator, the same scheduler. Nothing is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use prost_types::Timestamp;
use protocol::{
    id::{ServiceId, TaskId},
    objects::{Service, Task, TaskState, TaskStatus},
    swarm::{PlanRequest, PlanResponse, PlannedTask, planned_task::Action},
    wire::Endpoint,
};
use rand::RngCore;

use super::service::{self, Direction};
use crate::{
    control::{
        Error,
        validate::{self, ValidService},
    },
    orchestrator::replicated::{Planned, Step, carry_out, plan},
    scheduler::{Board, Outcome},
    store::{Transaction, View},
};

/// How many tasks are told of at most; the decisions about more would look alike.
const PLANNED_MAX: usize = 1000;

/// How many nodes and tasks the scheduler looks at before it is asked again.
const STEPS: usize = 4096;

/// How often the scheduler is asked at most.
const PASSES_MAX: usize = 10_000;

/// When something is planned: what is written would bear the first, and failures of tasks are
/// recent by the second.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By the wall clock.
    pub wall: Timestamp,
    /// By the clock that timers follow.
    pub instant: Instant,
}

/// Says what would become of the tasks of a service.
pub fn answer(
    view: &View,
    request: PlanRequest,
    now: Moment,
    random: &mut impl RngCore,
) -> Result<PlanResponse, Error> {
    let PlanRequest { spec, service_id, service_version } = request;
    let (mut head, id) = (Transaction::begin(view), ServiceId::from(&*service_id));
    let id = if service_id.is_empty() {
        let (valid, id) = (ValidService::try_from(spec)?, ServiceId::random(random));
        service::check_offered(&valid)?;
        service::create(&mut head, id.clone(), &valid, now.wall)?;
        id
    } else {
        let version = validate::version(&service_id, service_version)?;
        let valid = ValidService::try_from(spec)?;
        service::update(&mut head, &service_id, version, &valid, Direction::Forward, now.wall)?;
        id
    };
    let wished = committed(head, view, now);
    let mut steps = plan(&wished, &id);
    let left_out = steps.len().saturating_sub(PLANNED_MAX) as u64;
    steps.truncate(PLANNED_MAX);
    let made = orchestrated(&wished, steps.clone(), now, random)?;
    let new = new_tasks(view, &made, &id);
    let allocated = allocated(&made, &id, new.values().copied(), now)?;
    let places = placed(allocated, new.values().map(|task| task.id.clone()).collect(), now);
    let tasks: Vec<_> = steps.iter().filter_map(|step| told(step, view, &new, &places)).collect();
    let changed: BTreeSet<_> = tasks.iter().map(|task| task.slot).collect();
    let kept = view
        .tasks_of_service(&id)
        .filter(|task| task.desired_state <= TaskState::RUNNING && !changed.contains(&task.slot));
    let kept = (kept.count() as u64).saturating_sub(left_out);
    Ok(PlanResponse { kept, tasks, left_out })
}

fn committed(head: Transaction, before: &View, now: Moment) -> View {
    head.seal(before.index() + 1, now.wall).view
}

/// The view after the orchestrator has carried out its steps.
fn orchestrated(
    view: &View,
    steps: Vec<Step>,
    now: Moment,
    random: &mut impl RngCore,
) -> Result<View, Error> {
    let mut view = view.clone();
    let mut left: BTreeSet<_> = steps.into_iter().collect();
    while !left.is_empty() {
        let before = left.len();
        let mut head = Transaction::begin(&view);
        left = carry_out(&mut head, left, now.wall, random)?;
        view = committed(head, &view, now);
        if left.len() == before {
            // A task that no transaction takes is not made in earnest either.
            break;
        }
    }
    Ok(view)
}

/// The tasks that there were not before, by slot.
fn new_tasks<'v>(before: &View, after: &'v View, id: &ServiceId) -> BTreeMap<u64, &'v Arc<Task>> {
    let new = after.tasks_of_service(id).filter(|task| before.task(&task.id).is_none());
    new.map(|task| (task.slot, task)).collect()
}

/// The view in which tasks wait for a node. What the allocator would give them beside that has no
/// say in where they go.
fn allocated<'v>(
    view: &View,
    id: &ServiceId,
    tasks: impl Iterator<Item = &'v Arc<Task>>,
    now: Moment,
) -> Result<View, Error> {
    let endpoint = view.service(id).and_then(|service| endpoint(service));
    let mut head = Transaction::begin(view);
    for task in tasks {
        let status = TaskStatus { state: TaskState::PENDING, ..task.status.clone() };
        let endpoint = endpoint.clone().map(Arc::new);
        head.update(Task { status, endpoint, ..(**task).clone() })?;
    }
    Ok(committed(head, view, now))
}

/// The ports that tasks take of their node.
fn endpoint(service: &Service) -> Option<Endpoint> {
    let spec = service.spec.endpoint.clone()?;
    Some(Endpoint { ports: spec.ports.clone(), spec: Some(spec), ..Endpoint::default() })
}

/// Where tasks go, or why they go nowhere.
fn placed(view: View, tasks: BTreeSet<TaskId>, now: Moment) -> BTreeMap<TaskId, Outcome> {
    let mut board = Board::default();
    board.resync(view);
    let mut places = BTreeMap::new();
    for _ in 0..PASSES_MAX {
        let decisions = board.decide(now.instant, STEPS, usize::MAX);
        let ours = decisions.into_iter().filter(|decision| tasks.contains(&decision.task.id));
        places.extend(ours.map(|decision| (decision.task.id.clone(), decision.outcome)));
        if board.is_idle() {
            break;
        }
    }
    places
}

/// What one step means for its slot; what only follows from another step is not told.
fn told(
    step: &Step,
    before: &View,
    new: &BTreeMap<u64, &Arc<Task>>,
    places: &BTreeMap<TaskId, Outcome>,
) -> Option<PlannedTask> {
    let (slot, action) = match step.change() {
        Planned::Create(slot) => (*slot, Action::Create),
        Planned::Replace { slot, .. } => (*slot, Action::Replace),
        Planned::Remove(id) | Planned::Shutdown { task: id, .. } => {
            let task = before.task(id).filter(|task| task.desired_state <= TaskState::RUNNING)?;
            let node_id = task.node_id.as_str().to_owned();
            let action = Action::Stop.into();
            return Some(PlannedTask { slot: task.slot, action, node_id, ..Default::default() });
        }
    };
    let outcome = new.get(&slot).and_then(|task| places.get(&task.id));
    let (node_id, reason) = match outcome {
        Some(Outcome::Placed { node, .. }) => (node.as_str().to_owned(), String::new()),
        Some(Outcome::Waits { reason }) => (String::new(), reason.to_string()),
        Some(Outcome::Stopped) | None => (String::new(), "it would not be placed".to_owned()),
    };
    Some(PlannedTask { slot, action: action.into(), node_id, reason })
}
