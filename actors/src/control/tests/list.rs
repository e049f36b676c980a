//! What lists return, and in which order (validation.md §11).

use std::collections::BTreeMap;

use protocol::{
    objects::{Cluster, Node, Service, Task, TaskState},
    wire::{
        self, Annotations, EngineDescription, GenericRuntimeSpec, ListClustersRequest,
        ListNodesRequest, ListServicesRequest, ListTasksRequest, NodeDescription, NodeRole,
        NodeSpec, TaskSpec, list_clusters_request, list_nodes_request, list_services_request,
        list_tasks_request, node_spec::Membership, task_spec::Runtime,
    },
};

use super::{View, named, spec, write};
use crate::{control::list, store};

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn service(id: &str, annotations: Annotations, runtime: Option<Runtime>) -> Service {
    let spec = spec(|spec| {
        spec.annotations = Some(annotations);
        if runtime.is_some() {
            spec.task = Some(TaskSpec { runtime, ..TaskSpec::default() });
        }
    });
    wire::Service { id: id.to_owned(), spec: Some(spec), ..wire::Service::default() }.into()
}

fn services_view() -> View {
    let generic = GenericRuntimeSpec { kind: "Wasm".to_owned(), payload: None };
    let labelled = Annotations { labels: labels(&[("tier", "front"), ("x", "")]), ..named("Web") };
    write(&View::default(), |transaction| {
        transaction.create(service("b1", labelled, None))?;
        transaction.create(service("a1", named("db"), Some(Runtime::Generic(generic))))?;
        transaction.create(service("a2", named("webhook"), None))
    })
    .unwrap()
}

#[track_caller]
fn check_services(change: impl FnOnce(&mut list_services_request::Filters), expected: &[&str]) {
    let mut filters = list_services_request::Filters::default();
    change(&mut filters);
    let view = services_view();
    let found = list::services(&view, &ListServicesRequest { filters: Some(filters) });
    let ids: Vec<_> = found.iter().map(|service| service.id.as_str()).collect();
    assert_eq!(ids, expected);
}

#[test]
fn without_a_driving_filter_the_order_is_that_of_the_ids() {
    let view = services_view();
    let all = list::services(&view, &ListServicesRequest::default());
    let ids: Vec<_> = all.iter().map(|service| service.id.as_str()).collect();
    assert_eq!(ids, ["a1", "a2", "b1"]);
    check_services(|filters| filters.runtimes = strings(&["container"]), &["a2", "b1"]);
}

#[test]
fn what_runs_a_service_has_a_name() {
    let generic = GenericRuntimeSpec { kind: "WebAssembly".to_owned(), payload: None };
    for (runtime, name) in [
        (Runtime::Container(Default::default()), "container"),
        (Runtime::Attachment(Default::default()), "attachment"),
        (Runtime::Generic(generic), "webassembly"),
    ] {
        let service = service("s", named("s"), Some(runtime));
        let view = write(&View::default(), |transaction| transaction.create(service)).unwrap();
        for wanted in ["container", "attachment", "webassembly"] {
            let runtimes = strings(&[wanted]);
            let filters = list_services_request::Filters { runtimes, ..Default::default() };
            let request = ListServicesRequest { filters: Some(filters) };
            let found = list::services(&view, &request).len();
            assert_eq!(found, usize::from(wanted == name), "{wanted} of {name}");
        }
    }
}

#[test]
fn the_driving_filter_gives_the_order() {
    check_services(|filters| filters.names = strings(&["webhook", "db"]), &["a2", "a1"]);
    check_services(|filters| filters.name_prefixes = strings(&["", "db"]), &["a1", "b1", "a2"]);
    check_services(|filters| filters.id_prefixes = strings(&["b", "a", "a2"]), &["b1", "a1", "a2"]);
}

#[test]
fn filters_are_exact_and_all_of_them_must_hold() {
    check_services(|filters| filters.names = strings(&["web"]), &[]);
    check_services(|filters| filters.names = strings(&["Web"]), &["b1"]);
    check_services(|filters| filters.name_prefixes = strings(&["web"]), &["a2"]);
    check_services(
        |filters| {
            filters.name_prefixes = strings(&["Web", "web"]);
            filters.id_prefixes = strings(&["a"]);
        },
        &["a2"],
    );
    check_services(|filters| filters.runtimes = strings(&["wasm"]), &["a1"]);
    check_services(|filters| filters.runtimes = strings(&["Wasm"]), &[]);
    check_services(|filters| filters.labels = labels(&[("tier", "")]), &["b1"]);
    check_services(|filters| filters.labels = labels(&[("tier", "front"), ("x", "")]), &["b1"]);
    check_services(|filters| filters.labels = labels(&[("tier", "back")]), &[]);
}

