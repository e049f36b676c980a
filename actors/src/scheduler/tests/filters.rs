//! The filters, one by one, and their words (`scheduler-and-allocator` §3).

use super::*;

/// A lone node that fails, and the words for it and for three like it.
#[track_caller]
fn check(node: impl Fn(&str) -> Node, task: &Task, one: &str, three: &str) {
    assert!(!fits(node("a"), task));
    let told = outcome([node("a").into()], std::slice::from_ref(task));
    assert_eq!(told, [format!("no suitable node ({one})")]);
    let nodes = ["a", "b", "c"].map(|id| node(id).into());
    let told = outcome(nodes, std::slice::from_ref(task));
    assert_eq!(told, [format!("no suitable node ({three})")]);
}

fn constrained(expressions: &[&str]) -> Task {
    let constraints = expressions.iter().map(|text| (*text).to_owned()).collect();
    asking("t", |spec| {
        spec.placement = Some(wire::Placement { constraints, ..Default::default() });
    })
}

#[test]
fn a_plain_task_fits_a_plain_node() {
    assert!(fits(plain("a"), &task("t")));
}

#[test]
fn ready() {
    let state = |state: State| {
        move |id: &str| {
            node(id, |node| {
                node.status = Some(wire::NodeStatus { state: state.into(), ..Default::default() });
            })
        }
    };
    let (one, three) =
        ("1 node not available for new tasks", "3 nodes not available for new tasks");
    for unready in [State::Unknown, State::Down, State::Disconnected] {
        check(state(unready), &task("t"), one, three);
    }
    check(|id| node(id, drained), &task("t"), one, three);
    let paused = |node: &mut wire::Node| {
        node.spec.as_mut().expect("a spec").availability = Availability::Pause.into();
    };
    check(|id| node(id, paused), &task("t"), one, three);
}

#[test]
fn resources() {
    let (one, three) = ("insufficient resources on 1 node", "insufficient resources on 3 nodes");
    check(plain, &reserving("t", 2_000_000_001, 0), one, three);
    check(plain, &reserving("t", 0, 4 * GIB + 1), one, three);
    assert!(fits(plain("a"), &reserving("t", 2_000_000_000, 4 * GIB)));
    let silent = |id: &str| node(id, |node| node.description = None);
    check(silent, &reserving("t", 1, 0), one, three);
}

fn generic(kind: &str, value: i64) -> wire::GenericResource {
    use wire::generic_resource::Resource::DiscreteResourceSpec;
    let counted = wire::DiscreteGenericResource { kind: kind.to_owned(), value };
    wire::GenericResource { resource: Some(DiscreteResourceSpec(counted)) }
}

fn named(kind: &str, value: &str) -> wire::GenericResource {
    use wire::generic_resource::Resource::NamedResourceSpec;
    let named = wire::NamedGenericResource { kind: kind.to_owned(), value: value.to_owned() };
    wire::GenericResource { resource: Some(NamedResourceSpec(named)) }
}

fn offering(id: &str, resources: Vec<wire::GenericResource>) -> Node {
    node(id, |node| {
        let description = node.description.as_mut().expect("a description");
        description.resources.as_mut().expect("resources").generic = resources;
    })
}

fn wanting(id: &str, resources: Vec<wire::GenericResource>) -> Task {
    let mut task = reserving(id, 0, 0);
    let spec = Arc::make_mut(&mut task.spec);
    let requirements = spec.resources.as_mut().expect("requirements");
    requirements.reservations.as_mut().expect("reservations").generic = resources;
    task
}

#[test]
fn generic_resources() {
    let (one, three) = ("insufficient resources on 1 node", "insufficient resources on 3 nodes");
    check(plain, &wanting("t", vec![generic("apple", 1)]), one, three);
    let three_apples = |id: &str| offering(id, vec![generic("apple", 3)]);
    assert!(fits(three_apples("a"), &wanting("t", vec![generic("apple", 3)])));
    check(three_apples, &wanting("t", vec![generic("apple", 4)]), one, three);
    let two_names = |id: &str| offering(id, vec![named("gpu", "x"), named("gpu", "y")]);
    assert!(fits(two_names("a"), &wanting("t", vec![generic("gpu", 2)])));
    check(two_names, &wanting("t", vec![generic("gpu", 3)]), one, three);
}

