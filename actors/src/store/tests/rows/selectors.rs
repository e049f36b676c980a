//! §2: who may be asked for by what, what is found, and in which order.

use protocol::{
    id::{ConfigId, NetworkId, SecretId, VolumeId},
    objects::{TaskState, Volume},
    wire::task_spec::Runtime,
};

use super::*;

/// One selector of each sort, and the kinds that may be asked for by it.
fn sorts() -> Vec<(Selector, Vec<Kind>)> {
    let text = || "x".to_owned();
    let all = Kind::ALL.to_vec();
    let named = all.iter().copied().filter(|kind| *kind != Kind::Extension).collect();
    let specs = vec![Kind::Service, Kind::Task];
    vec![
        (Selector::All, all.clone()),
        (Selector::IdPrefix(text()), all.clone()),
        (Selector::Name(text()), all.clone()),
        (Selector::Custom(text(), text()), all.clone()),
        (Selector::CustomPrefix(text(), text()), all),
        (Selector::NamePrefix(text()), named),
        (Selector::Role(0), vec![Kind::Node]),
        (Selector::Membership(0), vec![Kind::Node]),
        (Selector::Runtime(text()), specs.clone()),
        (Selector::Service(ServiceId::from("x")), vec![Kind::Task]),
        (Selector::Node(NodeId::from("x")), vec![Kind::Task]),
        (Selector::Slot(ServiceId::from("x"), 1), vec![Kind::Task]),
        (Selector::DesiredState(TaskState::RUNNING), vec![Kind::Task]),
        (Selector::State(TaskState::RUNNING), vec![Kind::Task]),
        (Selector::VolumeAttachment(VolumeId::from("x")), vec![Kind::Task]),
        (Selector::Network(NetworkId::from("x")), specs.clone()),
        (Selector::Secret(SecretId::from("x")), specs.clone()),
        (Selector::Config(ConfigId::from("x")), specs),
        (Selector::VolumeGroup(text()), vec![Kind::Volume]),
        (Selector::Driver(text()), vec![Kind::Volume]),
        (Selector::Kind(text()), vec![Kind::Resource]),
    ]
}

#[test]
fn a_kind_is_asked_for_by_what_it_has() {
    let view = volcanoes();
    for (selector, kinds) in sorts() {
        for kind in Kind::ALL {
            let found = view.find(kind, &[Selector::All, selector.clone()]);
            let refused = found.err();
            let expected = (!kinds.contains(&kind)).then_some(WrongSelector);
            assert_eq!(refused, expected, "{kind:?} by {selector:?}");
        }
    }
}

fn annotated(name: &str, indices: &[(&str, &str)]) -> wire::Annotations {
    let entry =
        |(key, val): &(&str, &str)| wire::IndexEntry { key: (*key).into(), val: (*val).into() };
    wire::Annotations { indices: indices.iter().map(entry).collect(), ..named(name) }
}

fn networks(targets: &[&str]) -> Vec<wire::NetworkAttachmentConfig> {
    let network = |target: &&str| wire::NetworkAttachmentConfig {
        target: (*target).to_owned(),
        ..Default::default()
    };
    targets.iter().map(network).collect()
}

fn container(secret: &str, config: &str, nets: &[&str]) -> wire::TaskSpec {
    let secret = wire::SecretReference { secret_id: secret.into(), ..Default::default() };
    let config = wire::ConfigReference { config_id: config.into(), ..Default::default() };
    let container =
        wire::ContainerSpec { secrets: vec![secret], configs: vec![config], ..Default::default() };
    // What a resource reference names is not looked at.
    let other = wire::ResourceReference {
        resource_id: "other".into(),
        resource_type: wire::ResourceType::Secret.into(),
    };
    wire::TaskSpec {
        runtime: Some(Runtime::Container(container)),
        networks: networks(nets),
        resource_references: vec![other],
        ..Default::default()
    }
}

