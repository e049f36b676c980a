//! The filters, one by one, and their words (`scheduler-and-allocator` §3).

use super::*;

/// A node that fails, and the words for it alone and for three like it; `row` is that of the table
/// of §3.
#[track_caller]
fn check(row: &str, node: impl Fn(&str) -> Node, task: &Task, (one, three): (&str, &str)) {
    assert!(!fits(node("a"), task), "{row}");
    let told = outcome([node("a").into(), task.clone().into()]);
    assert_eq!(told, [format!("no suitable node ({one})")], "{row}");
    let nodes = ["a", "b", "c"].map(|id| node(id).into());
    let told = outcome(nodes.into_iter().chain([task.clone().into()]));
    assert_eq!(told, [format!("no suitable node ({three})")], "{row}");
}

const UNREADY: (&str, &str) =
    ("1 node not available for new tasks", "3 nodes not available for new tasks");
const SCARCE: (&str, &str) =
    ("insufficient resources on 1 node", "insufficient resources on 3 nodes");
const UNPLUGGED: (&str, &str) = ("missing plugin on 1 node", "missing plugin on 3 nodes");
const CONSTRAINED: (&str, &str) = (
    "scheduling constraints not satisfied on 1 node",
    "scheduling constraints not satisfied on 3 nodes",
);
const FOREIGN: (&str, &str) = ("unsupported platform on 1 node", "unsupported platform on 3 nodes");

fn placing(id: &str, placement: wire::Placement) -> Task {
    asking(id, |spec| spec.placement = Some(placement))
}

fn constrained(expressions: &[&str]) -> Task {
    let constraints = expressions.iter().map(|text| (*text).to_owned()).collect();
    placing("t", wire::Placement { constraints, ..Default::default() })
}

fn silent(id: &str) -> Node {
    node(id, |node| node.description = None)
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
    for unready in [State::Unknown, State::Down, State::Disconnected] {
        check("§3 row 1 ready: state", state(unready), &task("t"), UNREADY);
    }
    check("§3 row 1 ready: drained", |id| node(id, drained), &task("t"), UNREADY);
    let paused = |node: &mut wire::Node| {
        node.spec.as_mut().expect("a spec").availability = Availability::Pause.into();
    };
    check("§3 row 1 ready: paused", |id| node(id, paused), &task("t"), UNREADY);
}

#[test]
fn resources() {
    let row = "§3 row 2 resource: processors";
    check(row, plain, &reserving("t", 2_000_000_001, 0), SCARCE);
    check("§3 row 2 resource: memory", plain, &reserving("t", 0, 4 * GIB + 1), SCARCE);
    assert!(fits(plain("a"), &reserving("t", 2_000_000_000, 4 * GIB)));
    check("§2 no description: no resources", silent, &reserving("t", 1, 0), SCARCE);
}

#[test]
fn a_node_with_less_than_nothing_runs_what_asks_for_nothing() {
    let shrunk = node("a", |node| {
        let description = node.description.as_mut().expect("a description");
        description.resources.as_mut().expect("resources").memory_bytes = GIB;
    });
    let on_it = running(reserving("x", 0, 2 * GIB), "a");
    let objects = |task: Task| [shrunk.clone().into(), on_it.clone().into(), task.into()];
    assert_eq!(outcome(objects(task("t"))), ["t@a"], "§3 row 2 is enabled by what is asked for");
    assert_eq!(outcome(objects(reserving("t", 1, 0))), ["t@a"]);
    let scarce = format!("no suitable node ({})", SCARCE.0);
    assert_eq!(outcome(objects(reserving("t", 0, 1))), [scarce]);
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
    check("runtime: a node of processes", plain, &image("redis:3.0.5"), (redis, redis));
    let engine = |id: &str| with_plugins(id, &[]);
    assert!(fits(engine("a"), &image("redis:3.0.5")), "nodes that announce none are engines");
    let host = "no node can run image host";
    check("runtime: an engine", engine, &image("host"), (host, host));
    for image_of_the_host in ["", "host:latest"] {
        assert!(fits(plain("a"), &image(image_of_the_host)));
    }
}

