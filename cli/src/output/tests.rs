//! The shape of JSON, and what filters ask for.

use protocol::wire::{
    Annotations, ContainerSpec, ManagerStatus, Meta, Node, NodeRole, NodeSpec, NodeStatus,
    TaskSpec, Version, node_status::State, task_spec::Runtime,
};
use serde_json::json;

use super::{Filter, clusters, json as as_json, nodes, services};

fn filters(texts: &[&str]) -> Vec<Filter> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn messages_have_the_names_of_the_protocol() {
    let node = Node {
        id: "n1".to_owned(),
        meta: Some(Meta {
            version: Some(Version { index: u64::MAX }),
            created_at: Some(prost_types::Timestamp { seconds: 0, nanos: 500_000_000 }),
            updated_at: None,
        }),
        spec: Some(NodeSpec {
            annotations: Some(Annotations {
                labels: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
                ..Annotations::default()
            }),
            ..NodeSpec::default()
        }),
        status: Some(NodeStatus { state: State::Ready.into(), ..NodeStatus::default() }),
        role: NodeRole::Manager.into(),
        ..Node::default()
    };
    let shown = as_json::of("Node", &node);
    assert_eq!(shown["id"], "n1");
    assert_eq!(shown["meta"]["version"]["index"], u64::MAX);
    assert_eq!(shown["meta"]["created_at"], "1970-01-01T00:00:00.5Z");
    assert_eq!(shown["meta"].get("updated_at"), None, "a part that is not there is left out");
    assert_eq!(shown["status"]["state"], "READY");
    assert_eq!(shown["role"], "MANAGER");
    assert_eq!(shown["spec"]["availability"], "ACTIVE", "the first value of an enum is told, too");
    let labels = shown["spec"]["annotations"]["labels"].to_string();
    assert_eq!(labels, "{\"a\":\"1\",\"b\":\"2\"}");
}

#[test]
fn ids_of_raft_are_texts_since_they_are_wider_than_what_programs_keep_of_a_number() {
    let status = ManagerStatus { raft_id: u64::MAX, ..ManagerStatus::default() };
    let node = Node { manager_status: Some(status), ..Node::default() };
    let shown = as_json::of("Node", &node);
    assert_eq!(shown["manager_status"]["raft_id"], "18446744073709551615");
}

#[test]
fn durations_are_seconds_and_wrapped_values_plain() {
    let container = ContainerSpec {
        init: Some(false),
        stop_grace_period: Some(prost_types::Duration { seconds: 90, nanos: 250_000_000 }),
        ..ContainerSpec::default()
    };
    let task = TaskSpec { runtime: Some(Runtime::Container(container)), ..TaskSpec::default() };
    let shown = as_json::of("TaskSpec", &task);
    assert_eq!(shown["container"]["init"], json!(false));
    assert_eq!(shown["container"]["stop_grace_period"], "90.25s");
    assert_eq!(shown["container"]["env"], json!([]));
    assert_eq!(shown.get("attachment"), None);
}

#[test]
fn filters_say_what_is_wanted() {
    let wanted = nodes(&filters(&["role=manager", "label=a", "label=b=c", "name=n", "id=x"]));
    let wanted = wanted.unwrap();
    assert_eq!(wanted.roles, [i32::from(NodeRole::Manager)]);
    assert_eq!(
        wanted.node_labels.into_iter().collect::<Vec<_>>(),
        [("a".to_owned(), String::new()), ("b".to_owned(), "c".to_owned())]
    );
    assert_eq!((wanted.names, wanted.id_prefixes), (vec!["n".to_owned()], vec!["x".to_owned()]));
    assert_eq!(services(&filters(&["runtime=container"])).unwrap().runtimes, ["container"]);
    assert_eq!(clusters(&filters(&["name=default"])).unwrap().names, ["default"]);
}

#[test]
fn wrong_filters_are_told_with_what_is_right() {
    for wrong in ["name", "=x", ""] {
        let error = wrong.parse::<Filter>().unwrap_err();
        assert_eq!(error.to_string(), "a filter has the form key=value");
    }
    let error = services(&filters(&["mode=global"])).unwrap_err().to_string();
    assert_eq!(error, "unknown filter \"mode\": must be one of id, label, name, runtime");
    let error = nodes(&filters(&["role=boss"])).unwrap_err().to_string();
    assert_eq!(error, "invalid value \"boss\" for filter role: must be manager or worker");
}

#[test]
#[expect(deprecated, reason = "a cluster may have been set up by an old client")]
fn secrets_are_not_shown() {
    use protocol::wire::{
        AcceptancePolicy, ClusterSpec, Service, ServiceSpec,
        acceptance_policy::{RoleAdmissionPolicy, role_admission_policy::Secret},
        container_spec::PullOptions,
    };
    let pull_options = Some(PullOptions { registry_auth: "password".to_owned() });
    let container = ContainerSpec { pull_options, ..ContainerSpec::default() };
    let task = TaskSpec { runtime: Some(Runtime::Container(container)), ..TaskSpec::default() };
    let spec = Some(ServiceSpec { task: Some(task), ..ServiceSpec::default() });
    let service = Service { spec: spec.clone(), previous_spec: spec, ..Service::default() };
    let shown = as_json::of("Service", &service);
    for spec in ["spec", "previous_spec"] {
        assert_eq!(shown[spec]["task"]["container"]["pull_options"], json!({}), "{spec}");
    }
    let secret = Some(Secret { data: b"hash".to_vec().into(), alg: "bcrypt".to_owned() });
    let policies = vec![RoleAdmissionPolicy { secret, ..RoleAdmissionPolicy::default() }];
    let acceptance_policy = Some(AcceptancePolicy { policies });
    let spec = ClusterSpec { acceptance_policy, ..ClusterSpec::default() };
    let shown = as_json::of("ClusterSpec", &spec);
    let secret = &shown["acceptance_policy"]["policies"][0]["secret"];
    assert_eq!(*secret, json!({ "alg": "bcrypt" }));
}