fn service_with(id: &str, annotations: wire::Annotations, task: Option<wire::TaskSpec>) -> Object {
    let spec = wire::ServiceSpec { annotations: Some(annotations), task, ..Default::default() };
    Service::from(wire::Service { id: id.into(), spec: Some(spec), ..Default::default() }).into()
}

#[expect(deprecated, reason = "services that others have made may still have it")]
fn service_of_old(id: &str, task: &[&str], own: &[&str]) -> Object {
    let spec = wire::ServiceSpec {
        task: Some(wire::TaskSpec { networks: networks(task), ..Default::default() }),
        networks: networks(own),
        ..Default::default()
    };
    Service::from(wire::Service { id: id.into(), spec: Some(spec), ..Default::default() }).into()
}

fn node(id: &str, hostname: Option<&str>, role: i32, membership: i32) -> Object {
    let hostname = hostname.map(ToOwned::to_owned);
    let description =
        hostname.map(|hostname| wire::NodeDescription { hostname, ..Default::default() });
    let spec = Some(wire::NodeSpec { membership, ..Default::default() });
    let id = id.to_owned();
    Node::from(wire::Node { id, spec, description, role, ..Default::default() }).into()
}

fn volume(id: &str, name: &str, group: &str, driver: &str) -> Object {
    let spec = wire::VolumeSpec {
        annotations: Some(named(name)),
        group: group.to_owned(),
        driver: Some(wire::Driver { name: driver.to_owned(), ..Default::default() }),
        ..Default::default()
    };
    Volume::from(wire::Volume { id: id.into(), spec: Some(spec), ..Default::default() }).into()
}

/// A store with something to find for every selector.
fn world() -> View {
    let placed = |id: &str, service: &str, slot, node: &str, states: (TaskState, TaskState)| {
        let mut task = task(id, service, slot, node);
        task.desired_state = states.0;
        task.status.state = states.1;
        task.service_annotations = Arc::new(named("Web"));
        task
    };
    let mut first = placed("t2", "s1", 2, "n1", (TaskState::RUNNING, TaskState::RUNNING));
    first.spec = Arc::new(container("secret", "config", &["net"]));
    first.volumes =
        [wire::VolumeAttachment { id: "v1".to_owned(), ..Default::default() }].as_slice().into();
    // An allocated attachment is no reference: so the ingress network is in use by nobody.
    let ingress = wire::Network { id: "ingress".to_owned(), ..Default::default() };
    first.networks = [wire::NetworkAttachment { network: Some(ingress), ..Default::default() }]
        .as_slice()
        .into();
    let mut second = placed("t1", "s1", 10, "n2", (TaskState::SHUTDOWN, TaskState::FAILED));
    second.annotations = Some(Arc::new(annotated("apart", &[("tier", "back")])));
    let third = placed("u1", "s2", 2, "n1", (TaskState::RUNNING, TaskState::PENDING));
    let generic = wire::GenericRuntimeSpec { kind: "Wasm".to_owned(), payload: None };
    let generic = wire::TaskSpec { runtime: Some(Runtime::Generic(generic)), ..Default::default() };
    let indexed = annotated("Web", &[("tier", "front"), ("tier", "fringe"), ("Rank", "1")]);
    with(vec![
        extension("e1", "Volcano").into(),
        resource("r2", "etna", "Volcano").into(),
        resource("r1", "fuji", "Volcano").into(),
        service_with("s1", indexed, Some(container("secret", "config", &["net"]))),
        service_with("s2", annotated("webcam", &[("tier", "fat")]), Some(generic)),
        service_with("s0", named("db"), None),
        service_of_old("s3", &[], &["net"]),
        service_of_old("s4", &["other"], &["net"]),
        node("n2", Some("Host"), 1, 1),
        node("n1", Some("host"), 0, 1),
        node("n3", None, 0, 0),
        volume("v2", "data", "disks", "csi"),
        volume("v1", "logs", "disks", "local"),
        first.into(),
        second.into(),
        third.into(),
    ])
}

