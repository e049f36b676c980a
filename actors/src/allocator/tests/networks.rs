//! `scheduler-and-allocator` §15: what networks are given.

use super::*;

const VXLAN: &str = "com.docker.network.driver.overlay.vxlanid_list";

impl Rig {
    fn vxlan(&self, id: &str) -> String {
        let network = self.network(id);
        let driver = network.body.driver_state.as_ref().expect("it is allocated");
        driver.options.get(VXLAN).cloned().unwrap_or_default()
    }

    fn is_allocated(&self, id: &str) -> bool {
        let network = self.network(id);
        assert_eq!(network.body.driver_state.is_some(), network.body.ipam.is_some());
        network.body.driver_state.is_some()
    }
}

#[test]
fn a_network_is_an_overlay_with_the_next_subnet() {
    let mut rig = Rig::new([overlay("a").into()]);
    let network = rig.network("a");
    let driver = network.body.driver_state.as_ref().expect("default driver");
    assert_eq!((&*driver.name, rig.vxlan("a")), ("overlay", "4096".to_owned()));
    let ipam = network.body.ipam.as_ref().expect("addresses");
    assert_eq!(ipam.driver.as_ref().map(|driver| &*driver.name), Some("default"));
    assert_eq!(ipam.configs[0].family(), AddressFamily::Ipv4);
    assert_eq!(rig.subnets("a"), ["10.0.0.0/24 10.0.0.1"]);
    rig.create([overlay("b").into()]);
    assert_eq!(
        (rig.subnets("b"), rig.vxlan("b")),
        (vec!["10.0.1.0/24 10.0.1.1".to_owned()], "4097".to_owned())
    );
    // Rolling: what is free again is not the next.
    rig.remove(overlay("a"));
    rig.create([overlay("c").into()]);
    assert_eq!(
        (rig.subnets("c"), rig.vxlan("c")),
        (vec!["10.0.2.0/24 10.0.2.1".to_owned()], "4098".to_owned())
    );
}

#[test]
fn pools_of_the_cluster() {
    #[track_caller]
    fn check(row: &str, pools: &[&str], size: u32, wanted: &[&str]) {
        let networks = (0..wanted.len()).map(|number| overlay(&format!("n{number}")).into());
        let rig = Rig::new(networks.chain([cluster(pools, size).into()]));
        for (number, wanted) in wanted.iter().enumerate() {
            let found = rig.subnets(&format!("n{number}")).join(" ");
            assert_eq!(found.split(' ').next(), Some(*wanted), "{row}");
        }
    }
    check("none: the default ones", &[], 0, &["10.0.0.0/24", "10.0.1.0/24"]);
    check(
        "a list, in order",
        &["172.20.0.0/23", "10.9.0.0/16"],
        24,
        &["172.20.0.0/24", "172.20.1.0/24", "10.9.0.0/24", "10.9.1.0/24"],
    );
    check("another size", &["10.0.0.0/8"], 16, &["10.0.0.0/16", "10.1.0.0/16"]);
    check("at an end", &["10.0.0.0/24"], 25, &["10.0.0.0/25", "10.0.0.128/25", ""]);
    check(
        "what cannot be cut or read is left out",
        &["10.0.0.0/25", "x", "10.7.0.0/24"],
        24,
        &["10.7.0.0/24"],
    );
}

#[test]
fn subnets_do_not_overlap() {
    let mut rig = Rig::new([cluster(&["10.0.0.0/22"], 24).into()]);
    rig.create([configured("own", &[("10.0.0.0/23", "", "")]).into()]);
    rig.create([overlay("a").into()]);
    assert_eq!(rig.subnets("a"), ["10.0.2.0/24 10.0.2.1"], "behind a subnet that was asked for");
    for (id, subnet) in [("x", "10.0.1.0/25"), ("y", "10.0.0.0/8"), ("z", "10.0.2.0/24")] {
        rig.create([configured(id, &[(subnet, "", "")]).into()]);
        assert!(!rig.is_allocated(id), "{subnet}");
    }
    rig.create([overlay("b").into(), overlay("c").into()]);
    assert_eq!(rig.subnets("b"), ["10.0.3.0/24 10.0.3.1"]);
    assert!(!rig.is_allocated("c"), "none is left");
    rig.remove(overlay("own"));
    assert_eq!(rig.subnets("c"), ["10.0.0.0/24 10.0.0.1"], "in the order of ids");
    assert_eq!(rig.subnets("x"), ["10.0.1.0/25 10.0.1.1"]);
}