fn node(id: &str, host: &str, role: NodeRole, membership: Membership) -> Node {
    let engine = EngineDescription { labels: labels(&[("os", host)]), ..Default::default() };
    let description = NodeDescription {
        hostname: host.to_owned(),
        engine: Some(engine),
        ..NodeDescription::default()
    };
    let annotations = Annotations { labels: labels(&[("rack", id)]), ..named("spec-name") };
    let spec = NodeSpec {
        annotations: Some(annotations),
        membership: membership.into(),
        ..NodeSpec::default()
    };
    wire::Node {
        id: id.to_owned(),
        spec: Some(spec),
        description: (!host.is_empty()).then_some(description),
        role: role.into(),
        ..wire::Node::default()
    }
    .into()
}

#[track_caller]
fn check_nodes(change: impl FnOnce(&mut list_nodes_request::Filters), expected: &[&str]) {
    let mut filters = list_nodes_request::Filters::default();
    change(&mut filters);
    let view = write(&View::default(), |transaction| {
        transaction.create(node("n1", "one", NodeRole::Manager, Membership::Accepted))?;
        transaction.create(node("n2", "two", NodeRole::Worker, Membership::Pending))?;
        transaction.create(node("n3", "", NodeRole::Worker, Membership::Accepted))
    })
    .unwrap();
    let found = list::nodes(&view, &ListNodesRequest { filters: Some(filters) });
    let ids: Vec<_> = found.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, expected);
}

#[test]
fn nodes_are_named_by_their_host() {
    check_nodes(|_| {}, &["n1", "n2", "n3"]);
    check_nodes(|filters| filters.names = strings(&["two", "one"]), &["n2", "n1"]);
    check_nodes(|filters| filters.names = strings(&["spec-name"]), &[]);
    check_nodes(|filters| filters.roles = vec![NodeRole::Worker.into()], &["n2", "n3"]);
    check_nodes(|filters| filters.memberships = vec![Membership::Pending.into()], &["n2"]);
    check_nodes(|filters| filters.labels = labels(&[("os", "")]), &["n1", "n2"]);
    check_nodes(|filters| filters.labels = labels(&[("rack", "")]), &[]);
    check_nodes(|filters| filters.node_labels = labels(&[("rack", "n3")]), &["n3"]);
}

fn task(id: &str, slot: u64, node: &str, change: impl FnOnce(&mut Task)) -> Task {
    let annotations = Annotations { labels: labels(&[("tier", "front")]), ..named("web") };
    let mut task = Task {
        id: id.into(),
        service_id: "s1".into(),
        slot,
        node_id: node.into(),
        spec: spec(|_| {}).task.unwrap().into(),
        service_annotations: annotations.into(),
        desired_state: TaskState::RUNNING,
        ..Task::default()
    };
    change(&mut task);
    task
}

fn tasks_view() -> View {
    write(&View::default(), |transaction| {
        transaction.create(service("s1", named("web"), None))?;
        transaction.create(node("n1", "one", NodeRole::Worker, Membership::Accepted))?;
        transaction.create(task("t1", 1, "n1", |_| {}))?;
        transaction.create(task("t2", 0, "n1", |task| task.desired_state = TaskState::SHUTDOWN))?;
        transaction.create(task("t3", 2, "", |task| {
            task.service_id = "gone".into();
            task.annotations = Some(named("own").into());
        }))?;
        transaction.create(task("t4", 4, "n9", |task| task.spec = TaskSpec::default().into()))
    })
    .unwrap()
}

#[track_caller]
fn check_tasks(change: impl FnOnce(&mut list_tasks_request::Filters), expected: &[&str]) {
    let mut filters = list_tasks_request::Filters::default();
    change(&mut filters);
    let view = tasks_view();
    let found = list::tasks(&view, &ListTasksRequest { filters: Some(filters) });
    let ids: Vec<_> = found.iter().map(|task| task.id.as_str()).collect();
    assert_eq!(ids, expected);
}

