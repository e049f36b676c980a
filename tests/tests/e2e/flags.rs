//! Flags of the daemon whose effect shows from outside alone: where a manager says that it is.

use std::fs;

use serde_json::Value;

use crate::{
    daemon::{Daemon, Place, eventually},
    fleet::lasting,
    swarm::{self, Swarm},
};

/// The other name of the machine at which a manager listens.
fn advertised(place: &Place) -> String {
    place.address.replace("127.0.0.1", "localhost")
}

/// Where a manager says that a node is, which is a manager too.
fn manager_address(asked: &Daemon, node_id: &str) -> String {
    let shown = asked.swarmctl(&format!("node inspect {node_id} --format json"));
    let page: Value = serde_json::from_str(&shown).expect("JSON");
    page["node"]["manager_status"]["addr"].as_str().expect("it is a manager").to_owned()
}

#[test]
fn nodes_find_a_manager_where_it_says_that_it_is() {
    let mut swarm = Swarm { managers: Vec::new() };
    let mut expected = Vec::new();
    for name in ["m1", "m2", "m3"] {
        let place = lasting(name);
        let address = advertised(&place);
        let mut words = vec!["--advertise-remote-api".to_owned(), address.clone()];
        if let Some(first) = swarm.managers.first() {
            let known = manager_address(first, &swarm::node_id(first));
            let token = swarm::token(first, "manager");
            words.extend(["--join-addr".to_owned(), known, "--join-token".to_owned(), token]);
        }
        let mut manager = Daemon::at(place);
        manager.launch_with(&words);
        swarm.managers.push(manager);
        expected.push(address);
    }
    swarm.await_reachable(3);
    for asked in &swarm.managers {
        for (manager, expected) in swarm.managers.iter().zip(&expected) {
            let id = swarm::node_id(manager);
            eventually("the address that is advertised", || {
                let shown = manager_address(asked, &id);
                if shown == *expected { Ok(()) } else { Err(shown) }
            });
            let page = asked.swarmctl(&format!("node inspect {id}"));
            assert!(page.contains(expected), "{page}");
        }
    }
    // A worker that joined by another one is told of them all.
    let worker = swarm.worker(Place::here("w1"));
    eventually("what a worker knows of the managers", || {
        let known = fs::read_to_string(worker.state().join("state.json")).unwrap_or_default();
        let is_known = |address: &String| known.contains(address.as_str());
        if expected.iter().all(is_known) { Ok(()) } else { Err(known) }
    });
}
