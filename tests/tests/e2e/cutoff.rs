//! Workers that are silent because they are cut off, and others that are not although they have
//! more to do than they can.

use std::time::Duration;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use protocol::wire::{
    WatchMessage, WatchRequest, node_status::State, object::Object, watch_client::WatchClient,
    watch_request::WatchEntry,
};
use tokio::{runtime::Builder, time::timeout};
use tonic::Streaming;

use crate::{
    churn::number,
    daemon::{Daemon, Place, connect, eventually},
    fleet::{attentive, await_exactly, await_nodes, hear_often, processes, processes_on},
    network::Network,
    swarm::{Swarm, nodes},
};

#[test]
fn a_worker_that_is_cut_off_is_replaced_and_stops_its_tasks_once_it_is_back() {
    let argument = 100_611;
    let Some(network) = Network::of(3) else { return };
    let place = |machine, hostname: &str| Place {
        address: format!("{}:0", network.host(machine)),
        network: Some(network.file(machine)),
        ..Place::here(hostname)
    };
    let swarm = Swarm::on(vec![place(0, "m1")]);
    let manager = &swarm.managers[0];
    hear_often(manager);
    let [one, other] = [1, 2].map(|machine| swarm.worker(place(machine, &format!("w{machine}"))));
    manager.swarmctl(&format!(
        "service create --name web --image host --command sleep --args {argument} --replicas 6"
    ));
    await_exactly(manager, "web", argument, 6);
    let (before, elsewhere) = (processes_on(&other, argument), processes_on(&one, argument));
    assert_eq!(before.len(), 2, "spread evenly");

    network.unplug(2);
    await_nodes(manager, &[("w1", "READY"), ("w2", "DOWN")]);
    manager.await_replicas("web", "6/6");
    // Nobody can tell it: what it had goes on, beside what stands in for it.
    assert_eq!(processes_on(&other, argument), before, "{}", other.log());
    eventually("what stands in for two", || {
        let count = processes(argument).len();
        if count == 8 { Ok(()) } else { Err(format!("{count} processes")) }
    });

    network.plug(2);
    await_nodes(manager, &[("w2", "READY")]);
    await_exactly(manager, "web", argument, 6);
    let stopped = processes_on(&other, argument);
    assert_eq!(stopped.len(), 0, "it was given nothing new, and stopped what it had: {stopped:?}");
    assert!(elsewhere.is_subset(&processes_on(&one, argument)), "others were left alone");
}

/// How long a node has more to do than it can, in seconds, unless `SWARM_BUSY_SECONDS` says something else.
const BUSY_SECONDS: u64 = 20;

const UPDATE: i32 = 2;

#[test]
fn a_worker_under_full_load_misses_no_heartbeat() {
    let swarm = attentive();
    let worker = swarm.worker(Place::here("w1"));
    let manager = &swarm.managers[0];
    let busy = "while :; do :; done";
    let create = "service create --name busy --image host --command sh --args -c --replicas 4 \
                  --constraint node.role==worker --args";
    let words: Vec<_> = create.split_whitespace().chain([busy]).collect();
    let created = manager.run_words(&words);
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    await_nodes(manager, &[("m1", "READY"), ("w1", "READY")]);
    eventually("a worker that is busy", || {
        let count = worker.tasks().len();
        if count == 4 { Ok(()) } else { Err(format!("{count} tasks\n{}", worker.log())) }
    });

    let busy = Duration::from_secs(number("SWARM_BUSY_SECONDS").unwrap_or(BUSY_SECONDS));
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut watch = runtime.block_on(watch_nodes(manager));
    let changes = runtime.block_on(async { timeout(busy, next_state(&mut watch)).await });
    assert!(changes.is_err(), "{changes:?}\n{}", worker.log());
    assert_eq!(worker.tasks().len(), 4, "busy to the end");
    let nodes = nodes(manager).expect("it answers");
    assert!(nodes.iter().all(|node| node["status"]["state"] == "READY"), "{nodes:?}");
    // The watch would have shown it.
    let process = Pid::from_raw(worker.pid());
    kill(process, Signal::SIGSTOP).expect("it runs");
    assert_eq!(runtime.block_on(next_state(&mut watch)), State::Down);
    kill(process, Signal::SIGCONT).expect("it is there");
}

/// Watches what changes about nodes.
async fn watch_nodes(manager: &Daemon) -> Streaming<WatchMessage> {
    let entry = WatchEntry { kind: "node".to_owned(), action: UPDATE, ..WatchEntry::default() };
    let request = WatchRequest { entries: vec![entry], ..WatchRequest::default() };
    let begun = WatchClient::new(connect(manager.socket())).watch(request).await;
    let mut stream = begun.expect("it begins").into_inner();
    stream.message().await.expect("no error").expect("it says that it is ready");
    stream
}

/// What a node is after the next change of one.
async fn next_state(watch: &mut Streaming<WatchMessage>) -> State {
    let message = watch.message().await.expect("no error").expect("it does not end");
    let object = message.events[0].object.clone().and_then(|object| object.object);
    let Some(Object::Node(node)) = object else { panic!("no node: {message:?}") };
    node.status.unwrap_or_default().state()
}
