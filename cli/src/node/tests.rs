//! What can be changed about a node, and what is said when nothing is to be changed.

use clap::Parser;
use protocol::wire::{NodeRole, NodeSpec, node_spec::Availability};

use super::{Command, Prepared, prepare};
use crate::error::Error;

#[derive(Parser)]
struct Typed {
    #[command(subcommand)]
    command: Command,
}

fn typed(words: &str) -> Result<Prepared, Error> {
    let words = std::iter::once("node").chain(words.split_whitespace());
    prepare(Typed::try_parse_from(words).unwrap().command)
}

/// Applies a change twice: the second time there is nothing to change.
fn changed(words: &str, spec: NodeSpec) -> (NodeSpec, String) {
    let Ok(Prepared::Change { node, change }) = typed(words) else { panic!("no change: {words}") };
    let mut spec = spec;
    change.apply(&node, &mut spec).unwrap();
    let again = change.apply(&node, &mut spec).unwrap_err();
    (spec, again.to_string())
}

#[test]
fn availability_and_role_change_once() {
    let manager = || NodeSpec { desired_role: NodeRole::Manager.into(), ..NodeSpec::default() };
    let paused = NodeSpec { availability: Availability::Pause.into(), ..NodeSpec::default() };
    let (spec, again) = changed("activate n1", paused);
    assert_eq!((spec.availability(), &*again), (Availability::Active, "Node n1 is already active"));
    let (spec, again) = changed("pause n1", NodeSpec::default());
    assert_eq!((spec.availability(), &*again), (Availability::Pause, "Node n1 was already paused"));
    let (spec, again) = changed("drain n1", NodeSpec::default());
    assert_eq!(
        (spec.availability(), &*again),
        (Availability::Drain, "Node n1 was already drained")
    );
    let (spec, again) = changed("promote n1", NodeSpec::default());
    assert_eq!((spec.desired_role(), &*again), (NodeRole::Manager, "Node n1 is already a manager"));
    let (spec, again) = changed("demote n1", manager());
    assert_eq!((spec.desired_role(), &*again), (NodeRole::Worker, "Node n1 is already a worker"));
}

#[test]
fn labels_replace_all_that_were_there() {
    let (spec, again) = changed("update n1 --label a=b,c=d --label e=", NodeSpec::default());
    let labels: Vec<_> = spec.annotations.as_ref().unwrap().labels.iter().collect();
    let text = |pairs: &[(&str, &str)]| format!("{pairs:?}");
    assert_eq!(format!("{labels:?}"), text(&[("a", "b"), ("c", "d"), ("e", "")]));
    assert_eq!(again, "No change for node n1");
    let (spec, _) = changed("update n1 --label x=y", spec);
    assert_eq!(spec.annotations.unwrap().labels.len(), 1);
    let error = typed("update n1 --label x").err().unwrap().to_string();
    assert_eq!(error, "malformed label for node x");
}

#[test]
fn an_update_without_flags_changes_nothing() {
    let Ok(Prepared::Change { change, .. }) = typed("update n1") else { panic!("no change") };
    let error = change.apply("n1", &mut NodeSpec::default()).unwrap_err();
    assert_eq!(error.to_string(), "No change for node n1");
}