#[test]
fn what_a_configuration_says() {
    #[track_caller]
    fn check(row: &str, configs: &[(&str, &str, &str)], wanted: Option<&[&str]>) {
        let rig = Rig::new([configured("n", configs).into()]);
        match wanted {
            Some(wanted) => assert_eq!(rig.subnets("n"), wanted, "{row}"),
            None => assert!(!rig.is_allocated("n"), "{row}"),
        }
    }
    check("gateway: the first", &[("10.9.0.0/24", "", "")], Some(&["10.9.0.0/24 10.9.0.1"]));
    check("unless given", &[("10.9.0.0/24", "", "10.9.0.7")], Some(&["10.9.0.0/24 10.9.0.7"]));
    check(
        "the first in spite of a range",
        &[("10.9.0.0/24", "10.9.0.128/25", "")],
        Some(&["10.9.0.0/24 10.9.0.1"]),
    );
    check("host bits are cut", &[("10.9.0.5/24", "", "")], Some(&["10.9.0.0/24 10.9.0.1"]));
    check(
        "several",
        &[("10.9.0.0/24", "", ""), ("", "", "")],
        Some(&["10.9.0.0/24 10.9.0.1", "10.0.0.0/24 10.0.0.1"]),
    );
    check("IPv6", &[("fd00::/64", "", "")], Some(&["fd00::/64 fd00::1"]));
    check("the same twice", &[("10.9.0.0/24", "", ""), ("10.9.0.0/25", "", "")], None);
    check("network address as gateway", &[("10.9.0.0/24", "", "10.9.0.0")], None);
    check("broadcast address as gateway", &[("10.9.0.0/24", "", "10.9.0.255")], None);
    check("gateway outside", &[("10.9.0.0/24", "", "10.9.1.1")], None);
    check("gateway that is none", &[("10.9.0.0/24", "", "x")], None);
    check("range outside", &[("10.9.0.0/24", "10.8.0.0/25", "")], None);
    check("range that is none", &[("10.9.0.0/24", "x", "")], None);
    check("subnet that is none", &[("x", "", "")], None);
    for subnet in ["10.9.0.0/31", "10.9.0.0/32", "255.255.255.255/32", "ff::/128"] {
        check("no room for a gateway", &[(subnet, "", "")], None);
    }
    check("all there is", &[("::/0", "", "")], Some(&["::/0 ::1"]));
    check(
        "IPv4 in the clothes of IPv6",
        &[("::ffff:10.9.0.0/120", "", "")],
        Some(&["::ffff:10.9.0.0/120 10.9.0.1"]),
    );
}

#[test]
fn a_family_without_a_pool_has_no_subnet() {
    let six = network("n", |spec| {
        let config = IpamConfig { family: AddressFamily::Ipv6.into(), ..Default::default() };
        spec.ipam = Some(IpamOptions { configs: vec![config], ..Default::default() });
    });
    assert!(!Rig::new([six.clone().into()]).is_allocated("n"));
    let rig = Rig::new([cluster(&["10.0.0.0/8", "fd00::/48"], 64).into(), six.into()]);
    assert_eq!(rig.subnets("n"), ["fd00::/64 fd00::1"]);
}

#[test]
fn reserved_addresses_are_for_nobody() {
    let reserving = network("n", |spec| {
        let reserved =
            [("router".to_owned(), "10.9.0.1".to_owned()), ("b".to_owned(), "10.9.0.3".to_owned())];
        let config = IpamConfig {
            subnet: "10.9.0.0/24".to_owned(),
            reserved: reserved.into(),
            ..Default::default()
        };
        spec.ipam = Some(IpamOptions { configs: vec![config], ..Default::default() });
    });
    let rig = Rig::new([reserving.into(), attached("t", "", &["n"]).into()]);
    assert_eq!(rig.subnets("n"), ["10.9.0.0/24 10.9.0.2"]);
    assert_eq!(rig.places("t"), ["n 10.9.0.4/24"]);
}

