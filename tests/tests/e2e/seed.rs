//! The walk-through that this project was begun with: four daemons, and what is shown of them, column
//! for column. The image is `host` instead of an engine's, and the ports are whatever is free.

use std::collections::BTreeSet;

use crate::{
    daemon::{Daemon, Place, eventually},
    fleet::{await_exactly, await_nodes},
    swarm::{self, Swarm},
};

const ARGUMENT: u32 = 100_631;

/// A listing: the names above its columns, and the cells below each.
#[derive(Debug)]
struct Table {
    names: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads what begins with names and a rule under each, and ends with the text.
    fn read(text: &str) -> Self {
        let mut lines = text.lines();
        let (names, rules) = (lines.next().expect("names"), lines.next().expect("rules"));
        let mut starts = Vec::new();
        for (at, _) in rules.match_indices('-') {
            if at == 0 || rules.as_bytes()[at - 1] != b'-' {
                starts.push(at);
            }
        }
        let cells = |line: &str| -> Vec<_> {
            let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
            let cell = |(start, end): (&usize, usize)| {
                let cell = line.get(*start..end.min(line.len())).unwrap_or_default();
                cell.trim_end().to_owned()
            };
            starts.iter().zip(ends).map(cell).collect()
        };
        let (names, rules) = (cells(names), cells(rules));
        for (name, rule) in names.iter().zip(&rules) {
            assert_eq!(*rule, "-".repeat(name.len()), "the rule under {name}");
        }
        Self { names, rows: lines.map(cells).collect() }
    }

    /// Checks that the first column holds ids, each another, and returns the rest of the rows.
    fn behind_ids(&self) -> Vec<Vec<&str>> {
        let ids: BTreeSet<_> = self.rows.iter().map(|row| &row[0]).collect();
        assert_eq!(ids.len(), self.rows.len(), "each its own: {ids:?}");
        assert!(ids.iter().all(|id| is_id(id)), "{ids:?}");
        self.rows.iter().map(|row| row[1..].iter().map(String::as_str).collect()).collect()
    }
}

fn is_id(text: &str) -> bool {
    let is_digit = |digit: char| digit.is_ascii_digit() || digit.is_ascii_lowercase();
    text.len() == 25 && text.chars().all(is_digit)
}

/// The lines of a page, with the space between names and values as single spaces.
fn squeezed(page: &str) -> Vec<String> {
    page.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// What `node ls` has to show, by the names of the nodes. The star is at whichever leads: on a busy machine
/// that may have changed.
#[track_caller]
fn nodes_are(swarm: &Swarm, manager: &Daemon, expected: &[[&str; 5]; 4]) {
    let table = eventually("nodes as expected", || {
        let leader = swarm.managers[swarm.await_reachable(2)].hostname();
        let expected = expected.map(|row| match row {
            [name, membership, status, availability, "REACHABLE"] if name == leader => {
                [name, membership, status, availability, "REACHABLE *"]
            }
            row => row,
        });
        let text = manager.try_swarmctl("node ls")?;
        let table = Table::read(&text);
        let mut rows = table.behind_ids();
        rows.sort_unstable();
        if rows == expected.map(Vec::from) { Ok(table) } else { Err(text) }
    });
    let names = ["ID", "Name", "Membership", "Status", "Availability", "Manager Status"];
    assert_eq!(table.names, names);
}

/// What `service inspect` has to show; returns on which node each slot runs.
#[track_caller]
fn redis_is(manager: &Daemon, id: &str, replicas: usize) -> Vec<String> {
    await_exactly(manager, "redis", ARGUMENT, replicas);
    let page = manager.swarmctl("service inspect redis");
    let (head, table) = page.split_once("Task ID").expect("a table of tasks");
    let expected = [
        &format!("ID : {id}"),
        "Name : redis",
        &format!("Replicas : {replicas}/{replicas}"),
        "Template",
        "Container",
        "Image : host",
        "Command : \"sleep\"",
        &format!("Args : [{ARGUMENT}]"),
    ];
    let head: Vec<_> = squeezed(head).into_iter().filter(|line| !line.is_empty()).collect();
    assert_eq!(head, expected, "{page}");
    let table = Table::read(&format!("Task ID{table}"));
    let names = ["Task ID", "Service", "Slot", "Image", "Desired State", "Last State", "Node"];
    assert_eq!(table.names, names);
    let rows = table.behind_ids();
    assert_eq!(rows.len(), replicas, "{page}");
    let mut nodes = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let slot = (number + 1).to_string();
        assert_eq!(row[..4], ["redis", &slot, "host", "RUNNING"], "{page}");
        let since = row[4].strip_prefix("RUNNING ").expect("it runs");
        assert!(since == "now" || since.ends_with(" ago"), "{page}");
        nodes.push(row[5].to_owned());
    }
    nodes
}