fn with_plugins(id: &str, plugins: &[(&str, &str)]) -> Node {
    let plugin = |(of, name): &(&str, &str)| wire::PluginDescription {
        r#type: (*of).to_owned(),
        name: (*name).to_owned(),
    };
    node(id, |node| {
        let description = node.description.as_mut().expect("a description");
        let engine = description.engine.as_mut().expect("an engine");
        engine.plugins = plugins.iter().map(plugin).collect();
    })
}

/// A task for an engine, changed by the test.
fn contained(change: impl FnOnce(&mut Task, &mut wire::ContainerSpec)) -> Task {
    let mut task = task("t");
    let mut container = wire::ContainerSpec { image: "redis".to_owned(), ..Default::default() };
    change(&mut task, &mut container);
    Arc::make_mut(&mut task.spec).runtime = Some(wire::task_spec::Runtime::Container(container));
    task
}

fn mounting(kind: wire::mount::Type, driver: &str) -> Task {
    let driver_config = Some(wire::Driver { name: driver.to_owned(), ..Default::default() });
    let options = wire::mount::VolumeOptions { driver_config, ..Default::default() };
    let mount =
        wire::Mount { r#type: kind.into(), volume_options: Some(options), ..Default::default() };
    contained(|_, container| container.mounts.push(mount))
}

fn attached(driver: Option<&str>) -> Task {
    let driver_state =
        driver.map(|name| wire::Driver { name: name.to_owned(), ..Default::default() });
    let network = Some(wire::Network { driver_state, ..Default::default() });
    let attachment = wire::NetworkAttachment { network, ..Default::default() };
    contained(|task, _| task.networks = [attachment].into())
}

fn on_ingress() -> Task {
    let driver_state = Some(wire::Driver { name: "overlay".to_owned(), ..Default::default() });
    let spec = Some(wire::NetworkSpec { ingress: true, ..Default::default() });
    let network = Some(wire::Network { driver_state, spec, ..Default::default() });
    let attachment = wire::NetworkAttachment { network, ..Default::default() };
    contained(|task, _| task.networks = [attachment].into())
}

fn logging(driver: &str) -> Task {
    let driver = wire::Driver { name: driver.to_owned(), ..Default::default() };
    contained(|task, _| Arc::make_mut(&mut task.spec).log_driver = Some(driver))
}

/// A row of §3.1, the plugins of a node, and a task.
type Row = (&'static str, &'static [(&'static str, &'static str)], Task);

#[test]
fn plugins() {
    let volume = wire::mount::Type::Volume;
    let none: &[(&str, &str)] = &[];
    let missing: [Row; 8] = [
        ("§3.1 a volume's driver", none, mounting(volume, "flocker")),
        ("§3.1 of another type", &[("Network", "flocker")], mounting(volume, "flocker")),
        ("§3.1 a longer name", &[("Volume", "flocker2")], mounting(volume, "flocker")),
        ("§3.1 another tag", &[("Volume", "flocker:2")], mounting(volume, "flocker")),
        ("§3.1 latest in the task", &[("Volume", "x")], mounting(volume, "x:latest")),
        ("§3.1 a network's driver", &[("Network", "bridge")], attached(Some("overlay"))),
        ("§3.1 a log driver", &[("Log", "json-file")], logging("gelf")),
        ("§3.1 a log driver of another type", &[("Log", "x"), ("Volume", "gelf")], logging("gelf")),
    ];
    for (row, plugins, task) in missing {
        check(row, |id| with_plugins(id, plugins), &task, UNPLUGGED);
    }
    let there: [Row; 12] = [
        ("§3.1 exactly", &[("Volume", "flocker")], mounting(volume, "flocker")),
        ("§3.1 with :latest", &[("Volume", "flocker:latest")], mounting(volume, "flocker")),
        ("§3.1 local volumes need none", none, mounting(volume, "local")),
        ("§3.1 nor does no driver", none, mounting(volume, "")),
        ("§3.1 nor do binds", none, mounting(wire::mount::Type::Bind, "flocker")),
        ("§3.1 a network", &[("Network", "overlay")], attached(Some("overlay"))),
        ("§3.1 without driver state", none, attached(None)),
        ("the ingress network needs none", none, on_ingress()),
        ("§3.1 a log driver", &[("Log", "gelf")], logging("gelf")),
        ("§3.1 the log driver none", &[("Log", "x")], logging("none")),
        ("§3.1 the default log driver", &[("Log", "x")], logging("")),
        ("§3.1 an old engine lists no log drivers", &[("Volume", "x")], logging("gelf")),
    ];
    for (row, plugins, task) in there {
        assert!(fits(with_plugins("a", plugins), &task), "{row}");
    }
    let undescribed = node("a", |node| {
        node.description.as_mut().expect("a description").engine = None;
    });
    assert!(fits(undescribed, &mounting(volume, "flocker")), "§3.1 no engine description");
}

#[test]
fn constraints() {
    let row = "§3 row 4 constraint: a label that is not there";
    check(row, plain, &constrained(&["node.labels.disk == ssd"]), CONSTRAINED);
    let row = "§3 row 4 constraint: all must hold";
    let both = constrained(&["node.platform.os == linux", "node.hostname == no"]);
    check(row, plain, &both, CONSTRAINED);
    assert!(fits(plain("a"), &constrained(&["node.hostname == HOST-A", "node.id != b"])));
    assert!(fits(plain("a"), &constrained(&["this is none"])), "what does not parse is ignored");
}

#[test]
fn platform() {
    let on = |architecture: &str, os: &str| {
        let platform = wire::Platform { architecture: architecture.to_owned(), os: os.to_owned() };
        placing("t", wire::Placement { platforms: vec![platform], ..Default::default() })
    };
    check("§3 row 5 platform: architecture", plain, &on("arm64", "linux"), FOREIGN);
    check("§3 row 5 platform: system", plain, &on("amd64", "windows"), FOREIGN);
    check("§3 row 5 platform: not described", silent, &on("", "linux"), FOREIGN);
    for (architecture, os) in [("amd64", "linux"), ("x86_64", ""), ("", "linux"), ("", "")] {
        assert!(fits(plain("a"), &on(architecture, os)), "§3 {architecture}/{os}");
    }
    let arm = node("a", |node| {
        let description = node.description.as_mut().expect("a description");
        description.platform.as_mut().expect("a platform").architecture = "aarch64".to_owned();
    });
    assert!(fits(arm, &on("arm64", "")), "§3 both spellings of one architecture");
    let any = |wanted: [(&str, &str); 2]| {
        let platform = |(architecture, os): (&str, &str)| wire::Platform {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
        };
        let platforms = wanted.map(platform).to_vec();
        placing("t", wire::Placement { platforms, ..Default::default() })
    };
    assert!(fits(plain("a"), &any([("arm64", "linux"), ("amd64", "linux")])), "§3 any of them");
}

#[test]
fn host_ports() {
    let words =
        ("host-mode port already in use on 1 node", "host-mode port already in use on 3 nodes");
    let objects = |count: usize, task: Task| {
        let ids = ["a", "b", "c"].into_iter().take(count);
        let used = ids.flat_map(|id| {
            let user = running(publishing(&format!("on-{id}"), 80), id);
            [Object::from(plain(id)), user.into()]
        });
        used.chain([task.into()]).collect::<Vec<_>>()
    };
    let told = |words: &str| [format!("no suitable node ({words})")];
    assert_eq!(outcome(objects(3, publishing("t", 80))), told(words.1), "§3 row 6 host port");
    assert_eq!(outcome(objects(1, publishing("t", 80))), told(words.0), "§3 row 6 host port");
    assert_eq!(outcome(objects(3, publishing("t", 81))), ["t@a"]);
    assert_eq!(outcome(objects(3, publishing("t", 0))), ["t@a"], "§3 row 6: published ≠ 0");
    let change = |task: Task, change: fn(&mut wire::PortConfig)| {
        let mut endpoint = (**task.endpoint.as_ref().expect("an endpoint")).clone();
        change(&mut endpoint.ports[0]);
        Task { endpoint: Some(Arc::new(endpoint)), ..task }
    };
    let udp = change(publishing("t", 80), |port| {
        port.protocol = wire::port_config::Protocol::Udp.into();
    });
    assert_eq!(outcome(objects(3, udp)), ["t@a"], "§3 row 6: the protocol is part of the key");
    let ingress = change(publishing("t", 80), |port| {
        port.publish_mode = wire::port_config::PublishMode::Ingress.into();
    });
    assert_eq!(outcome(objects(3, ingress)), ["t@a"], "§3 row 6: host mode alone");
}

#[test]
fn two_of_a_group_do_not_share_a_host_port() {
    let nodes = [plain("a").into(), plain("b").into()];
    let tasks = ["1", "2", "3"].map(|id| publishing(id, 80).into());
    let told = outcome(nodes.into_iter().chain(tasks));
    let full = "no suitable node (host-mode port already in use on 2 nodes)";
    assert_eq!(told, ["1@a", "2@b", full]);
}

#[test]
fn max_replicas() {
    let limited = |id: &str| placing(id, wire::Placement { max_replicas: 1, ..Default::default() });
    let nodes = [plain("a").into(), plain("b").into()];
    let told = outcome(nodes.into_iter().chain(["1", "2", "3"].map(|id| limited(id).into())));
    let full = "no suitable node (max replicas per node limit exceed)";
    assert_eq!(told, ["1@a", "2@b", full], "§3 row 7 max replicas");
    let stopping = Task { desired_state: TaskState::SHUTDOWN, ..running(limited("x"), "a") };
    let told = outcome([plain("a").into(), stopping.into(), limited("t").into()]);
    assert_eq!(told, ["t@a"], "§3 row 7: only active tasks count");
}

#[test]
fn the_first_filter_that_fails_counts() {
    let out_of_all = node("a", |node| {
        drained(node);
        node.description = None;
    });
    let both = asking("t", |spec| {
        let mut reserving = reserving("", i64::MAX, 0).spec;
        spec.resources = Arc::make_mut(&mut reserving).resources.take();
        let constraints = vec!["node.id == none".to_owned()];
        spec.placement = Some(wire::Placement { constraints, ..Default::default() });
    });
    let told = |node: Node| outcome([node.into(), both.clone().into()]);
    let unready = format!("no suitable node ({})", UNREADY.0);
    assert_eq!(told(out_of_all), [unready], "§3: ready before resource");
    let scarce = format!("no suitable node ({})", SCARCE.0);
    assert_eq!(told(plain("a")), [scarce], "§3: resource before constraint");
}

#[test]
fn the_most_frequent_reason_comes_first_then_the_earlier_filter() {
    let unready = node("a", drained).into();
    let nodes = [unready, silent("b").into(), silent("c").into()];
    let task: Object = reserving("t", 1, 0).into();
    let told = outcome(nodes.clone().into_iter().chain([task.clone()]));
    let two_and_one = "insufficient resources on 2 nodes; 1 node not available for new tasks";
    assert_eq!(told, [format!("no suitable node ({two_and_one})")], "§3.2 by count");
    let told = outcome(nodes.into_iter().take(2).chain([task]));
    let one_each = "1 node not available for new tasks; insufficient resources on 1 node";
    assert_eq!(told, [format!("no suitable node ({one_each})")], "§3.2 ties by filter");
    assert_eq!(outcome([super::task("t").into()]), ["no suitable node"], "§7: no explanation");
}