#[test]
fn vxlan_ids() {
    let preset = |id: &str, list: &str| {
        network(id, |spec| {
            let options =
                [(VXLAN, list), ("a", "b")].map(|(key, value)| (key.to_owned(), value.to_owned()));
            spec.driver_config =
                Some(wire::Driver { options: options.into(), ..Default::default() });
            let config = IpamConfig { family: AddressFamily::Ipv4.into(), ..Default::default() };
            spec.ipam =
                Some(IpamOptions { configs: vec![config.clone(), config], ..Default::default() });
        })
    };
    let mut rig = Rig::new([preset("a", "5000,4096").into()]);
    assert_eq!(rig.vxlan("a"), "5000,4096", "a list, as it was preset");
    let network = rig.network("a");
    let driver = network.body.driver_state.as_ref().expect("allocated");
    assert_eq!(driver.options.get("a").map(String::as_str), Some("b"), "other options stay");
    rig.create([preset("b", "4098").into()]);
    assert_eq!(rig.vxlan("b"), "4098,4097", "one per subnet");
    for (id, list) in [("c", "5000"), ("d", "4095"), ("e", "16777216"), ("f", "x")] {
        rig.create([preset(id, list).into()]);
        assert!(!rig.is_allocated(id), "{list}");
    }
    rig.create([configured("six", &[("fd00::/64", "", "")]).into()]);
    assert_eq!(rig.vxlan("six"), "", "IPv4 only");
    rig.remove(overlay("a"));
    assert_eq!(rig.vxlan("c"), "5000,4099", "free again");
}

#[test]
fn networks_of_each_node_have_no_addresses() {
    for driver in ["bridge", "host", "macvlan", "ipvlan"] {
        let rig = Rig::new([
            driven("n", driver).into(),
            attached("t", "", &["n"]).into(),
            node("a").into(),
        ]);
        let network = rig.network("n");
        let wanted = wire::Driver { name: driver.to_owned(), ..Default::default() };
        assert_eq!(network.body.driver_state.as_ref(), Some(&wanted), "name only");
        let ipam = IpamOptions { driver: Some(wire::Driver::default()), configs: Vec::new() };
        assert_eq!(network.body.ipam.as_ref(), Some(&ipam), "an empty driver");
        assert_eq!(rig.places("t"), ["n "]);
        assert_eq!(rig.node_places("a"), [""; 0]);
    }
}

#[test]
fn plugins_are_not_reached() {
    let managed = network("m", |spec| {
        let driver = Some(wire::Driver { name: "infoblox".to_owned(), ..Default::default() });
        spec.ipam = Some(IpamOptions { driver, ..Default::default() });
    });
    let rig = Rig::new([driven("n", "weave").into(), managed.into()]);
    assert!(!rig.is_allocated("n") && !rig.is_allocated("m"));
}

#[test]
fn there_is_one_ingress_network_and_it_is_first() {
    let mut rig = Rig::new([overlay("a").into(), overlay("b").into(), ingress("z").into()]);
    assert_eq!(rig.subnets("z"), ["10.0.0.0/24 10.0.0.1"], "its subnet is not taken by others");
    rig.create([ingress("second").into()]);
    assert!(!rig.is_allocated("second"));
    rig.remove(ingress("z"));
    assert!(rig.is_allocated("second"), "it is the only one now");
}

#[test]
fn an_old_ingress_network_is_known_by_its_label() {
    let old = |name: &str, label: &str| {
        network("n", |spec| {
            let labels = [(label.to_owned(), String::new())].into();
            spec.annotations =
                Some(Annotations { name: name.to_owned(), labels, ..Default::default() });
        })
    };
    let has_place = |network: Network| {
        let rig = Rig::new([network.into(), node("a").into()]);
        !rig.node_places("a").is_empty()
    };
    assert!(has_place(old("ingress", "com.docker.swarm.internal")));
    assert!(!has_place(old("other", "com.docker.swarm.internal")));
    assert!(!has_place(old("ingress", "other")));
}

#[test]
fn what_a_network_has_is_not_touched() {
    let mut rig = Rig::new([overlay("a").into()]);
    let before = rig.network("a");
    rig = rig.restarted();
    assert_eq!(rig.settle(), 0);
    rig.create([overlay("b").into()]);
    assert_eq!(rig.subnets("b"), ["10.0.1.0/24 10.0.1.1"]);
    assert_eq!(rig.network("a"), before);
}
