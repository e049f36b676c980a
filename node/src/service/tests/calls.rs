//! Every call that is offered, once through; and one that is not.

use std::slice;

use actors::{
    cluster::CLUSTER_NAME,
    store::{Transaction, View},
};
use prost_types::Timestamp;
use protocol::{
    objects::{Cluster, Node, Task},
    wire::{self, update_service_request::Rollback, *},
};
use tonic::Code;

use super::{check, run};

fn named(name: &str) -> Annotations {
    Annotations { name: name.to_owned(), ..Annotations::default() }
}

pub(super) fn spec(name: &str) -> ServiceSpec {
    let container = ContainerSpec { image: "host".to_owned(), ..ContainerSpec::default() };
    let runtime = Some(task_spec::Runtime::Container(container));
    ServiceSpec {
        annotations: Some(named(name)),
        task: Some(TaskSpec { runtime, ..TaskSpec::default() }),
        mode: Some(service_spec::Mode::Replicated(ReplicatedService { replicas: 2 })),
        ..ServiceSpec::default()
    }
}

/// A cluster with this manager, a worker that is down, and a task.
fn view() -> View {
    let cluster = wire::Cluster {
        id: "c1".to_owned(),
        spec: Some(ClusterSpec { annotations: Some(named(CLUSTER_NAME)), ..Default::default() }),
        root_ca: Some(RootCa { ca_key: "secret".into(), ..RootCa::default() }),
        ..wire::Cluster::default()
    };
    let node = |id: &str, role: NodeRole, state: node_status::State| {
        let spec = NodeSpec { desired_role: role.into(), ..NodeSpec::default() };
        Node::from(wire::Node {
            id: id.to_owned(),
            spec: Some(spec),
            role: role.into(),
            status: Some(NodeStatus { state: state.into(), ..NodeStatus::default() }),
            ..wire::Node::default()
        })
    };
    let mut transaction = Transaction::begin(&View::default());
    let create = |transaction: &mut Transaction| {
        transaction.create(Cluster::from(cluster))?;
        transaction.create(node("n1", NodeRole::Manager, node_status::State::Ready))?;
        transaction.create(node("n2", NodeRole::Worker, node_status::State::Down))?;
        transaction.create(Task { id: "t1".into(), node_id: "n2".into(), ..Task::default() })
    };
    create(&mut transaction).expect("everything is new");
    transaction.seal(1, Timestamp::default()).view
}

fn index(meta: Option<Meta>) -> Option<Version> {
    meta.and_then(|meta| meta.version)
}

#[test]
fn services() {
    run(&view(), async |world| {
        let mut control = world.control();
        let created = control.create_service(CreateServiceRequest { spec: Some(spec("web")) });
        let created = created.await.expect("created").into_inner().service.expect("shown");
        assert_eq!(created.id.len(), 25);
        assert_eq!(created.spec, Some(spec("web")));
        assert!(index(created.meta).is_some_and(|version| version.index > 1), "its entry's index");
        let id = created.id.clone();
        let get = GetServiceRequest { service_id: id.clone(), insert_defaults: false };
        let found = control.get_service(get.clone()).await.expect("found").into_inner().service;
        assert_eq!(found.as_ref(), Some(&created));
        let filled = GetServiceRequest { insert_defaults: true, ..get };
        let filled = control.get_service(filled).await.expect("found").into_inner().service;
        assert!(filled.and_then(|found| found.spec?.task?.restart).is_some());
        let listed = control.list_services(ListServicesRequest::default()).await.expect("listed");
        assert_eq!(listed.into_inner().services, slice::from_ref(&created));
        let ask = ListServiceStatusesRequest { services: vec![id.clone(), "gone".to_owned()] };
        let statuses = control.list_service_statuses(ask).await.expect("counted").into_inner();
        let desired: Vec<_> = statuses.statuses.iter().map(|found| found.desired_tasks).collect();
        assert_eq!(desired, [2, 0]);
        let mut update = UpdateServiceRequest {
            service_id: id.clone(),
            service_version: index(created.meta),
            spec: Some(ServiceSpec { endpoint: Some(EndpointSpec::default()), ..spec("web") }),
            rollback: Rollback::None.into(),
        };
        let updated = control.update_service(update.clone()).await.expect("updated").into_inner();
        let updated = updated.service.expect("shown");
        assert_eq!(updated.previous_spec, created.spec);
        check(
            control.update_service(update.clone()).await,
            Code::Unknown,
            "update out of sequence",
        );
        update.service_version = index(updated.meta);
        update.rollback = Rollback::Previous.into();
        let back = control.update_service(update).await.expect("rolled back").into_inner();
        assert_eq!(back.service.and_then(|service| service.spec), created.spec);
        let remove = RemoveServiceRequest { service_id: id.clone() };
        control.remove_service(remove.clone()).await.expect("removed");
        let gone = format!("service {id} not found");
        check(control.remove_service(remove).await, Code::NotFound, &gone);
    });
}

