//! `scheduler-and-allocator` §15: addresses within networks.

use super::*;

/// The places of new tasks `t0`, `t1` and so on in a network.
fn given(network: Network, tasks: usize) -> Vec<String> {
    let id = network.id.to_string();
    let tasks: Vec<_> = (0..tasks).map(|number| format!("t{number}")).collect();
    let new = tasks.iter().map(|task| attached(task, "", &[&id]).into());
    let rig = Rig::new(new.chain([network.into()]));
    tasks.iter().map(|task| rig.places(task).join(",")).collect()
}

#[test]
fn which_address_is_next() {
    #[track_caller]
    fn check(row: &str, config: (&str, &str, &str), wanted: &[&str]) {
        assert_eq!(given(configured("n", &[config]), wanted.len()), wanted, "{row}");
    }
    check(
        "serial, behind the gateway",
        ("10.9.0.0/24", "", ""),
        &["n 10.9.0.2/24", "n 10.9.0.3/24"],
    );
    check(
        "around the gateway",
        ("10.9.0.0/24", "", "10.9.0.2"),
        &["n 10.9.0.1/24", "n 10.9.0.3/24"],
    );
    check(
        "network and broadcast address are reserved",
        ("10.9.0.0/29", "", ""),
        &["n 10.9.0.2/29", "n 10.9.0.3/29", "n 10.9.0.4/29", "n 10.9.0.5/29", "n 10.9.0.6/29", ""],
    );
    check(
        "a range restricts",
        ("10.9.0.0/24", "10.9.0.8/30", ""),
        &["n 10.9.0.8/24", "n 10.9.0.9/24", "n 10.9.0.10/24", "n 10.9.0.11/24", ""],
    );
    check(
        "a range at the end",
        ("10.9.0.0/24", "10.9.0.252/30", ""),
        &["n 10.9.0.252/24", "n 10.9.0.253/24", "n 10.9.0.254/24", ""],
    );
    check("IPv6", ("fd00::/126", "", ""), &["n fd00::2/126", "n fd00::3/126", ""]);
}

#[test]
fn the_next_subnet_is_used_when_one_is_full() {
    let found = given(configured("n", &[("10.9.0.0/30", "", ""), ("10.8.0.0/30", "", "")]), 3);
    assert_eq!(found, ["n 10.9.0.2/30", "n 10.8.0.2/30", ""]);
}

#[test]
fn addresses_wrap_and_are_not_used_again_at_once() {
    let mut rig = Rig::new([configured("n", &[("10.9.0.0/29", "", "")]).into()]);
    for (id, wanted) in [("a", "n 10.9.0.2/29"), ("b", "n 10.9.0.3/29")] {
        rig.create([attached(id, "", &["n"]).into()]);
        assert_eq!(rig.places(id), [wanted]);
    }
    rig.observe("a", TaskState::FAILED);
    // A fresh look at everything does not begin at the start.
    let view = rig.view.clone();
    rig.board.resync(view);
    let next = ["n 10.9.0.4/29", "n 10.9.0.5/29", "n 10.9.0.6/29", "n 10.9.0.2/29"];
    for (id, wanted) in ["c", "d", "e", "f"].into_iter().zip(next) {
        rig.create([attached(id, "", &["n"]).into()]);
        assert_eq!(rig.places(id), [wanted]);
    }
}

#[test]
fn requested_addresses() {
    #[track_caller]
    fn check(row: &str, requested: &[&str], wanted: Result<&str, &str>) {
        let wish = NetworkAttachmentConfig {
            target: "n".to_owned(),
            addresses: requested.iter().map(|address| (*address).to_owned()).collect(),
            ..Default::default()
        };
        let spec = Arc::new(TaskSpec { networks: vec![wish], ..Default::default() });
        let configs = [("10.9.0.0/24", "10.9.0.128/25", ""), ("fd00::/64", "", "")];
        let mut rig = Rig::new([configured("n", &configs).into()]);
        rig.create([attached("first", "", &["n"]).into()]);
        rig.create([Task { spec, ..task("t", "") }.into()]);
        match wanted {
            Ok(place) => assert_eq!(rig.places("t"), [format!("n {place}")], "{row}"),
            Err(text) => assert_eq!(rig.state("t"), (TaskState::NEW, text.to_owned()), "{row}"),
        }
    }
    check("exact", &["10.9.0.200"], Ok("10.9.0.200/24"));
    check("with a prefix", &["10.9.0.200/8"], Ok("10.9.0.200/24"));
    check("beside the range", &["10.9.0.5"], Ok("10.9.0.5/24"));
    check("of each family", &["10.9.0.5", "fd00::5"], Ok("10.9.0.5/24 fd00::5/64"));
    check("none: the next", &[""], Ok("10.9.0.129/24"));
    let refused = |address: &str| format!("address {address} cannot be had in network n");
    for (row, address) in [
        ("the gateway", "10.9.0.1"),
        ("somebody's", "10.9.0.128"),
        ("the network's own", "10.9.0.0"),
        ("the broadcast address", "10.9.0.255"),
        ("of no subnet", "10.8.0.1"),
    ] {
        check(row, &[address], Err(&refused(address)));
    }
    check("one of two", &["10.9.0.5", "10.9.0.128"], Err(&refused("10.9.0.128")));
    check("no address", &["x"], Err("invalid address x"));
}

#[test]
fn a_refused_address_leaves_nothing_behind() {
    let wish = |addresses: &[&str]| NetworkAttachmentConfig {
        target: "n".to_owned(),
        addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
        ..Default::default()
    };
    let with = |id: &str, addresses: &[&str]| {
        let networks = vec![wish(addresses)];
        let spec = Arc::new(TaskSpec { networks, ..Default::default() });
        Task { spec, ..task(id, "") }
    };
    let mut rig = Rig::new([configured("n", &[("10.9.0.0/24", "", "")]).into()]);
    rig.create([with("t", &["10.9.0.5", "10.9.0.1"]).into()]);
    rig.create([with("u", &["10.9.0.5"]).into()]);
    assert_eq!(rig.places("u"), ["n 10.9.0.5/24"]);
}
