//! Whatever happens in whatever order: nothing is handed out twice, and the store alone says what is
//! in use.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};
use protocol::objects::Kind;

use super::*;

/// What may happen to a small cluster; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Event {
    Network(u8, u8),
    RemoveNetwork(u8),
    Service(u8, Vec<u32>, Vec<u8>),
    UpdateService(u8, Vec<u32>, Vec<u8>),
    RemoveService(u8),
    Task(u8, u8, Vec<u8>),
    Place(u8, u8),
    End(u8),
    RemoveTask(u8),
    Node(u8),
    RemoveNode(u8),
    Restart,
    /// Decide, and let a part of it be written.
    Allocate(u8, bool),
}

fn event() -> impl Strategy<Value = Event> {
    let few = || vec(0_u8..4, 0..3);
    let ports = || vec(prop_oneof![Just(0_u32), 30_000_u32..30_003, 80_u32..82], 0..4);
    prop_oneof![
        (0_u8..4, 0_u8..5).prop_map(|(id, kind)| Event::Network(id, kind)),
        (0_u8..4).prop_map(Event::RemoveNetwork),
        (0_u8..4, ports(), few()).prop_map(|(id, ports, nets)| Event::Service(id, ports, nets)),
        (0_u8..4, ports(), few())
            .prop_map(|(id, ports, nets)| Event::UpdateService(id, ports, nets)),
        (0_u8..4).prop_map(Event::RemoveService),
        (0_u8..8, 0_u8..5, few()).prop_map(|(id, service, nets)| Event::Task(id, service, nets)),
        (0_u8..8, 0_u8..3).prop_map(|(id, node)| Event::Place(id, node)),
        (0_u8..8).prop_map(Event::End),
        (0_u8..8).prop_map(Event::RemoveTask),
        (0_u8..3).prop_map(Event::Node),
        (0_u8..3).prop_map(Event::RemoveNode),
        Just(Event::Restart),
        (1_u8..20, any::<bool>()).prop_map(|(count, written)| Event::Allocate(count, written)),
        (1_u8..20, any::<bool>()).prop_map(|(count, written)| Event::Allocate(count, written)),
    ]
}

fn ids(prefix: &str, numbers: &[u8]) -> Vec<String> {
    numbers.iter().map(|number| format!("{prefix}{number}")).collect()
}

fn wished(id: u8, published: &[u32], networks: &[u8]) -> Service {
    let ports = published.iter().zip(1..).map(|(published, target)| port("p", target, *published));
    let networks = ids("n", networks);
    let networks: Vec<_> = networks.iter().map(String::as_str).collect();
    service(&format!("s{id}"), &ports.collect::<Vec<_>>(), &networks)
}

fn created(rig: &mut Rig, object: impl Into<Object>) {
    let object = object.into();
    if rig.view.get(object.kind(), object.id()).is_none() {
        rig.commit(|head| head.create(object).unwrap());
    }
}

fn removed(rig: &mut Rig, kind: Kind, id: &str) {
    let id = protocol::id::Id::from(id);
    if rig.view.get(kind, &id).is_some() {
        rig.commit(|head| head.remove(kind, &id).unwrap());
    }
}

fn changed_task(rig: &mut Rig, id: u8, change: impl FnOnce(&mut Task)) {
    if let Some(task) = rig.view.task(&(&*format!("t{id}")).into()) {
        let mut task = Task::clone(task);
        change(&mut task);
        rig.commit(|head| head.update(task).unwrap());
    }
}