#[track_caller]
fn check(view: &View, kind: Kind, selectors: &[Selector], expected: &str) {
    let found = view.find(kind, selectors).unwrap();
    let ids: Vec<_> = found.iter().map(|object| object.id().as_str()).collect();
    assert_eq!(ids.join(" "), expected, "{kind:?} by {selectors:?}");
}

#[test]
fn selectors_find_what_they_name() {
    let view = world();
    let text = ToOwned::to_owned;
    let custom = |key: &str, value: &str| Selector::Custom(key.to_owned(), value.to_owned());
    let prefix = |key: &str, value: &str| Selector::CustomPrefix(key.to_owned(), value.to_owned());
    let slot = |service: &str, slot| Selector::Slot(ServiceId::from(service), slot);
    for (kind, selector, expected) in [
        (Kind::Service, Selector::All, "s0 s1 s2 s3 s4"),
        (Kind::Task, Selector::IdPrefix(text("t")), "t1 t2"),
        (Kind::Task, Selector::IdPrefix(text("")), "t1 t2 u1"),
        (Kind::Task, Selector::IdPrefix(text("t1x")), ""),
        (Kind::Service, Selector::Name(text("wEB")), "s1"),
        (Kind::Service, Selector::Name(text("we")), ""),
        (Kind::Node, Selector::Name(text("HOST")), "n1 n2"),
        (Kind::Node, Selector::Name(text("")), ""),
        (Kind::Task, Selector::Name(text("apart")), "t1"),
        (Kind::Task, Selector::Name(text("web.2.T2")), "t2"),
        (Kind::Extension, Selector::Name(text("volcano")), "e1"),
        (Kind::Service, Selector::NamePrefix(text("WEB")), "s1 s2"),
        (Kind::Service, Selector::NamePrefix(text("eb")), ""),
        (Kind::Task, Selector::NamePrefix(text("web.")), "t2 u1"),
        (Kind::Service, custom("tier", "front"), "s1"),
        (Kind::Service, custom("tier", "fr"), ""),
        (Kind::Service, custom("rank", "1"), ""),
        (Kind::Task, custom("tier", "back"), "t1"),
        (Kind::Service, prefix("tier", "fr"), "s1"),
        (Kind::Service, prefix("tier", "x"), ""),
        (Kind::Node, Selector::Role(0), "n1 n3"),
        (Kind::Node, Selector::Role(1), "n2"),
        (Kind::Node, Selector::Membership(1), "n1 n2"),
        (Kind::Service, Selector::Runtime(text("container")), "s1"),
        (Kind::Service, Selector::Runtime(text("wasm")), "s2"),
        (Kind::Service, Selector::Runtime(text("")), ""),
        (Kind::Task, Selector::Runtime(text("container")), "t2"),
        (Kind::Task, Selector::Service(ServiceId::from("s1")), "t1 t2"),
        (Kind::Task, Selector::Node(NodeId::from("n1")), "t2 u1"),
        (Kind::Task, Selector::Node(NodeId::default()), ""),
        (Kind::Task, slot("s1", 2), "t2"),
        (Kind::Task, slot("s1", 3), ""),
        (Kind::Task, Selector::DesiredState(TaskState::RUNNING), "t2 u1"),
        (Kind::Task, Selector::State(TaskState::RUNNING), "t2"),
        (Kind::Task, Selector::VolumeAttachment(VolumeId::from("v1")), "t2"),
        (Kind::Task, Selector::VolumeAttachment(VolumeId::from("v2")), ""),
        (Kind::Service, Selector::Network(NetworkId::from("net")), "s1 s3"),
        (Kind::Task, Selector::Network(NetworkId::from("net")), "t2"),
        (Kind::Task, Selector::Network(NetworkId::from("ingress")), ""),
        (Kind::Service, Selector::Secret(SecretId::from("secret")), "s1"),
        (Kind::Service, Selector::Secret(SecretId::from("other")), ""),
        (Kind::Task, Selector::Secret(SecretId::from("secret")), "t2"),
        (Kind::Service, Selector::Config(ConfigId::from("config")), "s1"),
        (Kind::Task, Selector::Config(ConfigId::from("config")), "t2"),
        (Kind::Volume, Selector::VolumeGroup(text("disks")), "v1 v2"),
        (Kind::Volume, Selector::VolumeGroup(text("disk")), ""),
        (Kind::Volume, Selector::Driver(text("csi")), "v2"),
        (Kind::Resource, Selector::Kind(text("Volcano")), "r1 r2"),
        (Kind::Resource, Selector::Kind(text("Geyser")), ""),
    ] {
        check(&view, kind, &[selector], expected);
    }
}

