//! `scheduler-and-allocator` §13: virtual addresses of services.

use protocol::wire::endpoint_spec::ResolutionMode;

use super::*;

fn three_networks() -> [Object; 3] {
    [ingress("i").into(), overlay("a").into(), overlay("b").into()]
}

#[test]
fn one_virtual_address_per_network() {
    #[track_caller]
    fn check(row: &str, ports: &[PortConfig], networks: &[&str], wanted: &[&str]) {
        let mut rig = Rig::new(three_networks());
        rig.create([service("s", ports, networks).into()]);
        assert_eq!(rig.virtual_addresses("s"), wanted, "{row}");
        let service = rig.service("s");
        let endpoint = service.endpoint.as_ref();
        if ports.is_empty() && networks.is_empty() {
            assert_eq!(endpoint, None, "{row}");
        } else {
            assert_eq!(endpoint.map(|found| &found.spec), Some(&service.spec.endpoint), "{row}");
        }
        assert_eq!(rig.settle(), 0, "{row}");
    }
    check("nothing asked for, nothing given", &[], &[], &[]);
    check("spec order", &[], &["b", "a"], &["b 10.0.2.2/24", "a 10.0.1.2/24"]);
    check("twice the same is one", &[], &["a", "a"], &["a 10.0.1.2/24"]);
    let on_ingress = [port("p", 80, 80)];
    check("ingress", &on_ingress, &[], &["i 10.0.0.2/24"]);
    check("ingress first", &on_ingress, &["a"], &["i 10.0.0.2/24", "a 10.0.1.2/24"]);
    check("host ports need no ingress", &[on_host(port("p", 80, 80))], &[], &[]);
}

#[test]
fn old_clients_name_networks_elsewhere() {
    let mut old = service("s", &[], &[]);
    #[expect(deprecated, reason = "the field of old clients")]
    let networks = &mut Arc::make_mut(&mut old.spec).networks;
    networks.extend(asking(&["a"]));
    let rig = Rig::new(three_networks().into_iter().chain([old.into(), task("t", "s").into()]));
    assert_eq!(rig.virtual_addresses("s"), ["a 10.0.1.2/24"]);
    assert_eq!(rig.places("t"), ["a 10.0.1.3/24"]);
}

#[test]
fn a_network_of_each_node_has_an_entry_without_address() {
    let rig = Rig::new([driven("h", "host").into(), service("s", &[], &["h"]).into()]);
    assert_eq!(rig.virtual_addresses("s"), ["h "]);
}

#[test]
fn what_changes_with_the_spec() {
    let mut rig = Rig::new(three_networks());
    rig.create([service("s", &[port("p", 80, 80)], &["a"]).into()]);
    assert_eq!(rig.virtual_addresses("s"), ["i 10.0.0.2/24", "a 10.0.1.2/24"]);
    let set_networks = |spec: &mut ServiceSpec, networks: &[&str]| {
        spec.task.get_or_insert_default().networks = asking(networks);
    };
    rig.change_service("s", |spec| set_networks(spec, &["b", "a"]));
    let all = ["i 10.0.0.2/24", "a 10.0.1.2/24", "b 10.0.2.2/24"];
    assert_eq!(rig.virtual_addresses("s"), all, "in the order already stored, then new ones");
    rig.change_service("s", |spec| set_networks(spec, &["b"]));
    assert_eq!(rig.virtual_addresses("s"), ["i 10.0.0.2/24", "b 10.0.2.2/24"], "removed: freed");
    rig.change_service("s", |spec| {
        spec.endpoint.get_or_insert_default().ports[0] = on_host(port("p", 80, 81))
    });
    assert_eq!(rig.virtual_addresses("s"), ["b 10.0.2.2/24"], "no ingress port remains");
    assert_eq!(rig.ports("s"), [81], "host ports are copied");
    rig.change_service("s", |spec| {
        spec.endpoint.get_or_insert_default().mode = ResolutionMode::Dnsrr.into()
    });
    assert_eq!(rig.virtual_addresses("s"), [""; 0], "DNSRR: freed");
    assert_eq!(rig.ports("s"), [81], "DNSRR: host ports");
    rig.change_service("s", |spec| spec.endpoint.get_or_insert_default().mode = 0);
    assert_eq!(rig.virtual_addresses("s"), ["b 10.0.2.3/24"], "another one");
    rig.change_service("s", |spec| spec.endpoint = None);
    assert_eq!(
        (rig.virtual_addresses("s"), rig.ports("s")),
        (vec!["b 10.0.2.3/24".to_owned()], vec![])
    );
    rig.change_service("s", |spec| set_networks(spec, &[]));
    assert_eq!(rig.service("s").endpoint, None);
}

#[test]
fn an_endpoint_spec_without_ports_is_known_once_there_was_an_endpoint() {
    let mut rig = Rig::new(three_networks());
    let mut empty = service("s", &[], &[]);
    Arc::make_mut(&mut empty.spec).endpoint = Some(EndpointSpec::default());
    rig.create([empty.into()]);
    assert_eq!(rig.service("s").endpoint, None, "it stays unset");
    rig.change_service("s", |spec| {
        spec.endpoint.get_or_insert_default().ports.push(port("p", 80, 80))
    });
    rig.change_service("s", |spec| spec.endpoint.get_or_insert_default().ports.clear());
    let endpoint = rig.service("s").endpoint.clone().expect("it was set");
    assert_eq!(
        *endpoint,
        wire::Endpoint { spec: Some(EndpointSpec::default()), ..Default::default() }
    );
    assert_eq!(rig.settle(), 0);
}

#[test]
fn a_service_is_told_what_it_lacks() {
    #[track_caller]
    fn check(text: &str, service: Service, then: Object) {
        let mut rig = Rig::new([service.into(), task("t", "s").into()]);
        assert_eq!(&*rig.service("s").allocation_error, text);
        assert_eq!(rig.service("s").endpoint, None);
        let told = format!("service s has pending allocations: {text}");
        assert_eq!(rig.state("t"), (TaskState::NEW, told));
        rig.create([then]);
        assert_eq!(&*rig.service("s").allocation_error, "", "it is there now");
        assert_eq!(rig.state("t"), (TaskState::PENDING, String::new()));
    }
    check(
        "ingress network is missing",
        service("s", &[port("p", 80, 80)], &[]),
        ingress("i").into(),
    );
    check("could not find network a", service("s", &[], &["a"]), overlay("a").into());
}

#[test]
fn a_network_that_is_not_allocated_is_waited_for() {
    let mut rig = Rig::new([configured("n", &[("10.9.0.0/24", "", "")]).into()]);
    rig.create([
        configured("m", &[("10.9.0.0/24", "", "")]).into(),
        service("s", &[], &["m"]).into(),
    ]);
    assert_eq!(&*rig.service("s").allocation_error, "network m not allocated yet");
    rig.remove(overlay("n"));
    assert_eq!(rig.virtual_addresses("s"), ["m 10.9.0.2/24"]);
}

#[test]
fn addresses_of_a_service_that_goes_are_free() {
    let mut rig = Rig::new([configured("n", &[("10.9.0.0/30", "", "")]).into()]);
    rig.create([service("s", &[], &["n"]).into()]);
    rig.create([service("t", &[], &["n"]).into()]);
    assert_eq!(&*rig.service("t").allocation_error, "could not find an available IP in network n");
    rig.remove(service("s", &[], &[]));
    assert_eq!(rig.virtual_addresses("t"), ["n 10.9.0.2/30"]);
}
