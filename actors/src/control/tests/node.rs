//! Nodes: updated, demoted, removed (validation.md §5).

use std::sync::Arc;

use prost_types::Timestamp;
use protocol::{
    id::TaskId,
    objects::{Cluster, Node, Task},
    wire::{
        self, BlacklistedCertificate, ContainerSpec, ManagerStatus, NodeRole, NodeSpec, NodeStatus,
        TaskSpec, node_status::State, raft_member_status::Reachability, task_spec::Runtime,
    },
};

use super::{NOW, View, named, refusal, write};
use crate::{
    control::{
        Error,
        logic::node::{self, Managers},
        logic::task,
    },
    store::{self, CHANGES_PER_TRANSACTION, Transaction},
};

const EXPIRY: Timestamp = Timestamp { seconds: 2_000_000, nanos: 0 };

fn spec(role: NodeRole) -> NodeSpec {
    NodeSpec { desired_role: role.into(), ..NodeSpec::default() }
}

/// A cluster of nodes in this role and state: n1, n2 and so on.
fn cluster(nodes: &[(NodeRole, State)]) -> View {
    let old = |seconds| BlacklistedCertificate {
        expiry: Some(Timestamp { seconds: NOW.seconds - seconds, nanos: 0 }),
    };
    let week = 7 * 24 * 60 * 60;
    let cluster = wire::Cluster {
        id: "c1".to_owned(),
        spec: Some(wire::ClusterSpec { annotations: Some(named("default")), ..Default::default() }),
        blacklisted_certificates: [
            ("forgotten".to_owned(), old(week + 1)),
            ("remembered".to_owned(), old(week)),
            ("endless".to_owned(), BlacklistedCertificate::default()),
        ]
        .into(),
        ..wire::Cluster::default()
    };
    write(&View::default(), |transaction| {
        transaction.create(Cluster::from(cluster))?;
        for (number, (role, state)) in (1..).zip(nodes) {
            transaction.create(Node::from(wire::Node {
                id: format!("n{number}"),
                spec: Some(spec(*role)),
                role: (*role).into(),
                status: Some(NodeStatus { state: (*state).into(), ..NodeStatus::default() }),
                ..wire::Node::default()
            }))?;
        }
        Ok::<_, store::Error>(())
    })
    .unwrap()
}

/// What raft knows: the first leads, then come those that can be reached, or cannot.
fn managers(reachable: &[bool]) -> Managers {
    let status = |(number, reachable): (usize, &bool)| {
        let reachability = match reachable {
            true => Reachability::Reachable,
            false => Reachability::Unreachable,
        };
        let status = ManagerStatus {
            leader: number == 0,
            reachability: reachability.into(),
            ..ManagerStatus::default()
        };
        (format!("n{}", number + 1).into(), status)
    };
    reachable.iter().enumerate().map(status).collect()
}

fn update(
    view: &View,
    id: &str,
    version: u64,
    role: NodeRole,
    known: &Managers,
) -> Result<View, Error> {
    write(view, |transaction| node::update(transaction, id, version, spec(role), known))
}

fn remove(view: &View, id: &str, force: bool, known: &Managers) -> Result<View, Error> {
    write(view, |transaction| node::remove(transaction, id, force, known, |_| Some(EXPIRY), NOW))
}

#[track_caller]
fn check(outcome: Result<View, Error>, expected: &str) {
    assert_eq!(outcome.map_or_else(|error| refusal(&error), |_| "done".to_owned()), expected);
}

use NodeRole::{Manager, Worker};
use State::{Disconnected, Down, Ready, Unknown};

#[test]
fn nodes_are_found_and_updated_by_id_and_version() {
    let view = cluster(&[(Worker, Ready)]);
    let none = Managers::new();
    check(node::get(&view, "").map(|_| view.clone()), "IA: invalid argument");
    check(node::get(&view, "n9").map(|_| view.clone()), "NF: node n9 not found");
    check(update(&view, "n9", 1, Worker, &none), "NF: node n9 not found");
    check(update(&view, "n1", 9, Worker, &none), "UK: update out of sequence");
    let view = update(&view, "n1", 1, Manager, &none).unwrap();
    let stored = node::get(&view, "n1").unwrap();
    assert_eq!(stored.spec.desired_role(), Manager);
    assert_eq!(stored.role, i32::from(Worker), "a role changes when its certificate does");
}

#[test]
fn a_demotion_keeps_the_cluster_alive() {
    let three = cluster(&[(Manager, Ready), (Manager, Ready), (Manager, Ready)]);
    let last = "FP: attempting to demote the last manager of the swarm";
    check(update(&cluster(&[(Manager, Ready)]), "n1", 1, Worker, &managers(&[true])), last);
    // It learns, or was never a member.
    check(update(&three, "n3", 1, Worker, &managers(&[true, true])), "done");
    check(update(&three, "n3", 1, Worker, &managers(&[true, false])), "done");
    check(update(&three, "n3", 1, Worker, &managers(&[true, true, true])), "done");
    check(update(&three, "n3", 1, Worker, &managers(&[true, true, false])), "done");
    check(
        update(&three, "n2", 1, Worker, &managers(&[true, true, false])),
        "FP: can't remove member from the raft: this would result in a loss of quorum",
    );
}