fn happen(rig: &mut Rig, event: Event) {
    match event {
        Event::Network(id, kind) => {
            let id = format!("n{id}");
            let network = match kind {
                0 => ingress(&id),
                1 => configured(&id, &[("10.9.0.0/29", "", "")]),
                2 => driven(&id, "bridge"),
                _ => overlay(&id),
            };
            created(rig, network);
        }
        Event::RemoveNetwork(id) => removed(rig, Kind::Network, &format!("n{id}")),
        Event::Service(id, ports, networks) => created(rig, wished(id, &ports, &networks)),
        Event::UpdateService(id, ports, networks) => {
            if let Some(service) = rig.view.service(&(&*format!("s{id}")).into()) {
                let spec = wished(id, &ports, &networks).spec;
                let service = Service { spec, ..Service::clone(service) };
                rig.commit(|head| head.update(service).unwrap());
            }
        }
        Event::RemoveService(id) => removed(rig, Kind::Service, &format!("s{id}")),
        Event::Task(id, service, networks) => {
            let service = if service == 4 { String::new() } else { format!("s{service}") };
            let networks = ids("n", &networks);
            let networks: Vec<_> = networks.iter().map(String::as_str).collect();
            created(rig, attached(&format!("t{id}"), &service, &networks));
        }
        Event::Place(id, node) => changed_task(rig, id, |task| {
            if task.status.state == TaskState::PENDING {
                task.node_id = format!("m{node}").into();
                task.status.state = TaskState::ASSIGNED;
            }
        }),
        Event::End(id) => changed_task(rig, id, |task| task.status.state = TaskState::FAILED),
        Event::RemoveTask(id) => removed(rig, Kind::Task, &format!("t{id}")),
        Event::Node(id) => created(rig, node(&format!("m{id}"))),
        Event::RemoveNode(id) => removed(rig, Kind::Node, &format!("m{id}")),
        Event::Restart => *rig = rig.restarted(),
        Event::Allocate(count, is_written) => {
            let view = rig.view.clone();
            let decisions = rig.board.decide(&view, NOW, count.into()).decisions;
            if is_written {
                let mut failed = Vec::new();
                rig.commit(|head| failed = write(head, decisions).unwrap());
                assert!(failed.is_empty());
            } else {
                rig.board.failed(decisions.iter().map(|decision| decision.decided()));
            }
        }
    }
}

/// Everything that the objects of a store have, and panics where two have the same.
fn check_unique(view: &View) {
    let mut seen = BTreeSet::new();
    let mut see = |what: String| assert!(seen.insert(what.clone()), "{what} is in use twice");
    for network in view.networks() {
        let ipam = network.body.ipam.iter().flat_map(|ipam| &ipam.configs);
        ipam.for_each(|config| see(format!("{} {}/", network.id, config.gateway)));
        let driver = network.body.driver_state.iter();
        driver.flat_map(|driver| driver.options.values()).for_each(|id| see(format!("vxlan {id}")));
    }
    for service in view.services() {
        for endpoint in service.endpoint.iter() {
            let published = endpoint.ports.iter().filter(|port| port.publish_mode == 0);
            published.for_each(|port| see(format!("port {}", port.published_port)));
            for address in endpoint.virtual_ips.iter().filter(|address| !address.addr.is_empty()) {
                see(format!("{} {}", address.network_id, address.addr));
            }
        }
    }
    let tasks = view.tasks().filter(|task| task.status.state <= TaskState::RUNNING);
    let places = tasks.flat_map(|task| task.networks.iter());
    let places = places.chain(view.nodes().flat_map(|node| &node.rest.attachments));
    for place in places {
        let id = place.network.as_ref().map_or("", |network| &network.id);
        place.addresses.iter().for_each(|address| see(format!("{id} {address}")));
    }
}

/// All that was given, without what is told.
fn given(view: &View) -> Vec<String> {
    let networks = view.networks().map(|one| format!("{} {:?}", one.id, one.body));
    let services = view.services().map(|one| format!("{} {:?}", one.id, one.endpoint));
    let nodes = view.nodes().map(|one| format!("{} {:?}", one.id, one.rest));
    let tasks =
        view.tasks().map(|one| format!("{} {} {:?}", one.id, one.status.state, one.networks));
    networks.chain(services).chain(nodes).chain(tasks).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_handed_out_twice_and_following_is_counting(events in vec(event(), 0..60)) {
        let mut rig = Rig::new([]);
        for event in events {
            happen(&mut rig, event);
            rig.board.verify();
        }
        rig.settle();
        check_unique(&rig.view);
        // Whatever waits waits rightly: at most it is told something else that it lacks.
        let before = given(&rig.view);
        rig.board.retry();
        rig.settle();
        prop_assert_eq!(before, given(&rig.view));
        // Deciding again, by itself or by a new leader, changes nothing.
        rig.board.retry();
        prop_assert_eq!(rig.settle(), 0);
        let mut fresh = rig.restarted();
        prop_assert_eq!(fresh.settle(), 0);
    }
}

#[test]
fn the_same_history_gives_the_same_numbers() {
    let run = || {
        let mut rig = Rig::new([ingress("i").into(), overlay("n").into(), node("m").into()]);
        rig.create((0..20).map(|number| wished(number, &[0, 0], &[]).into()));
        rig.create((0..20).map(|number| attached(&format!("t{number}"), "", &["n"]).into()));
        rig.view
    };
    assert_eq!(run(), run());
}
