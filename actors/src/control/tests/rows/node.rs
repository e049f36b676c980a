//! Nodes (validation.md §5).

use protocol::{
    objects::Node,
    wire::{
        self, ManagerStatus, NodeRole, NodeSpec, NodeStatus, node_status::State,
        raft_member_status::Reachability,
    },
};

use super::{NOW, Row, View, check_rows, row, write};
use crate::control::{
    Error,
    logic::node::{self, Managers},
    validate,
};

/// A request about the node `n2`, and the cluster that it is made to.
struct Asked {
    id: &'static str,
    version: Option<u64>,
    spec: Option<NodeSpec>,
    force: bool,
    /// What `n2` should be and is, and how it is.
    role: NodeRole,
    state: State,
    /// How many of `n1` and `n3` are managers.
    other_managers: usize,
    /// The members that raft knows, and whether they can be reached.
    members: &'static [(&'static str, bool)],
}

/// A demotion that can be done.
fn demotion() -> Asked {
    Asked {
        id: "n2",
        version: Some(1),
        spec: Some(NodeSpec { desired_role: NodeRole::Worker.into(), ..NodeSpec::default() }),
        force: false,
        role: NodeRole::Manager,
        state: State::Ready,
        other_managers: 2,
        members: &[("n1", true), ("n2", true), ("n3", true)],
    }
}

/// A removal that can be done.
fn removal() -> Asked {
    Asked { role: NodeRole::Worker, state: State::Down, ..demotion() }
}

fn cluster(asked: &Asked) -> View {
    let node = |id: &str, role: NodeRole, state: State| {
        Node::from(wire::Node {
            id: id.to_owned(),
            spec: Some(NodeSpec { desired_role: role.into(), ..NodeSpec::default() }),
            role: role.into(),
            status: Some(NodeStatus { state: state.into(), ..NodeStatus::default() }),
            ..wire::Node::default()
        })
    };
    let others = ["n1", "n3"].into_iter().enumerate().map(|(number, id)| {
        let is_manager = number < asked.other_managers;
        node(id, if is_manager { NodeRole::Manager } else { NodeRole::Worker }, State::Ready)
    });
    let nodes: Vec<_> = others.chain([node("n2", asked.role, asked.state)]).collect();
    write(&View::default(), |transaction| {
        nodes.into_iter().try_for_each(|node| transaction.create(node))
    })
    .unwrap()
}

fn members(asked: &Asked) -> Managers {
    let status = |(id, is_reachable): &(&str, bool)| {
        let reachability = match is_reachable {
            true => Reachability::Reachable,
            false => Reachability::Unreachable,
        };
        let reachability = reachability.into();
        ((*id).into(), ManagerStatus { reachability, ..ManagerStatus::default() })
    };
    asked.members.iter().map(status).collect()
}

const INCOMPLETE: &str = "IA: invalid argument";

const UPDATE: &[Row<Asked>] = &[
    row("1 empty ID", "id", |asked| asked.id = "", INCOMPLETE),
    row("1 no version", "version", |asked| asked.version = None, INCOMPLETE),
    row("1 no spec", "spec", |asked| asked.spec = None, INCOMPLETE),
    row("1 unknown ID", "id", |asked| asked.id = "n9", "NF: node n9 not found"),
    row(
        "5 last manager",
        "members",
        |asked| asked.other_managers = 0,
        "FP: attempting to demote the last manager of the swarm",
    ),
    row(
        "5 quorum",
        "members",
        |asked| asked.members = &[("n1", false), ("n2", true), ("n3", true)],
        "FP: can't remove member from the raft: this would result in a loss of quorum",
    ),
    row(
        "1 version check",
        "version",
        |asked| asked.version = Some(9),
        "UK: update out of sequence",
    ),
];

#[test]
fn an_update_is_checked_row_by_row() {
    check_rows(demotion, UPDATE, |mut asked| {
        let version =
            validate::version(asked.id, asked.version.map(|index| wire::Version { index }))?;
        let spec = asked.spec.take().ok_or_else(Error::incomplete)?;
        write(&cluster(&asked), |transaction| {
            node::update(transaction, asked.id, version, spec, &members(&asked))
        })
    });
}

const REMOVE: &[Row<Asked>] = &[
    row("1 empty ID", "id", |asked| asked.id = "", INCOMPLETE),
    row("1 unknown ID", "id", |asked| asked.id = "n9", "NF: node n9 not found"),
    row(
        "5 manager and raft member, even with force",
        "role",
        |asked| {
            asked.role = NodeRole::Manager;
            asked.force = true;
        },
        "FP: node n2 is a cluster manager and is a member of the raft cluster. It must be demoted \
         to worker before removal",
    ),
    row(
        "5 READY and not force",
        "state",
        |asked| asked.state = State::Ready,
        "FP: node n2 is not down and can't be removed",
    ),
];

#[test]
fn a_removal_is_checked_row_by_row() {
    check_rows(removal, REMOVE, |asked| {
        write(&cluster(&asked), |transaction| {
            node::remove(transaction, asked.id, asked.force, &members(&asked), |_| None, NOW)
        })
    });
    for state in [State::Unknown, State::Down, State::Disconnected] {
        let asked = Asked { state, ..removal() };
        let removed = write(&cluster(&asked), |transaction| {
            node::remove(transaction, "n2", false, &members(&asked), |_| None, NOW)
        });
        assert!(removed.is_ok(), "{state:?}");
    }
}
