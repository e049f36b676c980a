//! What can be changed about a node, and what is said when nothing is to be changed.

use protocol::wire::{NodeRole, NodeSpec, node_spec::Availability};

use super::change::Change;
use crate::value::List;

fn labelled(flags: &[&str]) -> Result<Change, String> {
    let flags: Vec<List> = flags.iter().map(|flag| flag.parse().unwrap()).collect();
    Change::labels(Some(&flags)).map_err(|error| error.to_string())
}

/// Applies a change twice: the second time there is nothing to change.
fn changed(change: &Change, mut spec: NodeSpec) -> (NodeSpec, String) {
    change.apply("n1", &mut spec).unwrap();
    let again = change.apply("n1", &mut spec).unwrap_err();
    (spec, again.to_string())
}

#[test]
fn availability_and_role_change_once() {
    let manager = || NodeSpec { desired_role: NodeRole::Manager.into(), ..NodeSpec::default() };
    let paused = NodeSpec { availability: Availability::Pause.into(), ..NodeSpec::default() };
    let (spec, again) = changed(&Change::Activate, paused);
    assert_eq!((spec.availability(), &*again), (Availability::Active, "Node n1 is already active"));
    let (spec, again) = changed(&Change::Pause, NodeSpec::default());
    assert_eq!((spec.availability(), &*again), (Availability::Pause, "Node n1 was already paused"));
    let (spec, again) = changed(&Change::Drain, NodeSpec::default());
    assert_eq!(
        (spec.availability(), &*again),
        (Availability::Drain, "Node n1 was already drained")
    );
    let (spec, again) = changed(&Change::Promote, NodeSpec::default());
    assert_eq!((spec.desired_role(), &*again), (NodeRole::Manager, "Node n1 is already a manager"));
    let (spec, again) = changed(&Change::Demote, manager());
    assert_eq!((spec.desired_role(), &*again), (NodeRole::Worker, "Node n1 is already a worker"));
}

#[test]
fn labels_replace_all_that_were_there() {
    let (spec, again) = changed(&labelled(&["a=b,c=d", "e="]).unwrap(), NodeSpec::default());
    let labels: Vec<_> = spec.annotations.as_ref().unwrap().labels.iter().collect();
    let text = |pairs: &[(&str, &str)]| format!("{pairs:?}");
    assert_eq!(format!("{labels:?}"), text(&[("a", "b"), ("c", "d"), ("e", "")]));
    assert_eq!(again, "No change for node n1");
    let (spec, _) = changed(&labelled(&["x=y"]).unwrap(), spec);
    assert_eq!(spec.annotations.unwrap().labels.len(), 1);
    assert_eq!(labelled(&["x"]).unwrap_err(), "malformed label for node x");
}

#[test]
fn an_update_without_flags_changes_nothing() {
    let error = Change::labels(None).unwrap().apply("n1", &mut NodeSpec::default()).unwrap_err();
    assert_eq!(error.to_string(), "No change for node n1");
}
