//! Workers whose managers are killed, end, and come back: what runs does not notice.

use std::{fs, net::TcpListener, thread, time::Duration};

use nix::sys::signal::Signal;

use crate::{
    daemon::{Daemon, Place, eventually},
    fleet::{
        attentive, await_exactly, await_nodes, hear_often, lasting, launch_and_register, processes,
        processes_on, registrations,
    },
    swarm::{self, Swarm},
};

/// Longer than a node may be silent before it is down, where they are heard often.
const LONG: Duration = Duration::from_secs(8);

fn create(manager: &Daemon, argument: u32, replicas: usize) -> Vec<i32> {
    manager.swarmctl(&format!(
        "service create --name web --image host --command sleep --args {argument} \
         --replicas {replicas}"
    ));
    await_exactly(manager, "web", argument, replicas)
}

#[test]
fn a_manager_that_is_started_again_touches_no_task() {
    let argument = 100_601;
    let mut swarm = attentive();
    let workers = [swarm.worker(Place::here("w1")), swarm.worker(Place::here("w2"))];
    create(&swarm.managers[0], argument, 6);
    let nodes = [&swarm.managers[0], &workers[0], &workers[1]];
    let before = nodes.map(|node| processes_on(node, argument));
    assert!(before.iter().all(|processes| processes.len() == 2), "spread evenly: {before:?}");
    for (round, signal) in [Signal::SIGKILL, Signal::SIGTERM].into_iter().enumerate() {
        let manager = &mut swarm.managers[0];
        let status = manager.end(signal);
        assert_eq!(status.success(), signal == Signal::SIGTERM, "{status}");
        thread::sleep(LONG);
        launch_and_register(manager, &[&workers[0], &workers[1]]);
        let manager = &swarm.managers[0];
        await_nodes(manager, &[("m1", "READY"), ("w1", "READY"), ("w2", "READY")]);
        // What is asked of it now comes after all that it could do to the others.
        let count = 7 + round;
        manager.swarmctl(&format!("service update web --replicas {count}"));
        await_exactly(manager, "web", argument, count);
        for (node, before) in [manager, &workers[0], &workers[1]].iter().zip(&before) {
            let now = processes_on(node, argument);
            assert!(before.is_subset(&now), "{signal}: {before:?} are not in {now:?}");
        }
    }
}

#[test]
fn a_worker_that_starts_while_its_manager_is_gone_keeps_its_tasks() {
    let argument = 100_602;
    let mut swarm = attentive();
    let mut worker = swarm.worker(Place::here("w1"));
    create(&swarm.managers[0], argument, 4);
    let before = processes_on(&worker, argument);
    assert_eq!(before.len(), 2);
    let known = fs::read_to_string(worker.state().join("state.json")).expect("it is there");
    assert!(known.contains(&swarm::address(&swarm.managers[0])), "{known}");

    swarm.managers[0].kill();
    worker.kill();
    // Without an address on its command line it knows a manager from its state directory alone.
    worker.spawn();
    eventually("a worker that looks for its manager", || {
        let log = worker.log();
        let is_started = log.matches("node is ready").count() == 2;
        if is_started { Ok(()) } else { Err(log) }
    });
    thread::sleep(LONG);
    assert_eq!(processes_on(&worker, argument), before, "{}", worker.log());

    launch_and_register(&mut swarm.managers[0], &[&worker]);
    let manager = &swarm.managers[0];
    await_nodes(manager, &[("m1", "READY"), ("w1", "READY")]);
    manager.swarmctl("service update web --replicas 6");
    await_exactly(manager, "web", argument, 6);
    let now = processes_on(&worker, argument);
    assert!(before.is_subset(&now) && now.len() == 3, "{before:?}, then {now:?}");
}

/// It has told nobody where it is, and is the only one that knows the others.
#[test]
fn nodes_find_a_manager_again_that_listens_everywhere() {
    let everywhere = |hostname| {
        let Place { address, .. } = lasting(hostname);
        Place { address: address.replace("127.0.0.1", "0.0.0.0"), ..Place::here(hostname) }
    };
    let mut swarm = Swarm::on(vec![everywhere("m1")]);
    let mut worker = swarm.worker(Place::here("w1"));
    swarm.add(lasting("m2"));
    await_nodes(&swarm.managers[0], &[("m1", "READY"), ("m2", "READY"), ("w1", "READY")]);
    let leader = &swarm.managers[0];
    let known = format!(
        r#"{{"addr":"{}","node_id":"{}"}}"#,
        swarm::address(leader),
        swarm::node_id(leader)
    );
    // Each change is told with the list of all managers.
    for label in ["zone=a", "zone=b"] {
        eventually("a node with a label", || {
            leader.try_swarmctl(&format!("node update m2 --label {label}"))
        });
    }
    for node in [&swarm.managers[1], &worker] {
        eventually("a node that knows where the manager is", || {
            let text = fs::read_to_string(node.state().join("state.json"));
            let text = text.map_err(|error| error.to_string())?;
            if text.contains(&known) { Ok(()) } else { Err(format!("{text}, not {known}")) }
        });
    }
    let before = registrations(&worker);
    swarm.managers[1].kill();
    worker.kill();
    // Without an address on its command line.
    worker.spawn();
    swarm.managers[1].spawn();
    eventually("a worker that is registered again", || {
        if registrations(&worker) > before { Ok(()) } else { Err(worker.log()) }
    });
    await_nodes(&swarm.managers[0], &[("m1", "READY"), ("m2", "READY"), ("w1", "READY")]);
}