#[test]
fn a_generic_resource_is_assigned_by_name_and_once() {
    let view = with([offering("a", vec![named("gpu", "x"), named("gpu", "y")]).into()]);
    let mut nodes = Nodes::of(&view);
    let group = ["t1", "t2", "t3"].map(|id| wanting(id, vec![generic("gpu", 1)]));
    let decisions = placed(&mut nodes, &group);
    let assigned: Vec<_> =
        decisions.iter().map(|one| one.after.assigned_generic_resources.to_vec()).collect();
    assert_eq!(assigned, [vec![named("gpu", "x")], vec![named("gpu", "y")], vec![]]);
    assert_eq!(
        &*decisions[2].after.status.err,
        "no suitable node (insufficient resources on 1 node)"
    );
    let freed = Task {
        status: TaskStatus { state: TaskState::FAILED, ..TaskStatus::default() },
        ..(*decisions[0].after).clone()
    };
    assert!(
        nodes.replace(Some(&decisions[0].after), Some(&Arc::new(freed))),
        "there is room again"
    );
    let again = placed(&mut nodes, &group[2..]);
    assert_eq!(again[0].after.assigned_generic_resources.to_vec(), [named("gpu", "x")]);
}

#[test]
fn runtime() {
    let image = |image: &str| {
        let image = image.to_owned();
        asking("t", |spec| {
            let container = wire::ContainerSpec { image, ..Default::default() };
            spec.runtime = Some(wire::task_spec::Runtime::Container(container));
        })
    };
    let redis = "no node can run image redis:3.0.5";
    check(plain, &image("redis:3.0.5"), redis, redis);
    let engine = |id: &str| {
        node(id, |node| {
            let description = node.description.as_mut().expect("a description");
            description.engine.as_mut().expect("an engine").plugins.clear();
        })
    };
    assert!(fits(engine("a"), &image("redis:3.0.5")), "nodes that announce none are engines");
    check(engine, &image("host"), "no node can run image host", "no node can run image host");
    assert!(fits(plain("a"), &image("")));
}

#[test]
fn constraints() {
    let (one, three) = (
        "scheduling constraints not satisfied on 1 node",
        "scheduling constraints not satisfied on 3 nodes",
    );
    check(plain, &constrained(&["node.labels.disk == ssd"]), one, three);
    check(plain, &constrained(&["node.platform.os == linux", "node.hostname == no"]), one, three);
    assert!(fits(plain("a"), &constrained(&["node.hostname == HOST-A", "node.id != b"])));
    assert!(fits(plain("a"), &constrained(&["this is none"])), "what does not parse is ignored");
}

#[test]
fn platform() {
    let (one, three) = ("unsupported platform on 1 node", "unsupported platform on 3 nodes");
    let on = |architecture: &str, os: &str| {
        let platform = wire::Platform { architecture: architecture.to_owned(), os: os.to_owned() };
        asking("t", |spec| {
            spec.placement =
                Some(wire::Placement { platforms: vec![platform], ..Default::default() });
        })
    };
    check(plain, &on("arm64", "linux"), one, three);
    check(plain, &on("amd64", "windows"), one, three);
    check(|id| node(id, |node| node.description = None), &on("", "linux"), one, three);
    for (architecture, os) in [("amd64", "linux"), ("x86_64", ""), ("", "linux"), ("", "")] {
        assert!(fits(plain("a"), &on(architecture, os)), "{architecture}/{os}");
    }
}

#[test]
fn host_ports() {
    let (one, three) =
        ("host-mode port already in use on 1 node", "host-mode port already in use on 3 nodes");
    let mut objects: Vec<Object> = Vec::new();
    for id in ["a", "b", "c"] {
        objects.push(plain(id).into());
        objects.push(running(publishing(&format!("on-{id}"), 80), id).into());
    }
    assert_eq!(
        outcome(objects.clone(), &[publishing("t", 80)]),
        [format!("no suitable node ({three})")]
    );
    let alone = objects.iter().take(2).cloned();
    assert_eq!(outcome(alone, &[publishing("t", 80)]), [format!("no suitable node ({one})")]);
    assert_eq!(outcome(objects, &[publishing("t", 81)]), ["t@a"]);
}

#[test]
fn max_replicas() {
    let limited = |id: &str| {
        asking(id, |spec| {
            spec.placement = Some(wire::Placement { max_replicas: 1, ..Default::default() });
        })
    };
    let nodes = || [plain("a").into(), plain("b").into()];
    let told = outcome(nodes(), &[limited("1"), limited("2"), limited("3")]);
    assert_eq!(told, ["1@a", "2@b", "no suitable node (max replicas per node limit exceed)"]);
}

#[test]
fn the_most_frequent_reason_comes_first() {
    let nodes = [
        node("a", drained).into(),
        node("b", |node| node.description = None).into(),
        node("c", |node| node.description = None).into(),
    ];
    let told = outcome(nodes, &[reserving("t", 1, 0)]);
    assert_eq!(
        told,
        [
            "no suitable node (insufficient resources on 2 nodes; 1 node not available for new tasks)"
        ]
    );
    assert_eq!(outcome([], &[task("t")]), ["no suitable node"]);
}
