//! Three managers that joined by token: each answers every command, and as the others do.

use std::{collections::BTreeSet, time::Duration};

use protocol::wire::{
    WatchMessage, WatchRequest, object::Object, watch_client::WatchClient,
    watch_request::WatchEntry,
};
use tokio::{runtime::Builder, time::timeout};
use tonic::Streaming;

use crate::{
    daemon::{Daemon, connect, eventually},
    swarm::{self, Swarm},
    writer::Writer,
};

/// What a command did at a manager: its exit code, and what it printed.
type Answer = (Option<i32>, String, String);

fn answer(manager: &Daemon, line: &str) -> Answer {
    let output = manager.run_words(&line.split_whitespace().collect::<Vec<_>>());
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Wants one answer of all managers. What tells how long ago something was may be different at
/// first.
#[track_caller]
fn alike(swarm: &Swarm, line: &str) -> Answer {
    eventually(&format!("one answer to {line}"), || {
        let answers: BTreeSet<_> = swarm.running().map(|manager| answer(manager, line)).collect();
        let mut all = answers.iter().cloned();
        match (all.next(), all.next()) {
            (Some(one), None) => Ok(one),
            _ => Err(format!("{answers:#?}")),
        }
    })
}

/// The same of a command that has to succeed, unless nobody leads for the moment.
#[track_caller]
fn page(swarm: &Swarm, line: &str) -> String {
    eventually(line, || match alike(swarm, line) {
        (Some(0), said, _) => Ok(said),
        (code, _, error) => Err(format!("{code:?}: {error}")),
    })
}

fn await_ready(swarm: &Swarm) {
    eventually("nodes that are ready", || {
        let nodes = swarm::nodes(&swarm.managers[0])?;
        let is_ready = nodes.iter().all(|node| node["status"]["state"] == "READY");
        if is_ready { Ok(()) } else { Err(format!("{nodes:?}")) }
    });
}

#[test]
fn every_command_is_answered_alike_by_every_manager() {
    let swarm = Swarm::of(3);
    await_ready(&swarm);
    let first = &swarm.managers[0];
    first.swarmctl(
        "service create --name web --image host --command sleep --args 100401 --replicas 3 --wait",
    );
    let task = page(&swarm, "task ls -q").lines().next().expect("a task").to_owned();
    let nodes = page(&swarm, "node ls -q");
    assert_eq!(nodes.lines().count(), 3, "{nodes}");
    let listing = page(&swarm, "node ls");
    for name in ["m1", "m2", "m3"] {
        let line = listing.lines().find(|line| line.contains(name)).expect("each has a line");
        for word in ["ACCEPTED", "READY", "ACTIVE", "REACHABLE"] {
            assert!(line.contains(word), "{line}");
        }
    }
    for line in [
        "cluster ls",
        "cluster ls -q",
        "cluster inspect default",
        "cluster inspect default --format json",
        "cluster unlock-key default",
        "cluster update default",
        "service ls",
        "service ls --format json",
        "service inspect web",
        "service explain web",
        "service update web --replicas 5 --dry-run",
        "task ls -a",
        "task ls --format json",
        &format!("task inspect {task}"),
        &format!("task explain {task}"),
    ] {
        page(&swarm, line);
    }
    for node in nodes.lines() {
        page(&swarm, &format!("node inspect {node}"));
        page(&swarm, &format!("node inspect {node} --format json"));
        let (code, _, error) = alike(&swarm, &format!("node promote {node}"));
        assert_eq!(code, Some(255), "{error}");
    }
    for line in [
        "service inspect nobody",
        "service create --name web --image host --command true",
        "service create --name -x --image host --command true",
        "service logs web",
        "node rm nobody",
        "node rm m2",
        "cluster update default --certexpiry 1m",
    ] {
        let (code, said, error) = alike(&swarm, line);
        assert_eq!((code, said.as_str()), (Some(255), ""), "{line}");
        assert!(error.starts_with("Error: "), "{line}: {error}");
    }
}

#[test]
fn every_manager_takes_every_write() {
    let swarm = Swarm::of(3);
    await_ready(&swarm);
    let nodes = page(&swarm, "node ls -q");
    for (number, manager) in swarm.managers.iter().enumerate() {
        let watches = Watches::begin(&swarm);
        let (name, history) = (format!("s{number}"), number + 7);
        let argument = 100_402 + number;
        manager.swarmctl(&format!(
            "service create --name {name} --image host --command sleep --args {argument} \
             --replicas 2 --wait"
        ));
        watches.end(&name);
        manager.await_processes(&argument.to_string(), 2);
        manager.swarmctl(&format!("service update {name} --replicas 1 --wait"));
        assert!(page(&swarm, "service ls").contains("1/1"));
        let task = manager.swarmctl("task ls -q").trim().to_owned();
        manager.swarmctl(&format!("task rm {task}"));
        manager.swarmctl(&format!("service remove {name}"));
        manager.await_processes(&argument.to_string(), 0);
        assert_eq!(page(&swarm, "service ls -q"), "");

        let before = swarm::token(manager, "worker");
        manager.swarmctl(&format!("cluster update default --taskhistory {history}"));
        manager.swarmctl("cluster update default --rotate-join-token worker");
        assert_ne!(swarm::token(manager, "worker"), before);
        let shown = page(&swarm, "cluster inspect default");
        assert!(shown.contains(&format!("Task history entries: {history}")), "{shown}");

        for node in nodes.lines() {
            manager.swarmctl(&format!("node update {node} --label by={number}"));
            let shown = page(&swarm, &format!("node inspect {node}"));
            assert!(shown.contains(&format!("by={number}")), "{shown}");
            for (verb, availability) in
                [("pause", "PAUSE"), ("drain", "DRAIN"), ("activate", "ACTIVE")]
            {
                manager.swarmctl(&format!("node {verb} {node}"));
                let listing = page(&swarm, "node ls");
                let line = listing.lines().find(|line| line.starts_with(node)).expect("a node");
                assert!(line.contains(availability), "{line}");
            }
        }
    }
}

/// A watch at each manager.
struct Watches {
    runtime: tokio::runtime::Runtime,
    streams: Vec<Streaming<WatchMessage>>,
}

impl Watches {
    fn begin(swarm: &Swarm) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut streams = Vec::new();
        for manager in swarm.running() {
            let entry =
                WatchEntry { kind: "service".to_owned(), action: 1, ..WatchEntry::default() };
            let request = WatchRequest { entries: vec![entry], ..WatchRequest::default() };
            let socket = manager.socket();
            streams.push(runtime.block_on(async {
                let begun = WatchClient::new(connect(socket)).watch(request).await;
                let mut stream = begun.expect("it begins").into_inner();
                stream.message().await.expect("no error").expect("it says that it is ready");
                stream
            }));
        }
        Self { runtime, streams }
    }

    /// Waits until each has shown the service that was made.
    fn end(self, name: &str) {
        let Self { runtime, streams } = self;
        for mut stream in streams {
            let message = async { timeout(Duration::from_secs(60), stream.message()).await };
            let message = runtime.block_on(message);
            let message = message.expect("it comes soon").expect("no error").expect("a message");
            let object = message.events[0].object.clone().and_then(|object| object.object);
            let Some(Object::Service(service)) = object else { panic!("no service: {message:?}") };
            let annotations = service.spec.and_then(|spec| spec.annotations).unwrap_or_default();
            assert_eq!(annotations.name, name);
        }
    }
}

