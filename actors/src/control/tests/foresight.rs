//! Why tasks do not run, and what a spec would bring about.

use std::time::{Duration, Instant};

use protocol::{
    objects::{Node, Task, TaskState, TaskStatus},
    swarm::{ExplainRequest, PlanRequest, PlannedTask, planned_task::Action},
    wire::{
        self, NodeSpec, NodeStatus, Placement, ReplicatedService, Resources, ServiceSpec, Version,
        node_spec::Availability, node_status::State, service_spec::Mode,
    },
};
use rand::{SeedableRng, rngs::StdRng};

use super::{NOW, View, refusal, spec, task, write};
use crate::{
    control::{
        Error,
        logic::{
            explain,
            plan::{self, Moment},
            service,
        },
        validate::ValidService,
    },
    store,
};

fn node(id: &str, memory_bytes: i64, availability: Availability) -> Node {
    wire::Node {
        id: id.to_owned(),
        spec: Some(NodeSpec { availability: availability.into(), ..NodeSpec::default() }),
        description: Some(wire::NodeDescription {
            hostname: id.to_owned(),
            resources: Some(Resources { memory_bytes, ..Resources::default() }),
            ..wire::NodeDescription::default()
        }),
        status: Some(NodeStatus { state: State::Ready.into(), ..NodeStatus::default() }),
        ..wire::Node::default()
    }
    .into()
}

const MIB: i64 = 1 << 20;

/// A node that is drained, and a small one that takes tasks.
pub(super) fn nodes() -> View {
    write(&View::default(), |transaction| {
        transaction.create(node("drained", 64 * MIB, Availability::Drain))?;
        transaction.create(node("small", 32 * MIB, Availability::Active))
    })
    .unwrap()
}

fn wanted(replicas: u64, memory_bytes: i64) -> ServiceSpec {
    let mut spec = task(|task| {
        let reservations = Some(Resources { memory_bytes, ..Resources::default() });
        let resources = wire::ResourceRequirements { reservations, ..Default::default() };
        task.resources = Some(resources);
        // Images run where nothing is said of runtimes, that of the host does not.
        if let Some(wire::task_spec::Runtime::Container(container)) = &mut task.runtime {
            container.image = "redis".to_owned();
        }
    });
    spec.mode = Some(Mode::Replicated(ReplicatedService { replicas }));
    spec
}

fn ask(view: &View, request: PlanRequest) -> Result<(Vec<PlannedTask>, u64, u64), Error> {
    #[expect(clippy::disallowed_methods, reason = "any point in time will do")]
    let instant = Instant::now() + Duration::from_secs(60);
    let mut random = StdRng::seed_from_u64(1);
    let answer = plan::answer(view, request, Moment { wall: NOW, instant }, &mut random)?;
    Ok((answer.tasks, answer.kept, answer.left_out))
}

pub(super) fn plan_new(
    view: &View,
    spec: ServiceSpec,
) -> Result<(Vec<PlannedTask>, u64, u64), Error> {
    ask(view, PlanRequest { spec: Some(spec), ..PlanRequest::default() })
}

fn planned(slot: u64, action: Action, node: &str, reason: &str) -> PlannedTask {
    let (node_id, reason) = (node.to_owned(), reason.to_owned());
    PlannedTask { slot, action: action.into(), node_id, reason }
}

/// The service `web` with tasks that run on the small node.
fn running(replicas: u64) -> View {
    let spec = wanted(replicas, 0);
    let valid = ValidService::try_from(Some(spec.clone())).unwrap();
    let view =
        write(&nodes(), |transaction| service::create(transaction, "s1".into(), &valid, NOW));
    write(&view.unwrap(), |transaction| {
        (1..=replicas).try_for_each(|slot| {
            let status = TaskStatus { state: TaskState::RUNNING, ..TaskStatus::default() };
            transaction.create(Task {
                id: format!("t{slot}").as_str().into(),
                service_id: "s1".into(),
                slot,
                node_id: "small".into(),
                spec_version: Some(0),
                spec: spec.task.clone().unwrap().into(),
                desired_state: TaskState::RUNNING,
                status,
                ..Task::default()
            })
        })
    })
    .unwrap()
}

fn plan_update(view: &View, spec: ServiceSpec) -> Result<(Vec<PlannedTask>, u64, u64), Error> {
    let service_version = Some(Version { index: 2 });
    ask(view, PlanRequest { spec: Some(spec), service_id: "s1".to_owned(), service_version })
}

#[test]
fn a_new_service_is_placed_as_far_as_there_is_room() {
    let (tasks, kept, left_out) = plan_new(&nodes(), wanted(3, 16 * MIB)).unwrap();
    let reason = "no suitable node (insufficient resources on 1 node; \
                  1 node not available for new tasks)";
    let short = |task: &PlannedTask| (task.node_id.clone(), task.reason.clone());
    assert_eq!(tasks.len(), 3);
    assert!(tasks.iter().all(|task| task.action() == Action::Create));
    let placed = tasks.iter().filter(|task| task.node_id == "small").count();
    assert_eq!((placed, kept, left_out), (2, 0, 0));
    let waiting = tasks.iter().find(|task| task.node_id.is_empty()).map(short).unwrap();
    let same_words = |text: &str| {
        let mut words: Vec<_> = text.split(['(', ')', ';', ' ']).map(str::to_owned).collect();
        words.sort();
        words
    };
    assert_eq!(same_words(&waiting.1), same_words(reason));
}