#[test]
fn results_are_in_the_order_of_what_is_compared_then_of_ids() {
    let view = world();
    for (kind, selector, expected) in [
        // Names in lower case, the nameless first.
        (Kind::Service, Selector::NamePrefix(String::new()), "s3 s4 s0 s1 s2"),
        (Kind::Node, Selector::NamePrefix(String::new()), "n1 n2"),
        // Values of the index; the lowest of an object counts.
        (Kind::Service, Selector::CustomPrefix("tier".into(), "f".into()), "s2 s1"),
        // Slots are not compared.
        (Kind::Task, Selector::Service(ServiceId::from("s1")), "t1 t2"),
    ] {
        check(&view, kind, &[selector], expected);
    }
}

#[test]
fn one_of_several_selectors_is_enough_and_the_first_wins() {
    let view = world();
    let name = |name: &str| Selector::Name(name.to_owned());
    check(&view, Kind::Service, &[name("webcam"), name("db"), name("web")], "s2 s0 s1");
    check(&view, Kind::Service, &[name("webcam"), Selector::All], "s2 s0 s1 s3 s4");
    check(&view, Kind::Service, &[], "");
}

#[test]
fn what_was_found_is_the_callers_to_change() {
    let view = world();
    let Some(Object::Service(mut found)) =
        view.find(Kind::Service, &[Selector::Name("db".to_owned())]).unwrap().pop()
    else {
        panic!("there is one");
    };
    Arc::make_mut(&mut found).pending_delete = true;
    assert!(!view.service_named("db").unwrap().pending_delete);
}

proptest! {
    /// Whatever an index answers, looking at everything gives the same.
    #[test]
    fn an_index_finds_what_filtering_finds(history in vec(step(), 0..40), probe in 0..8_u8) {
        let mut transaction = Transaction::begin(&View::default());
        history.iter().for_each(|step| take(&mut transaction, step));
        let view = transaction.seal(1, NOW).view;
        let text = probe.to_string();
        let node = NodeId::from(&*text);
        let ids = |kind, selector| {
            let found = view.find(kind, &[selector]).unwrap();
            found.iter().map(|object| object.id().to_string()).collect::<Vec<_>>()
        };
        let tasks = |fits: &dyn Fn(&Task) -> bool| {
            let fitting = view.tasks().filter(|task| fits(task));
            fitting.map(|task| task.id.to_string()).collect::<Vec<_>>()
        };
        let service = ServiceId::from("s");
        prop_assert_eq!(ids(Kind::Task, Selector::Node(node.clone())), tasks(&|t| t.node_id == node));
        prop_assert_eq!(ids(Kind::Task, Selector::Service(service.clone())), tasks(&|_| true));
        let slot = u64::from(probe);
        prop_assert_eq!(ids(Kind::Task, Selector::Slot(service, slot)), tasks(&|t| t.slot == slot));
        prop_assert_eq!(
            ids(Kind::Task, Selector::IdPrefix(text.clone())),
            tasks(&|task| task.id.as_str().starts_with(&*text))
        );
        let name = format!("nAmE{probe}");
        let named = view.secrets().filter(|secret| secret.name().to_lowercase() == name.to_lowercase());
        let named: Vec<_> = named.map(|secret| secret.id.to_string()).collect();
        prop_assert_eq!(ids(Kind::Secret, Selector::Name(name)), named);
    }
}
