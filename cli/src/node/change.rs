//! What can be changed about a node.

use std::collections::BTreeMap;

use protocol::wire::{NodeRole, NodeSpec, node_spec::Availability};

use crate::{
    error::Error,
    value::{self, List},
};

/// One change of a node's spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It takes tasks.
    Activate,
    /// It takes no new tasks.
    Pause,
    /// It takes no tasks, and loses those that it has.
    Drain,
    /// It becomes a manager.
    Promote,
    /// It becomes a worker.
    Demote,
    /// It has these labels and no others; none if nothing was given.
    Labels(Option<BTreeMap<String, String>>),
}

impl Change {
    /// The labels of a flag, if it was given.
    pub(super) fn labels(flag: Option<&[List]>) -> Result<Self, Error> {
        let labels = List::join(flag);
        Ok(Self::Labels(labels.map(|labels| value::node_labels(&labels)).transpose()?))
    }

    /// Changes a spec. That there is nothing to change is an error, in which the node is called
    /// as the user called it.
    pub(super) fn apply(&self, name: &str, spec: &mut NodeSpec) -> Result<(), Error> {
        let before = spec.clone();
        let unchanged = match self {
            Self::Activate => {
                spec.set_availability(Availability::Active);
                format!("Node {name} is already active")
            }
            Self::Pause => {
                spec.set_availability(Availability::Pause);
                format!("Node {name} was already paused")
            }
            Self::Drain => {
                spec.set_availability(Availability::Drain);
                format!("Node {name} was already drained")
            }
            Self::Promote => {
                spec.set_desired_role(NodeRole::Manager);
                format!("Node {name} is already a manager")
            }
            Self::Demote => {
                spec.set_desired_role(NodeRole::Worker);
                format!("Node {name} is already a worker")
            }
            Self::Labels(labels) => {
                if let Some(labels) = labels {
                    spec.annotations.get_or_insert_default().labels.clone_from(labels);
                }
                format!("No change for node {name}")
            }
        };
        if *spec == before { Err(Error::usage(unchanged)) } else { Ok(()) }
    }
}