#[test]
fn four_machines_as_in_the_seed() {
    let mut swarm = Swarm::on(vec![Place::here("node-1")]);
    cluster_is(&swarm.managers[0]);
    let workers = ["node-2", "node-3"].map(|name| swarm.worker(Place::here(name)));
    swarm.add(Place::here("node-4"));
    let ready = ["node-1", "node-2", "node-3", "node-4"].map(|name| (name, "READY"));
    for manager in &swarm.managers {
        await_nodes(manager, &ready);
        nodes_are(
            &swarm,
            manager,
            &[
                ["node-1", "ACCEPTED", "READY", "ACTIVE", "REACHABLE"],
                ["node-2", "ACCEPTED", "READY", "ACTIVE", ""],
                ["node-3", "ACCEPTED", "READY", "ACTIVE", ""],
                ["node-4", "ACCEPTED", "READY", "ACTIVE", "REACHABLE"],
            ],
        );
    }

    let manager = &swarm.managers[0];
    let create = "service create --name redis --image host --command sleep --args";
    let answer = manager.swarmctl(&format!("{create} {ARGUMENT}"));
    let id = answer.strip_suffix('\n').expect("a line");
    assert!(is_id(id), "{answer:?}");
    redis_is(manager, id, 1);
    let table = Table::read(&manager.swarmctl("service ls"));
    assert_eq!(table.names, ["ID", "Name", "Image", "Replicas"]);
    assert_eq!(table.rows, [[id, "redis", "host", "1/1"]]);

    assert_eq!(manager.swarmctl("service update redis --replicas 6"), answer);
    let nodes = redis_is(manager, id, 6);
    for (name, _) in ready {
        let count = nodes.iter().filter(|node| *node == name).count();
        assert!((1..=2).contains(&count), "six on four, evenly: {nodes:?}");
    }
    assert_eq!(redis_is(&swarm.managers[1], id, 6), nodes, "every manager shows the same");

    assert_eq!(manager.swarmctl("node drain node-1"), "");
    eventually("a node without a task", || match manager.tasks().len() {
        0 => Ok(()),
        left => Err(format!("{left} are left")),
    });
    nodes_are(
        &swarm,
        manager,
        &[
            ["node-1", "ACCEPTED", "READY", "DRAIN", "REACHABLE"],
            ["node-2", "ACCEPTED", "READY", "ACTIVE", ""],
            ["node-3", "ACCEPTED", "READY", "ACTIVE", ""],
            ["node-4", "ACCEPTED", "READY", "ACTIVE", "REACHABLE"],
        ],
    );
    let nodes = redis_is(manager, id, 6);
    for name in ["node-2", "node-3", "node-4"] {
        let count = nodes.iter().filter(|node| *node == name).count();
        assert_eq!(count, 2, "every task of node-1 runs elsewhere, evenly: {nodes:?}");
    }
    let counted: usize = workers.iter().map(|worker| worker.tasks().len()).sum();
    assert_eq!(counted, 4, "what is shown is what runs");
}

/// What `cluster inspect` has to show of a cluster that was just begun.
fn cluster_is(manager: &Daemon) {
    let page = manager.swarmctl("cluster inspect default");
    let tokens = ["worker", "manager"].map(|role| swarm::token(manager, role));
    let id = page.lines().next().and_then(|line| line.rsplit(' ').next()).expect("an id");
    assert!(is_id(id), "{page}");
    let expected = [
        &format!("ID : {id}"),
        "Name : default",
        "Orchestration settings:",
        "Task history entries: 5",
        "Dispatcher settings:",
        "Dispatcher heartbeat period: 5s",
        "Certificate Authority settings:",
        "Certificate Validity Duration: 2160h0m0s",
        "Join Tokens:",
        &format!("Worker: {}", tokens[0]),
        &format!("Manager: {}", tokens[1]),
    ];
    assert_eq!(squeezed(&page), expected, "{page}");
    for token in tokens {
        let parts: Vec<_> = token.split('-').map(str::len).collect();
        assert_eq!(parts, ["SWMTKN".len(), 1, 50, 25], "{token}");
    }
}