/// Starts the managers one after the other at other ports than they had. Returns where they are.
fn move_managers(swarm: &mut Swarm) -> Vec<String> {
    let mut held = Vec::new();
    for number in 0..swarm.managers.len() {
        let before = swarm::address(&swarm.managers[number]);
        swarm.managers[number].kill();
        // Nobody gets the same port again.
        held.push(TcpListener::bind(before));
        swarm.managers[number].launch();
        swarm.await_reachable(swarm.managers.len());
    }
    swarm.managers.iter().map(swarm::address).collect()
}

#[test]
fn a_worker_that_is_told_where_a_manager_is_now_goes_on() {
    let mut swarm = Swarm::of(3);
    let mut worker = swarm.worker(Place::here("w1"));
    hear_often(&swarm.managers[0]);
    let id = swarm::node_id(&worker);
    worker.kill();
    let moved = move_managers(&mut swarm);
    let known = fs::read_to_string(worker.state().join("state.json")).expect("it is there");
    for address in &moved {
        assert!(!known.contains(address), "{known}");
    }
    await_nodes(&swarm.managers[0], &[("w1", "DOWN")]);

    let count = |worker: &Daemon, line| worker.log().matches(line).count();
    let registered = count(&worker, "registered with a manager");
    let failed = count(&worker, "the session with a manager failed");
    worker.spawn();
    eventually("a worker that cannot find a manager", || {
        let more = count(&worker, "the session with a manager failed") - failed;
        if more >= 4 { Ok(()) } else { Err(worker.log()) }
    });
    assert_eq!(count(&worker, "registered with a manager"), registered, "{}", worker.log());
    await_nodes(&swarm.managers[0], &[("w1", "DOWN")]);

    worker.kill();
    worker.spawn_with_words(&["--join-addr", &moved[1]]);
    await_nodes(&swarm.managers[0], &[("w1", "READY")]);
    assert_eq!(swarm::node_id(&worker), id);
    assert_eq!(swarm::nodes(&swarm.managers[0]).expect("it answers").len(), 4);
    eventually("a worker that knows all managers", || {
        let known = fs::read_to_string(worker.state().join("state.json")).expect("it is there");
        let is_known = |address: &String| known.contains(address.as_str());
        if moved.iter().all(is_known) { Ok(()) } else { Err(known) }
    });
}

#[test]
fn a_leader_that_is_killed_while_a_service_grows_leaves_exactly_what_was_asked_for() {
    let argument = 100_603;
    let mut swarm = Swarm::on(["m1", "m2", "m3"].map(lasting).into());
    let _workers = [swarm.worker(Place::here("w1")), swarm.worker(Place::here("w2"))];
    create(&swarm.managers[0], argument, 10);
    for comes_back_at_once in [true, false] {
        let leader = swarm.await_reachable(3);
        let before = processes(argument);
        if !comes_back_at_once {
            hear_often(&swarm.managers[leader]);
        }
        swarm.managers[leader].swarmctl("service update web --replicas 100");
        eventually("a service that grows", || {
            let count = processes(argument).len();
            if count > 20 { Ok(()) } else { Err(format!("{count} processes")) }
        });
        swarm.managers[leader].kill();
        if !comes_back_at_once {
            // What runs there is replaced: for its manager it is lost.
            let other = &swarm.managers[(leader + 1) % 3];
            await_nodes(other, &[(["m1", "m2", "m3"][leader], "DOWN")]);
            other.await_replicas("web", "100/100");
            let count = processes(argument).len();
            assert!(count > 100, "{count} with those of the one that is gone");
        }
        swarm.managers[leader].launch();
        swarm.await_reachable(3);
        let now = await_exactly(&swarm.managers[0], "web", argument, 100);
        if comes_back_at_once {
            let lost: Vec<_> = before.iter().filter(|process| !now.contains(process)).collect();
            assert!(lost.is_empty(), "ended although nobody was lost: {lost:?}");
        }
        swarm.managers[leader].swarmctl("service update web --replicas 10");
        await_exactly(&swarm.managers[0], "web", argument, 10);
    }
}