#[test]
fn a_manager_that_was_killed_comes_back_at_another_address() {
    let mut swarm = Swarm::of(3);
    let leader = swarm.await_reachable(3);
    let follower = (leader + 1) % 3;
    for number in [follower, leader] {
        let before = swarm::address(&swarm.managers[number]);
        let port_holder = {
            swarm.managers[number].kill();
            swarm.await_reachable(2);
            // Nobody gets the same port again.
            std::net::TcpListener::bind(&before)
        };
        swarm.managers[number].launch();
        swarm.await_reachable(3);
        drop(port_holder);
        let after = swarm::address(&swarm.managers[number]);
        assert_ne!(before, after);
        let id = swarm::node_id(&swarm.managers[number]);
        eventually("the new address of the manager", || {
            let shown = answer(&swarm.managers[0], &format!("node inspect {id}")).1;
            if shown.contains(&after) { Ok(()) } else { Err(shown) }
        });
        page(&swarm, "node ls");
    }
}

/// How often the leader is killed.
const ROUNDS: usize = 4;

#[test]
fn a_killed_leader_loses_nothing_and_nobody_is_left_guessing() {
    let mut swarm = Swarm::of(3);
    let writer = Writer::start("s", swarm.running());
    for _ in 0..ROUNDS {
        writer.await_more(20);
        let leader = swarm.await_reachable(3);
        swarm.managers[leader].kill();
        writer.await_more(20);
        swarm.managers[leader].launch();
    }
    swarm.await_reachable(3);
    let told = writer.end();
    told.check_all(&swarm);
    let answers = format!(
        "{} acknowledged, {} not written, {} unknown, {} unanswered",
        told.acknowledged.len(),
        told.not_written.len(),
        told.unknown.len(),
        told.unanswered.len()
    );
    assert!(told.not_written.len() + told.unknown.len() + told.unanswered.len() > 0, "{answers}");
    assert!(told.acknowledged.len() >= ROUNDS * 40, "{answers}");
}