#[test]
fn tasks_are_named_by_service_and_place() {
    check_tasks(|_| {}, &["t1", "t2", "t3", "t4"]);
    check_tasks(|filters| filters.names = strings(&["own", "web.1.t1"]), &["t3", "t1"]);
    check_tasks(|filters| filters.names = strings(&["web.n1.t2"]), &["t2"]);
    check_tasks(|filters| filters.name_prefixes = strings(&["web.4"]), &["t4"]);
    check_tasks(|filters| filters.service_ids = strings(&["gone"]), &["t3"]);
    check_tasks(|filters| filters.node_ids = strings(&["n1"]), &["t1", "t2"]);
    check_tasks(
        |filters| filters.service_ids = strings(&["s1", "gone", "s1"]),
        &["t1", "t2", "t3", "t4"],
    );
    check_tasks(
        |filters| {
            filters.service_ids = strings(&["s1"]);
            filters.node_ids = strings(&["n9"]);
        },
        &["t4"],
    );
    let shutdown = vec![TaskState::SHUTDOWN.number()];
    check_tasks(|filters| filters.desired_states = shutdown, &["t2"]);
    check_tasks(|filters| filters.runtimes = strings(&["container"]), &["t1", "t2", "t3"]);
    check_tasks(|filters| filters.labels = labels(&[("tier", "front")]), &["t1", "t2", "t3", "t4"]);
    check_tasks(|filters| filters.up_to_date = true, &["t1", "t2"]);
}

#[test]
fn clusters_are_listed_by_name() {
    let spec = wire::ClusterSpec { annotations: Some(named("default")), ..Default::default() };
    let cluster = wire::Cluster { id: "c1".into(), spec: Some(spec), ..Default::default() };
    let view =
        write(&View::default(), |transaction| transaction.create(Cluster::from(cluster))).unwrap();
    let found = |name: &str| {
        let names = strings(&[name]);
        let filters = list_clusters_request::Filters { names, ..Default::default() };
        list::clusters(&view, &ListClustersRequest { filters: Some(filters) }).len()
    };
    assert_eq!((found("default"), found("other")), (1, 0));
}

/// A task and its service, changed; is it what the service asks for?
#[track_caller]
fn check_up_to_date(change: impl FnOnce(&mut Task, &mut wire::Service), expected: bool) {
    let mut task = task("t1", 1, "n1", |task| task.spec_version = Some(1));
    let mut service = wire::Service {
        id: "s1".to_owned(),
        spec: Some(spec(|_| {})),
        spec_version: Some(wire::Version { index: 2 }),
        ..wire::Service::default()
    };
    change(&mut task, &mut service);
    let view = write(&View::default(), |transaction| {
        transaction.create(node("n1", "one", NodeRole::Worker, Membership::Accepted))?;
        transaction.create(Service::from(service))?;
        transaction.create(task)?;
        Ok::<_, store::Error>(())
    })
    .unwrap();
    let filters = list_tasks_request::Filters { up_to_date: true, ..Default::default() };
    let found = list::tasks(&view, &ListTasksRequest { filters: Some(filters) });
    assert_eq!(found.len() == 1, expected);
}

#[test]
fn a_task_is_up_to_date_when_nothing_that_matters_differs() {
    let wanted = |service: &mut wire::Service, change: &dyn Fn(&mut TaskSpec)| {
        change(service.spec.as_mut().unwrap().task.as_mut().unwrap());
    };
    let pull = |task: &mut TaskSpec| {
        if let Some(Runtime::Container(container)) = &mut task.runtime {
            container.pull_options = Some(wire::container_spec::PullOptions::default());
        }
    };
    let placed = |constraint: &'static str| {
        move |task: &mut TaskSpec| {
            let constraints = strings(&[constraint]);
            task.placement = Some(wire::Placement { constraints, ..Default::default() });
        }
    };
    check_up_to_date(|_, _| {}, true);
    check_up_to_date(|_, service| wanted(service, &|task| task.force_update = 1), false);
    check_up_to_date(
        |task, service| {
            wanted(service, &|task| task.force_update = 1);
            task.spec_version = Some(2);
        },
        true,
    );
    check_up_to_date(|_, service| wanted(service, &placed("node.id==n1")), true);
    check_up_to_date(|_, service| wanted(service, &placed("node.id==n2")), false);
    check_up_to_date(|_, service| wanted(service, &pull), false);
    check_up_to_date(
        |task, service| {
            wanted(service, &pull);
            task.status.state = TaskState::RUNNING;
        },
        true,
    );
    check_up_to_date(
        |task, _| {
            let spec = Some(wire::EndpointSpec::default());
            task.endpoint = Some(wire::Endpoint { spec, ..Default::default() }.into());
        },
        false,
    );
}
