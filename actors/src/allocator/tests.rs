//! What a new task is given, and the actor that gives it.

use std::{sync::Arc, time::Duration};

use prost_types::Timestamp;
use protocol::{
    objects::{Object, Service, Task, TaskState, TaskStatus},
    wire::{self, PortConfig, port_config::PublishMode},
};
use tokio::{task::LocalSet, time::sleep};

use super::{Allocator, logic::allocated};
use crate::{
    environment::testing::environment,
    store::{Transaction, View, testing},
    supervision::{Budget, Census, Tree},
};

const NOW: Timestamp = Timestamp { seconds: 5, nanos: 0 };

/// A service that publishes a port of its nodes, or has no endpoint.
fn service(port: Option<u32>) -> Service {
    let endpoint = port.map(|published_port| {
        let port = PortConfig {
            target_port: 80,
            published_port,
            publish_mode: PublishMode::Host.into(),
            ..Default::default()
        };
        wire::EndpointSpec { ports: vec![port], ..Default::default() }
    });
    let spec = wire::ServiceSpec { endpoint, ..Default::default() };
    wire::Service { id: "s".to_owned(), spec: Some(spec), ..Default::default() }.into()
}

fn task(id: &str, service: &str, state: TaskState) -> Task {
    let status = TaskStatus { state, message: "created".into(), ..TaskStatus::default() };
    Task { id: id.into(), service_id: service.into(), status, ..Task::default() }
}

fn with(objects: impl IntoIterator<Item = Object>) -> View {
    let mut transaction = Transaction::begin(&View::default());
    objects.into_iter().for_each(|object| transaction.create(object).unwrap());
    transaction.seal(1, NOW).view
}

#[test]
fn a_new_task_becomes_pending() {
    let view = with([service(None).into()]);
    let new = task("t", "s", TaskState::NEW);
    let pending = allocated(&view, &new, NOW).expect("allocated");
    let status = &pending.status;
    assert_eq!((status.state, &*status.message), (TaskState::PENDING, "pending task scheduling"));
    assert_eq!((status.timestamp, pending.endpoint), (Some(NOW), None));
}

#[test]
fn the_ports_of_the_service_reach_the_task() {
    let view = with([service(Some(8080)).into()]);
    let pending = allocated(&view, &task("t", "s", TaskState::NEW), NOW).expect("allocated");
    let endpoint = pending.endpoint.expect("there is one");
    let ports: Vec<_> = endpoint.ports.iter().map(|port| port.published_port).collect();
    assert_eq!(ports, [8080]);
    assert_eq!(endpoint.spec, service(Some(8080)).spec.endpoint);
}

#[test]
fn what_is_not_new_or_has_no_service_is_left_alone() {
    let view = with([service(None).into()]);
    for state in [TaskState::PENDING, TaskState::ASSIGNED, TaskState::RUNNING, TaskState::FAILED] {
        assert_eq!(allocated(&view, &task("t", "s", state), NOW), None, "{state}");
    }
    assert_eq!(allocated(&view, &task("t", "gone", TaskState::NEW), NOW), None);
    assert!(allocated(&view, &task("t", "", TaskState::NEW), NOW).is_some(), "of nobody");
}

#[test]
fn a_task_that_asks_for_networks_is_told_once_that_there_are_none() {
    let view = with([service(None).into()]);
    let networks = vec![wire::NetworkAttachmentConfig::default()];
    let spec = Arc::new(wire::TaskSpec { networks, ..Default::default() });
    let asking = Task { spec, ..task("t", "s", TaskState::NEW) };
    let told = allocated(&view, &asking, NOW).expect("told");
    let status = &told.status;
    assert_eq!((status.state, &*status.err), (TaskState::NEW, "network support is unavailable"));
    assert_eq!(allocated(&view, &told, NOW), None);
}

#[test]
fn every_new_task_is_allocated_in_the_end() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let budget = Budget { restarts: 0, within: Duration::from_secs(60) };
        let tree = Tree::root("test", budget, Census::default(), |lost| panic!("{lost}"));
        let early = (0..500).map(|number| task(&format!("e{number}"), "s", TaskState::NEW).into());
        let view = with(early.chain([service(None).into()]));
        let store = testing::start_slow(&tree, view, Duration::from_millis(50));
        let for_allocator = store.clone();
        tree.child_with_address("allocator", move |life, own| {
            Allocator::new(for_allocator.clone(), environment(), life, own)
        });
        sleep(Duration::from_secs(1)).await;
        let late = store.transact(|head| head.create(task("late", "s", TaskState::NEW)));
        late.await.expect("written");
        // Its service comes later.
        let orphan = store.transact(|head| head.create(task("orphan", "s2", TaskState::NEW)));
        orphan.await.expect("written");
        sleep(Duration::from_secs(1)).await;
        let state = |id: &str| store.view().task(&id.into()).expect("a task").status.state;
        assert_eq!((state("late"), state("orphan")), (TaskState::PENDING, TaskState::NEW));
        let second = Service { id: "s2".into(), ..service(None) };
        store.transact(|head| head.create(second)).await.expect("written");
        sleep(Duration::from_secs(1)).await;
        let left = store.view().tasks().filter(|task| task.status.state == TaskState::NEW).count();
        assert_eq!((store.view().tasks().count(), left), (502, 0));
        tree.stop().await;
    });
}
