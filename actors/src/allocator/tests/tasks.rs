//! `scheduler-and-allocator` §10 and §11: tasks and their places in networks.

use std::collections::BTreeMap;

use super::*;

#[test]
fn a_new_task_becomes_pending() {
    let rig =
        Rig::new([service("s", &[], &[]).into(), task("t", "s").into(), task("u", "").into()]);
    for id in ["t", "u"] {
        let task = rig.task(id);
        let status = TaskStatus {
            timestamp: Some(NOW),
            state: TaskState::PENDING,
            message: "pending task scheduling".into(),
            ..TaskStatus::default()
        };
        assert_eq!(task.status, status, "{id}: replaced as a whole");
        assert!(task.networks.is_empty());
    }
}

#[test]
fn the_endpoint_of_the_service_is_copied() {
    let ports = [on_host(port("p", 80, 8080))];
    let mut rig = Rig::new([service("s", &ports, &[]).into(), task("t", "s").into()]);
    let endpoint = rig.service("s").endpoint.clone().expect("ports");
    assert_eq!(rig.task("t").endpoint.as_ref(), Some(&endpoint));
    // Also for tasks that a new leader finds.
    rig.commit(|head| head.create(task("late", "s")).unwrap());
    rig = rig.restarted();
    rig.settle();
    assert!(Arc::ptr_eq(rig.task("late").endpoint.as_ref().expect("copied"), &endpoint), "shared");
    // A service without one leaves a task what it came with.
    let endpoint = Some(Arc::new(wire::Endpoint {
        spec: Some(EndpointSpec::default()),
        ..Default::default()
    }));
    rig.create([
        service("plain", &[], &[]).into(),
        Task { endpoint: endpoint.clone(), ..task("own", "plain") }.into(),
    ]);
    assert_eq!(rig.task("own").endpoint, endpoint);
}

#[test]
fn what_is_not_new_or_has_no_service_is_left_alone() {
    let states = [TaskState::PENDING, TaskState::ASSIGNED, TaskState::RUNNING, TaskState::FAILED];
    for state in states {
        let mut old = attached("t", "", &["n"]);
        old.status.state = state;
        let mut rig = Rig::new([overlay("n").into(), old.into()]);
        assert_eq!((rig.task("t").networks.len(), rig.settle()), (0, 0), "{state}");
    }
    let mut rig = Rig::new([task("t", "gone").into()]);
    assert_eq!(rig.state("t"), (TaskState::NEW, String::new()));
    rig.create([service("gone", &[], &[]).into()]);
    assert_eq!(rig.state("t").0, TaskState::PENDING, "its service came later");
}

#[test]
fn the_desired_state_is_not_looked_at() {
    let rig = Rig::new([Task { desired_state: TaskState::SHUTDOWN, ..task("t", "") }.into()]);
    assert_eq!(rig.state("t").0, TaskState::PENDING);
}

#[test]
fn places_are_ingress_first_then_as_the_spec_says() {
    let mut rig = Rig::new([ingress("z").into(), overlay("a").into(), overlay("b").into()]);
    rig.create([service("s", &[port("p", 80, 80)], &["b", "a"]).into()]);
    rig.create([attached("t", "s", &["b", "a"]).into()]);
    assert_eq!(rig.places("t"), ["z 10.0.0.3/24", "b 10.0.2.3/24", "a 10.0.1.3/24"]);
    let networks = &rig.task("t").networks;
    let copies: Vec<_> = networks.iter().filter_map(|place| place.network.clone()).collect();
    let all = ["z", "b", "a"].map(|id| wire::Network::from(&*rig.network(id)));
    assert_eq!(copies, all, "full copies");
}

#[test]
fn a_place_has_what_the_spec_asks_for() {
    let options: BTreeMap<_, _> = [("key".to_owned(), "value".to_owned())].into();
    let wish = NetworkAttachmentConfig {
        target: "n".to_owned(),
        aliases: vec!["db".to_owned()],
        addresses: vec!["10.0.0.9".to_owned()],
        driver_attachment_opts: options.clone(),
    };
    let spec = Arc::new(TaskSpec { networks: vec![wish], ..Default::default() });
    let rig = Rig::new([overlay("n").into(), Task { spec, ..task("t", "") }.into()]);
    let place = &rig.task("t").networks[0];
    assert_eq!(
        (&*place.aliases, &place.driver_attachment_opts),
        (&["db".to_owned()][..], &options)
    );
    assert_eq!(place.addresses, ["10.0.0.9/24"]);
}

#[test]
fn unknown_networks_are_skipped_where_no_service_asks_for_them() {
    let rig = Rig::new([overlay("a").into(), attached("t", "", &["gone", "a"]).into()]);
    assert_eq!(
        (rig.places("t"), rig.state("t").0),
        (vec!["a 10.0.0.2/24".to_owned()], TaskState::PENDING)
    );
}