#[test]
fn clusters() {
    run(&view(), async |world| {
        let mut control = world.control();
        let get = GetClusterRequest { cluster_id: "c1".to_owned() };
        let found = control.get_cluster(get).await.expect("found").into_inner().cluster;
        let found = found.expect("shown");
        assert!(found.root_ca.as_ref().is_some_and(|root| root.ca_key.is_empty()));
        let listed = control.list_clusters(ListClustersRequest::default()).await.expect("listed");
        assert_eq!(listed.into_inner().clusters, slice::from_ref(&found));
        let orchestration = Some(OrchestrationConfig { task_history_retention_limit: 9 });
        let spec = ClusterSpec { orchestration, ..found.spec.unwrap_or_default() };
        let update = UpdateClusterRequest {
            cluster_id: "c1".to_owned(),
            cluster_version: index(found.meta),
            spec: Some(spec),
            rotation: None,
        };
        let updated = control.update_cluster(update).await.expect("updated").into_inner().cluster;
        let updated = updated.expect("shown");
        assert_eq!(updated.spec.and_then(|spec| spec.orchestration), orchestration);
        assert!(updated.root_ca.is_some_and(|root| root.ca_key.is_empty()));
        let stored = world.store.view();
        assert_eq!(stored.default_cluster().expect("there").root_ca.ca_key, "secret");
    });
}

#[test]
fn nodes() {
    run(&view(), async |world| {
        let mut control = world.control();
        let get = GetNodeRequest { node_id: "n1".to_owned() };
        let found = control.get_node(get).await.expect("found").into_inner().node.expect("shown");
        let manager = found.manager_status.expect("raft knows it");
        assert_eq!((manager.raft_id, &*manager.addr, manager.leader), (7, "10.0.0.1:4242", true));
        assert_eq!(manager.reachability(), raft_member_status::Reachability::Reachable);
        let listed = control.list_nodes(ListNodesRequest::default()).await.expect("listed");
        let managers: Vec<_> =
            listed.into_inner().nodes.iter().map(|node| node.manager_status.is_some()).collect();
        assert_eq!(managers, [true, false]);
        let update = |role: NodeRole| UpdateNodeRequest {
            node_id: "n1".to_owned(),
            node_version: Some(Version { index: 1 }),
            spec: Some(NodeSpec { desired_role: role.into(), ..NodeSpec::default() }),
        };
        check(
            control.update_node(update(NodeRole::Worker)).await,
            Code::FailedPrecondition,
            "attempting to demote the last manager of the swarm",
        );
        let updated = control.update_node(update(NodeRole::Manager)).await.expect("updated");
        let updated = updated.into_inner().node.expect("shown");
        assert!(updated.manager_status.is_some());
        assert!(index(updated.meta).is_some_and(|version| version.index > 1));
        let remove = RemoveNodeRequest { node_id: "n2".to_owned(), force: false };
        control.remove_node(remove).await.expect("it is down");
        assert!(world.store.view().node(&"n2".into()).is_none());
    });
}

