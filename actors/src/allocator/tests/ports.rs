//! `scheduler-and-allocator` §14, row by row.

use protocol::wire::{ServiceSpec, port_config::Protocol};

use super::*;

/// The ports of a service once its spec asks for others.
fn becomes(before: &[PortConfig], after: &[PortConfig]) -> (Vec<u32>, Vec<u32>) {
    let mut rig = Rig::new([ingress("i").into(), service("s", before, &[]).into()]);
    let first = rig.ports("s");
    rig.change_service("s", |spec| set_ports(spec, after));
    (first, rig.ports("s"))
}

fn set_ports(spec: &mut ServiceSpec, ports: &[PortConfig]) {
    spec.endpoint.get_or_insert_default().ports = ports.to_vec();
}

#[test]
fn what_is_published() {
    #[track_caller]
    fn check(row: &str, ports: &[PortConfig], wanted: &[u32]) {
        let rig = Rig::new([ingress("i").into(), service("s", ports, &[]).into()]);
        assert_eq!(rig.ports("s"), wanted, "{row}");
        assert_eq!(rig.service("s").allocation_error.as_ref(), "", "{row}");
    }
    let of = |protocol: Protocol, port| PortConfig { protocol: protocol.into(), ..port };
    let udp = |port| of(Protocol::Udp, port);
    check("dynamic: from 30000", &[port("a", 80, 0)], &[30_000]);
    check("next after the last", &[port("a", 80, 0), port("b", 81, 0)], &[30_000, 30_001]);
    check("explicit, whole range", &[port("a", 80, 1), port("b", 80, 65_535)], &[1, 65_535]);
    check("host: copied", &[on_host(port("a", 80, 8080))], &[8080]);
    check("host: 0 stays 0", &[on_host(port("a", 80, 0))], &[0]);
    check(
        "two host ports may be the same",
        &[on_host(port("a", 80, 5)), on_host(port("b", 81, 5))],
        &[5, 5],
    );
    check("a space per protocol", &[port("a", 53, 53), udp(port("b", 53, 53))], &[53, 53]);
    let all = [port("a", 1, 0), udp(port("b", 1, 0)), of(Protocol::Sctp, port("c", 1, 0))];
    check("dynamic: a space per protocol", &all, &[30_000; 3]);
    check(
        "explicit in the dynamic range is reserved there",
        &[port("a", 80, 0), port("b", 81, 30_000)],
        &[30_000, 30_001],
    );
    check(
        "host and explicit in spec order, then dynamic",
        &[port("a", 1, 0), port("b", 2, 99), on_host(port("c", 3, 7)), port("d", 4, 0)],
        &[99, 7, 30_000, 30_001],
    );
}

#[test]
fn what_a_service_keeps() {
    let two = [port("a", 80, 0), port("b", 81, 0)];
    let swapped = [port("b", 81, 0), port("a", 80, 0)];
    assert_eq!(becomes(&two, &swapped), (vec![30_000, 30_001], vec![30_001, 30_000]));
    // The same name, protocol and target port; with another target port it is another port.
    let other = [port("a", 80, 0), port("b", 82, 0)];
    assert_eq!(becomes(&two, &other).1, [30_000, 30_002]);
    // What was dynamic may be asked for by its number.
    let named = [port("a", 80, 30_000), port("b", 81, 0)];
    assert_eq!(becomes(&two, &named).1, [30_000, 30_001]);
    // One that the spec decides is not for another of the same kind.
    let twice = [port("a", 80, 0), port("a", 80, 30_000)];
    assert_eq!(becomes(&[port("a", 80, 0), port("a", 80, 0)], &twice).1, [30_000, 30_001]);
    // With another number of ports nothing is matched.
    let three = [port("a", 80, 0), port("b", 81, 0), port("c", 82, 0)];
    assert_eq!(becomes(&two, &three).1, [30_002, 30_003, 30_004]);
    // An explicit port is the service's own already.
    let explicit = [port("a", 80, 99), port("x", 70, 98)];
    assert_eq!(becomes(&[port("a", 80, 98), port("b", 1, 99)], &explicit).1, [99, 98]);
    assert_eq!(becomes(&two, &[]).1, [0; 0]);
}

#[test]
fn the_dynamic_range_is_walked_round_and_ends() {
    let mut rig = Rig::new([ingress("i").into()]);
    let many: Vec<_> = (0..2768).map(|target| port("p", target + 1, 0)).collect();
    rig.create([service("s", &many[..2767], &[]).into()]);
    rig.create([service("t", &many[..1], &[]).into()]);
    assert_eq!(rig.ports("t"), [32_767]);
    rig.create([service("u", &many[..1], &[]).into()]);
    assert_eq!(&*rig.service("u").allocation_error, "could not find an available port");
    assert_eq!(rig.service("u").endpoint, None);
    // What somebody releases is had at once by who waits.
    rig.change_service("s", |spec| set_ports(spec, &[]));
    assert_eq!(rig.ports("u"), [30_000]);
    assert_eq!(&*rig.service("u").allocation_error, "");
    rig.remove(service("t", &[], &[]));
    rig.create([service("v", &many[..1], &[]).into()]);
    assert_eq!(rig.ports("v"), [30_001], "next after the last, not the first free");
}

#[test]
fn what_cannot_be_had_is_told() {
    #[track_caller]
    fn check(port: PortConfig, text: &str) {
        let mut rig =
            Rig::new([ingress("i").into(), service("s", &[super::port("a", 80, 99)], &[]).into()]);
        rig.create([service("t", &[port], &[]).into(), task("of t", "t").into()]);
        assert_eq!(&*rig.service("t").allocation_error, text);
        let told = format!("service t has pending allocations: {text}");
        assert_eq!(rig.state("of t"), (TaskState::NEW, told));
        assert_eq!(rig.settle(), 0, "once");
    }
    check(port("b", 81, 99), "port 99 cannot be had");
    check(port("b", 81, 65_536), "invalid published port 65536");
    check(PortConfig { protocol: 9, ..port("b", 81, 0) }, "invalid protocol 9");
}

#[test]
fn a_service_that_cannot_have_what_is_new_keeps_what_it_has() {
    let mut rig = Rig::new([
        ingress("i").into(),
        service("s", &[port("a", 80, 99)], &[]).into(),
        service("t", &[port("a", 80, 98)], &[]).into(),
    ]);
    rig.change_service("t", |spec| set_ports(spec, &[port("b", 81, 0), port("a", 80, 99)]));
    assert_eq!(
        (rig.ports("t"), &*rig.service("t").allocation_error),
        (vec![98], "port 99 cannot be had")
    );
    rig.create([service("u", &[port("a", 80, 98)], &[]).into()]);
    assert_eq!(&*rig.service("u").allocation_error, "port 98 cannot be had");
    rig.remove(service("s", &[], &[]));
    assert_eq!(rig.ports("t"), [99, 30_000]);
    assert_eq!((rig.ports("u"), &*rig.service("u").allocation_error), (vec![98], ""));
}

#[test]
fn a_leader_that_begins_leaves_ports_as_they_are() {
    let mut rig = Rig::new([ingress("i").into(), service("s", &[port("a", 80, 0)], &[]).into()]);
    rig = rig.restarted();
    assert_eq!(rig.settle(), 0);
    rig.create([service("t", &[port("a", 80, 0)], &[]).into()]);
    assert_eq!((rig.ports("s"), rig.ports("t")), (vec![30_000], vec![30_001]));
}
