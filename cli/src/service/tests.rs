//! What flags make of a spec.

use clap::Parser;
use protocol::wire::{
    ContainerSpec, ServiceSpec, restart_policy::RestartCondition, service_spec::Mode,
    task_spec::Runtime,
};

use super::{Command, Prepared, prepare};
use crate::error::Error;

#[derive(Parser)]
struct Typed {
    #[command(subcommand)]
    command: Command,
}

fn typed(words: &str) -> Result<Prepared, Error> {
    let words = std::iter::once("service").chain(words.split_whitespace());
    prepare(Typed::try_parse_from(words).unwrap().command)
}

fn created(flags: &str) -> Result<ServiceSpec, String> {
    match typed(&format!("create --name a --image host {flags}")) {
        Ok(Prepared::Create(spec)) => Ok(spec),
        Ok(_) => panic!("another command was read"),
        Err(error) => Err(error.to_string()),
    }
}

fn container(spec: &ServiceSpec) -> &ContainerSpec {
    match spec.task.as_ref().unwrap().runtime.as_ref().unwrap() {
        Runtime::Container(container) => container,
        Runtime::Attachment(_) | Runtime::Generic(_) => panic!("no container"),
    }
}

#[test]
fn a_new_service_has_one_replica_and_restarts_always() {
    let spec = created("--command sleep --args 100000").unwrap();
    assert!(matches!(&spec.mode, Some(Mode::Replicated(mode)) if mode.replicas == 1));
    assert_eq!(container(&spec).command, ["sleep"]);
    assert_eq!(container(&spec).args, ["100000"]);
    let restart = spec.task.unwrap().restart.unwrap();
    assert_eq!(restart.condition(), RestartCondition::Any);
}

#[test]
fn create_needs_a_name_and_an_image() {
    let error = typed("create --name a").err().unwrap().to_string();
    assert_eq!(error, "--name and --image are mandatory");
}

#[test]
fn wrong_values_are_told_with_what_is_right() {
    let refuse = |flags, why: &str| assert_eq!(created(flags).unwrap_err(), why);
    refuse("--mode global --replicas 2", "--replicas can only be specified in --mode replicated");
    refuse("--restart-condition often", "invalid restart condition: often");
    refuse("--restart-delay soon", "time: invalid duration \"soon\"");
    refuse("--update-order never", "--update-order value must be stop-first or start-first");
    refuse("--update-on-failure x", "--update-on-failure value must be pause or continue");
    refuse(
        "--rollback-on-failure rollback",
        "--rollback-on-failure value must be pause or continue",
    );
    refuse("--memory-limit abc", "invalid size: 'abc'");
    refuse("--cpu-limit 1/3", "CPU value cannot have more than 9 decimal places: 1/3");
    refuse("--label x", "malformed label: x");
}

#[test]
fn an_update_changes_only_what_is_given() {
    let before = created("--log-driver json-file --log-opt max-size=1m --env A=1").unwrap();
    let Ok(Prepared::Update { service, changes }) = typed("update web --replicas 6") else {
        panic!("an update was typed");
    };
    let mut after = before.clone();
    changes.apply(&mut after).unwrap();
    assert_eq!(service, "web");
    assert!(matches!(&after.mode, Some(Mode::Replicated(mode)) if mode.replicas == 6));
    assert_eq!(after.task, before.task);
}

#[test]
fn force_replaces_tasks_that_did_not_change() {
    let Ok(Prepared::Update { changes, .. }) = typed("update web --force") else {
        panic!("an update was typed");
    };
    let mut spec = created("").unwrap();
    changes.apply(&mut spec).unwrap();
    assert_eq!(spec.task.unwrap().force_update, 1);
}