#[test]
fn places_that_a_task_came_with_are_completed() {
    let place = |id: &str, addresses: &[&str]| wire::NetworkAttachment {
        network: Some(wire::Network { id: id.to_owned(), ..Default::default() }),
        addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
        ..Default::default()
    };
    let mut rig = Rig::new([overlay("a").into(), overlay("b").into()]);
    let networks = [place("a", &[]), place("b", &["10.0.1.7/24"])].into();
    rig.create([Task { networks, ..task("t", "") }.into()]);
    assert_eq!(rig.places("t"), ["a 10.0.0.2/24", "b 10.0.1.7/24"]);
    assert!(rig.task("t").networks.iter().all(|place| {
        place.network.as_ref().is_some_and(|network| network.driver_state.is_some())
    }));
}

#[test]
fn what_a_task_is_told() {
    #[track_caller]
    fn check(text: &str, objects: Vec<Object>) {
        let mut rig = Rig::new(objects);
        assert_eq!(rig.state("t"), (TaskState::NEW, text.to_owned()));
        let before = rig.view.index();
        rig.board.retry();
        assert_eq!(rig.settle(), 0, "{text}: once");
        assert!(rig.view.index() <= before + 1);
    }
    let full = || configured("n", &[("10.9.0.0/30", "", "")]).into();
    check(
        "could not find an available IP in network n",
        vec![full(), attached("a", "", &["n"]).into(), attached("t", "", &["n"]).into()],
    );
    check(
        "network n not allocated yet",
        vec![driven("n", "weave").into(), attached("t", "", &["n"]).into()],
    );
    check(
        "service s has pending allocations: ingress network is missing",
        vec![service("s", &[port("p", 80, 80)], &[]).into(), task("t", "s").into()],
    );
}

#[test]
fn addresses_are_free_when_a_task_has_ended_or_is_gone() {
    let states = [
        (TaskState::RUNNING, false),
        (TaskState::COMPLETE, true),
        (TaskState::SHUTDOWN, true),
        (TaskState::FAILED, true),
        (TaskState::REJECTED, true),
        (TaskState::ORPHANED, true),
    ];
    for (state, is_free) in states {
        let mut rig = Rig::new([configured("n", &[("10.9.0.0/30", "", "")]).into()]);
        rig.create([attached("a", "", &["n"]).into(), attached("b", "", &["n"]).into()]);
        rig.observe("a", state);
        assert_eq!(rig.places("a"), ["n 10.9.0.2/30"], "the list stays");
        assert_eq!(rig.state("b").0 == TaskState::PENDING, is_free, "{state}");
        rig = rig.restarted();
        rig.settle();
        rig.remove(task("a", ""));
        assert_eq!(rig.places("b"), ["n 10.9.0.2/30"], "{state}, removed");
    }
}

#[test]
fn one_that_waits_does_not_keep_others_from_theirs() {
    let mut rig =
        Rig::new([configured("full", &[("10.9.0.0/30", "", "")]).into(), overlay("b").into()]);
    rig.create([attached("a0", "", &["full"]).into()]);
    rig.create([attached("a1", "", &["b", "full"]).into(), attached("a2", "", &["b"]).into()]);
    assert_eq!(rig.places("a2"), ["b 10.0.0.2/24"], "a failed attempt leaves no trace");
    assert_eq!(rig.state("a1").0, TaskState::NEW);
    rig.remove(task("a0", ""));
    assert_eq!(rig.places("a1"), ["b 10.0.0.3/24", "full 10.9.0.2/30"]);
}

#[test]
fn what_one_cannot_use_yet_is_for_the_next() {
    let mut rig = Rig::new([
        configured("m", &[("10.8.0.0/30", "", "")]).into(),
        configured("n", &[("10.9.0.0/30", "", "")]).into(),
    ]);
    rig.create([attached("has m", "", &["m"]).into(), attached("has n", "", &["n"]).into()]);
    rig.create([attached("a", "", &["n", "m"]).into(), attached("b", "", &["n"]).into()]);
    assert_eq!((rig.state("a").0, rig.state("b").0), (TaskState::NEW, TaskState::NEW));
    rig.remove(task("has n", ""));
    assert_eq!(
        (rig.state("a").0, rig.places("b")),
        (TaskState::NEW, vec!["n 10.9.0.2/30".to_owned()])
    );
    rig.remove(task("has m", ""));
    rig.remove(task("b", ""));
    assert_eq!(rig.places("a"), ["n 10.9.0.2/30", "m 10.8.0.2/30"]);
}