#[test]
fn one_manager_is_not_demoted_whatever_the_others_are_yet() {
    let last = "FP: attempting to demote the last manager of the swarm";
    let known = managers(&[true, true, true]);
    let three = cluster(&[(Manager, Ready), (Manager, Ready), (Manager, Ready)]);
    // Roles follow later: all three are managers still.
    let two = update(&three, "n3", 1, Worker, &known).unwrap();
    let one = update(&two, "n2", 1, Worker, &known).unwrap();
    check(update(&one, "n1", 1, Worker, &known), last);
    let back = update(&one, "n3", 2, Manager, &known).unwrap();
    check(update(&back, "n1", 1, Worker, &known), "done");
}

#[test]
fn managers_that_can_be_reached_and_nodes_that_are_ready_stay() {
    let view = cluster(&[(Manager, Ready), (Worker, Ready), (Manager, Down)]);
    let known = managers(&[true]);
    check(remove(&view, "", false, &known), "IA: invalid argument");
    check(remove(&view, "n9", false, &known), "NF: node n9 not found");
    let member = "FP: node n1 is a cluster manager and is a member of the raft cluster. It must \
                  be demoted to worker before removal";
    check(remove(&view, "n1", true, &known), member);
    check(remove(&view, "n2", false, &known), "FP: node n2 is not down and can't be removed");
    check(remove(&view, "n2", true, &known), "done");
    check(remove(&view, "n3", false, &known), "done");
    for state in [Unknown, Down, Disconnected] {
        check(remove(&cluster(&[(Worker, state)]), "n1", false, &known), "done");
    }
}

#[test]
fn a_removed_node_is_kept_out() {
    let view = remove(&cluster(&[(Worker, Down)]), "n1", false, &Managers::new()).unwrap();
    assert_eq!(view.nodes().count(), 0);
    let kept_out = &view.default_cluster().unwrap().rest.blacklisted_certificates;
    assert_eq!(kept_out["n1"].expiry, Some(EXPIRY));
    let ids: Vec<_> = kept_out.keys().map(String::as_str).collect();
    assert_eq!(ids, ["endless", "n1", "remembered"]);
    // Whoever has no certificate that can be read is kept out as long as one made now would last.
    let unread = write(&cluster(&[(Worker, Down)]), |transaction| {
        node::remove(transaction, "n1", false, &Managers::new(), |_| None, NOW)
    });
    let unread = unread.unwrap();
    let kept_out = &unread.default_cluster().unwrap().rest.blacklisted_certificates;
    let ninety_days = 90 * 24 * 60 * 60;
    assert_eq!(
        kept_out["n1"].expiry,
        Some(Timestamp { seconds: NOW.seconds + ninety_days, nanos: 0 })
    );
}

#[test]
fn a_node_with_more_tasks_than_one_transaction_takes_can_be_removed() {
    let container = ContainerSpec { dir: "x".repeat(9 << 10), ..Default::default() };
    let runtime = Some(Runtime::Container(container));
    let spec = Arc::new(TaskSpec { runtime, ..Default::default() });
    let view = write(&cluster(&[(Worker, Down)]), |transaction| {
        (0..2 * CHANGES_PER_TRANSACTION).try_for_each(|number| {
            let id = TaskId::from(number.to_string().as_str());
            let (node_id, spec) = ("n1".into(), spec.clone());
            transaction.create(Task { id, node_id, spec, ..Task::default() })
        })
    });
    let mut transaction = Transaction::begin(&view.unwrap());
    node::remove(&mut transaction, "n1", false, &Managers::new(), |_| None, NOW).unwrap();
    assert_eq!(transaction.len(), 2, "the cluster and the node");
}

#[test]
fn answers_show_what_raft_knows() {
    let view = cluster(&[(Manager, Ready), (Worker, Ready)]);
    let known = managers(&[true]);
    let shown = |id: &str| node::shown(node::get(&view, id).unwrap(), &known).manager_status;
    assert!(shown("n1").is_some_and(|status| status.leader));
    assert_eq!(shown("n2"), None);
}

#[test]
fn tasks_are_found_and_removed_by_id() {
    let create = |transaction: &mut Transaction| {
        transaction.create(Task { id: "t1".into(), ..Task::default() })
    };
    let view = write(&View::default(), create).unwrap();
    check(task::get(&view, "").map(|_| view.clone()), "IA: invalid argument");
    check(task::get(&view, "t9").map(|_| view.clone()), "NF: task t9 not found");
    check(write(&view, |transaction| task::remove(transaction, "t9")), "NF: task t9 not found");
    let view = write(&view, |transaction| task::remove(transaction, "t1")).unwrap();
    assert_eq!(view.tasks().count(), 0);
}
