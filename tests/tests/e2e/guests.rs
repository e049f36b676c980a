//! Connections to a manager's port that are open when their node loses what it had them for.

use std::{fs, sync::Arc, time::Duration};

use actors::environment::Clock;
use node::{
    clock::SystemClock,
    identity::{Authority, Identity, KeyFile},
    remote::{Connection, Name, dial},
};
use prost_types::Timestamp;
use protocol::wire::{
    WatchMessage, WatchRequest, watch_client::WatchClient, watch_request::WatchEntry,
};
use rcgen::KeyPair;
use tokio::{
    sync::oneshot::error::TryRecvError,
    time::{sleep, timeout},
};
use tonic::Streaming;

use crate::{
    daemon::{Daemon, Place},
    strangers::founder,
    swarm::{self, Swarm, persist},
};

const CREATE: i32 = 1;

const HOUR_SECONDS: i64 = 60 * 60;

/// How long a certificate is valid.
const VALID: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long anything may take on a slow, busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who a node is by a copy of its files, with a certificate that was made a while ago: a manager that
/// does not lead takes a new one for news that it has not heard yet.
fn identity(daemon: &Daemon, authority: &Authority) -> Identity {
    let copy = tempfile::tempdir().expect("a folder");
    for file in fs::read_dir(daemon.state().join("certificates")).expect("it has them") {
        let file = file.expect("a file");
        fs::copy(file.path(), copy.path().join(file.file_name())).expect("copied");
    }
    let key = KeyFile::parse(&fs::read(copy.path().join("swarm-node.key")).expect("a key"));
    let key = KeyPair::try_from(&key.expect("a key").key).expect("a key");
    let now = SystemClock.now();
    let before = Timestamp { seconds: now.seconds - 2 * HOUR_SECONDS, nanos: 0 };
    let subject = swarm::certificate(daemon).subject;
    let issued = authority.issue(&key, &subject, VALID, &before).expect("issued");
    fs::write(copy.path().join("swarm-node.crt"), issued).expect("written");
    Identity::existing(copy.path(), &now).expect("they fit").expect("they are there")
}

/// Connects to a manager's port as a node; a busy manager may not answer the first time.
async fn connect_as(node: &Identity, manager: &Daemon) -> Connection {
    let credentials = node.credentials().expect("credentials");
    let tls = credentials.client_config().expect("a configuration");
    let address = swarm::address(manager);
    let connected = timeout(PATIENCE, async {
        loop {
            match dial(&address, Name::Manager, Arc::clone(&tls)).await {
                Ok(connection) => return connection,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    });
    connected.await.expect("it answers soon")
}

/// Watches services over a connection.
async fn watch(connection: &Connection) -> Streaming<WatchMessage> {
    let entry = WatchEntry { kind: "service".to_owned(), action: CREATE, ..WatchEntry::default() };
    let request = WatchRequest { entries: vec![entry], ..WatchRequest::default() };
    let begun = WatchClient::new(connection.channel.clone()).watch(request).await;
    let mut stream = begun.expect("it begins").into_inner();
    stream.message().await.expect("no error").expect("it says that it is ready");
    stream
}

/// Waits for whatever a stream brings next.
async fn next(stream: &mut Streaming<WatchMessage>) -> Result<Option<WatchMessage>, tonic::Status> {
    timeout(PATIENCE, stream.message()).await.expect("it comes soon")
}

#[tokio::test]
async fn the_watches_of_a_manager_end_when_it_is_demoted() {
    let (mut first, authority) = founder(Place { metrics: true, ..Place::here("m1") });
    first.launch();
    let mut swarm = Swarm { managers: vec![first] };
    for name in ["m2", "m3"] {
        swarm.add(Place { metrics: true, ..Place::here(name) });
    }
    swarm.await_reachable(3);
    let demoted = swarm.managers.remove(1);
    let [goes, stays] = [&demoted, &swarm.managers[1]].map(|manager| identity(manager, &authority));
    let mut watches = Vec::new();
    // One of them leads and the other follows.
    for manager in &swarm.managers {
        let (going, staying) =
            (connect_as(&goes, manager).await, connect_as(&stays, manager).await);
        watches.push((watch(&going).await, watch(&staying).await, (going, staying)));
    }
    let manager = &swarm.managers[0];
    persist(manager, &format!("node demote {}", goes.node_id()));
    for (going, ..) in &mut watches {
        let end = next(going).await;
        assert!(!matches!(end, Ok(Some(_))), "{end:?}");
    }
    manager.swarmctl("service create --name web --image host --replicas 0");
    for (_, staying, _) in &mut watches {
        next(staying).await.expect("no error").expect("it does not end");
    }
}

#[tokio::test]
async fn the_connections_of_a_node_end_when_it_is_removed() {
    let swarm = Swarm::of(3);
    let workers = ["w1", "w2"].map(|name| swarm.worker(Place::here(name)));
    let [goes, stays] = workers.each_ref().map(|worker| {
        let folder = worker.state().join("certificates");
        let identity = Identity::existing(&folder, &SystemClock.now()).expect("they fit");
        identity.expect("they are there")
    });
    let mut connections = Vec::new();
    for manager in &swarm.managers {
        connections.push((connect_as(&goes, manager).await, connect_as(&stays, manager).await));
    }
    swarm.managers[0].swarmctl(&format!("node rm --force {}", goes.node_id()));
    for (going, _) in &mut connections {
        let ended = timeout(PATIENCE, &mut going.ended).await;
        ended.expect("it ends soon").ok();
    }
    for (_, staying) in &mut connections {
        assert_eq!(staying.ended.try_recv(), Err(TryRecvError::Empty), "it goes on");
    }
}