#[test]
fn an_update_says_which_slots_it_replaces_stops_and_keeps() {
    let view = running(2);
    assert_eq!(plan_update(&view, wanted(2, 0)).unwrap(), (vec![], 2, 0));
    let more = vec![planned(3, Action::Create, "small", "")];
    assert_eq!(plan_update(&view, wanted(3, 0)).unwrap(), (more, 2, 0));
    let less = vec![planned(2, Action::Stop, "small", "")];
    assert_eq!(plan_update(&view, wanted(1, 0)).unwrap(), (less, 1, 0));
    let (tasks, kept, _) = plan_update(&view, wanted(2, 4 * MIB)).unwrap();
    let replaced = |slot| planned(slot, Action::Replace, "small", "");
    assert_eq!((tasks, kept), (vec![replaced(1), replaced(2)], 0));
}

#[test]
fn a_plan_is_refused_like_what_it_plans() {
    let view = running(1);
    let text = |outcome: Result<_, Error>| refusal(&outcome.expect_err("refused"));
    let unnamed = spec(|spec| spec.annotations = None);
    assert_eq!(text(plan_new(&view, unnamed)), "IA: meta: name must be provided");
    let taken = "AE: name conflicts with an existing object: service web already exists";
    assert_eq!(text(plan_new(&view, wanted(1, 0))), taken);
    let service_version = Some(Version { index: 9 });
    let stale =
        PlanRequest { spec: Some(wanted(1, 0)), service_id: "s1".to_owned(), service_version };
    assert_eq!(text(ask(&view, stale)), "UK: update out of sequence");
}

#[test]
fn a_large_plan_is_cut() {
    let (tasks, _, left_out) = plan_new(&View::default(), wanted(1500, 0)).unwrap();
    assert_eq!((tasks.len(), left_out), (1000, 500));
    assert!(tasks.iter().all(|task| task.reason == "no suitable node"));
}

#[test]
fn a_task_that_waits_is_held_against_every_node() {
    let view = running(1);
    let view = write(&view, |transaction| {
        let mut spec = wanted(1, 48 * MIB).task.unwrap();
        let constraints = vec!["node.hostname==drained".to_owned()];
        spec.placement = Some(Placement { constraints, ..Placement::default() });
        transaction.create(Task {
            id: "t2".into(),
            service_id: "s1".into(),
            slot: 2,
            spec: spec.into(),
            desired_state: TaskState::RUNNING,
            status: TaskStatus {
                state: TaskState::PENDING,
                err: "no suitable node".into(),
                timestamp: Some(NOW),
                ..TaskStatus::default()
            },
            ..Task::default()
        })?;
        Ok::<_, store::Error>(())
    })
    .unwrap();
    let request = ExplainRequest { service_id: "s1".to_owned(), ..ExplainRequest::default() };
    let answer = explain::answer(&view, &request).unwrap();
    let [told] = &answer.tasks[..] else { panic!("one task waits: {:?}", answer.tasks) };
    assert_eq!((&*told.task_id, &*told.reason, told.since), ("t2", "no suitable node", Some(NOW)));
    let failed: Vec<_> = told.failed.iter().map(|one| (&*one.filter, one.nodes)).collect();
    assert_eq!(failed.len(), 2);
    assert!(failed.contains(&("ready", 1)) && failed.contains(&("resources", 1)), "{failed:?}");
    let nearest = told.nearest.as_ref().unwrap();
    assert_eq!(nearest.node_id, "drained");
    let lacks: Vec<_> = nearest.lacks.iter().map(|lack| (&*lack.text, &*lack.remedy)).collect();
    assert_eq!(lacks, [("its availability is DRAIN", "activate the node")]);
    let request = ExplainRequest { task_id: "t1".to_owned(), ..ExplainRequest::default() };
    let answer = explain::answer(&view, &request).unwrap();
    assert_eq!((&*answer.tasks[0].node_id, answer.tasks[0].failed.len()), ("small", 0));
}

#[test]
fn what_is_not_there_cannot_be_explained() {
    let check = |service: &str, task: &str, expected: &str| {
        let request = ExplainRequest { service_id: service.to_owned(), task_id: task.to_owned() };
        let error = explain::answer(&nodes(), &request).expect_err("refused");
        assert_eq!(refusal(&error), expected);
    };
    check("", "", "IA: invalid argument");
    check("s9", "", "NF: service s9 not found");
    check("", "t9", "NF: task t9 not found");
    check("s9", "t9", "IA: a service or a task can be explained, not both at once");
}