#[test]
fn tasks() {
    run(&view(), async |world| {
        let mut control = world.control();
        let get = GetTaskRequest { task_id: "t1".to_owned() };
        let found = control.get_task(get.clone()).await.expect("found").into_inner().task;
        let listed = control.list_tasks(ListTasksRequest::default()).await.expect("listed");
        assert_eq!(listed.into_inner().tasks, [found.expect("shown")]);
        let remove = RemoveTaskRequest { task_id: "t1".to_owned() };
        control.remove_task(remove).await.expect("removed");
        check(control.get_task(get).await, Code::NotFound, "task t1 not found");
    });
}

#[test]
fn updates_are_of_an_object_a_version_and_a_spec() {
    run(&view(), async |world| {
        let mut control = world.control();
        let (code, text) = (Code::InvalidArgument, "invalid argument");
        check(control.update_service(UpdateServiceRequest::default()).await, code, text);
        check(control.update_cluster(UpdateClusterRequest::default()).await, code, text);
        check(control.update_node(UpdateNodeRequest::default()).await, code, text);
        let node_version = Some(Version { index: 1 });
        let no_spec = UpdateNodeRequest { node_id: "n1".into(), node_version, spec: None };
        check(control.update_node(no_spec).await, code, text);
        check(control.create_service(CreateServiceRequest::default()).await, code, text);
    });
}

#[test]
fn what_is_not_offered_says_so() {
    run(&View::default(), async |world| {
        let mut control = world.control();
        let text = |what: &str| format!("{what} are not offered by this version of swarmd");
        let code = Code::Unimplemented;
        let request = ListNetworksRequest::default();
        check(control.list_networks(request).await, code, &text("networks"));
        let request = CreateSecretRequest::default();
        check(control.create_secret(request).await, code, &text("secrets"));
        let request = UpdateConfigRequest::default();
        check(control.update_config(request).await, code, &text("configs"));
        let request = ListVolumesRequest::default();
        check(control.list_volumes(request).await, code, &text("volumes"));
    });
}

#[test]
fn extensions_and_resources_are_kept() {
    run(&View::default(), async |world| {
        let mut control = world.control();
        let annotations = |name: &str| Some(named(name));
        let request = CreateExtensionRequest {
            annotations: annotations("volcano"),
            description: "a mountain".to_owned(),
        };
        let created = control.create_extension(request).await.expect("created").into_inner();
        let extension_id = created.extension.expect("an extension").id;
        let request = GetExtensionRequest { extension_id: extension_id.clone() };
        let found = control.get_extension(request).await.expect("found").into_inner();
        assert_eq!(found.extension.expect("an extension").description, "a mountain");

        let kind = "volcano".to_owned();
        let request =
            CreateResourceRequest { annotations: annotations("etna"), kind, payload: None };
        let created = control.create_resource(request).await.expect("created").into_inner();
        let etna = created.resource.expect("a resource");
        let request = UpdateResourceRequest {
            resource_id: etna.id.clone(),
            resource_version: etna.meta.and_then(|meta| meta.version),
            annotations: None,
            payload: Some(prost_types::Any { type_url: "url".to_owned(), value: vec![1] }),
        };
        let updated = control.update_resource(request).await.expect("updated").into_inner();
        let payload = updated.resource.and_then(|resource| resource.payload);
        assert_eq!(payload.expect("a payload").value, [1]);
        let request = GetResourceRequest { resource_id: etna.id.clone() };
        let found = control.get_resource(request).await.expect("found").into_inner();
        assert_eq!(found.resource.expect("a resource").kind, "volcano");
        let listed = control.list_resources(ListResourcesRequest::default()).await;
        assert_eq!(listed.expect("listed").into_inner().resources.len(), 1);

        let removal = || RemoveExtensionRequest { extension_id: extension_id.clone() };
        let text = "cannot delete extension because objects of this type exist in the data store";
        check(control.remove_extension(removal()).await, Code::Unknown, text);
        let request = RemoveResourceRequest { resource_id: etna.id };
        control.remove_resource(request).await.expect("removed");
        control.remove_extension(removal()).await.expect("removed");
    });
}
