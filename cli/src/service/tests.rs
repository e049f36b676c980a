//! What flags make of a spec.

use std::{collections::BTreeMap, time::Duration};

use clap::Parser;
use protocol::wire::{
    ContainerSpec, Service, ServiceSpec, Task, TaskState, TaskStatus,
    restart_policy::RestartCondition, service_spec::Mode, task_spec::Runtime,
};
use tonic::{Code, Status};

use super::{
    Command,
    flags::{Changes, Update},
    page::page,
    without_lost,
};

#[derive(Parser)]
struct Typed {
    #[command(subcommand)]
    command: Command,
}

fn typed(words: &str) -> Command {
    let words = std::iter::once("service").chain(words.split_whitespace());
    Typed::try_parse_from(words).unwrap().command
}

fn created(flags: &str) -> Result<ServiceSpec, String> {
    create(&format!("--name a --image host {flags}"))
}

fn create(flags: &str) -> Result<ServiceSpec, String> {
    let Command::Create(create) = typed(&format!("create {flags}")) else {
        panic!("a service is created");
    };
    create.spec().map(|(spec, _)| spec).map_err(|error| error.to_string())
}

fn update(flags: &str) -> Update {
    let Command::Update(update) = typed(&format!("update web {flags}")) else {
        panic!("a service is updated");
    };
    update
}

fn changes(flags: &str) -> Changes {
    update(flags).changes().unwrap().1
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
    assert_eq!(create("--name a").unwrap_err(), "--name and --image are mandatory");
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
    refuse("--bind /a", "bind format \"/a\" not supported");
    refuse("--volume /a:/b", "volume format \"/a:/b\" not supported");
    refuse("--npipe x", "npipe format \"x\" not supported");
    refuse("--tmpfs a", "invalid mount spec: a");
    refuse("--ulimit nofile", "invalid ulimit argument: nofile");
    refuse("--generic-resources gpu=a", "invalid argument for resource gpu");
    refuse("--secret :x", "invalid secret name provided");
    refuse("--secret x:", "invalid presentation name provided");
    refuse("--ports http", "insufficient parameters in port configuration");
}

#[test]
fn an_update_changes_only_what_is_given() {
    let before = created("--log-driver json-file --log-opt max-size=1m --env A=1").unwrap();
    let (service, changes, _) = update("--replicas 6").changes().unwrap();
    let mut after = before.clone();
    changes.apply(&mut after).unwrap();
    assert_eq!(service, "web");
    assert!(matches!(&after.mode, Some(Mode::Replicated(mode)) if mode.replicas == 6));
    assert_eq!(after.task, before.task);
}

#[test]
fn force_replaces_tasks_that_did_not_change() {
    let mut spec = created("").unwrap();
    changes("--force").apply(&mut spec).unwrap();
    assert_eq!(spec.task.unwrap().force_update, 1);
}

#[test]
fn the_page_says_why_a_service_has_no_ports() {
    let mut service = Service::default();
    assert!(!page(&service, "").contains("Allocation"));
    service.allocation_error = "ingress network is missing".to_owned();
    let page = page(&service, "0/1");
    let line = page.lines().find(|line| line.starts_with("Allocation Error")).unwrap();
    assert!(line.ends_with(": ingress network is missing"), "{line}");
}

fn updated(before: &ServiceSpec, flags: &str) -> ServiceSpec {
    let mut spec = before.clone();
    changes(flags).apply(&mut spec).unwrap();
    spec
}

#[test]
fn mounts_are_added_and_other_lists_replaced() {
    let before = created("--bind /a:/b --env A=1,B=2 --ulimit nofile=5").unwrap();
    let after = updated(&before, "--volume /c --env C=3 --ulimit core=0:9,cpu=-1");
    let targets: Vec<_> = container(&after).mounts.iter().map(|mount| &*mount.target).collect();
    assert_eq!(targets, ["/b", "/c"]);
    assert_eq!(container(&after).env, ["C=3"]);
    let names: Vec<_> = container(&after).ulimits.iter().map(|limit| &*limit.name).collect();
    assert_eq!(names, ["core", "cpu"]);
}

#[test]
fn a_capability_is_added_or_dropped() {
    let spec = updated(&created("").unwrap(), "--add-capability CAP_A,CAP_B");
    let spec = updated(&spec, "--rm-capability CAP_B,CAP_C --add-capability CAP_A");
    assert_eq!(container(&spec).capability_add, ["CAP_A"]);
    assert_eq!(container(&spec).capability_drop, ["CAP_B", "CAP_C"]);
}

#[test]
fn references_are_read_before_a_manager_is_asked() {
    let flags = "--add-secret a:b --rm-secret c --add-config d --network n";
    let references = update(flags).changes().unwrap().2;
    assert_ne!(references, super::flags::References::default());
    assert_eq!(
        update("--add-config :b").changes().err().unwrap().to_string(),
        "invalid config name provided"
    );
}

#[test]
fn waiting_has_an_end_that_can_be_set() {
    let check = |flags: &str, is_terminal, expected: Option<Duration>| {
        assert_eq!(update(flags).manner.wait(is_terminal), expected, "{flags}");
    };
    check("", false, None);
    check("", true, Some(Duration::from_secs(600)));
    check("--wait", false, Some(Duration::from_secs(600)));
    check("--wait=false", true, None);
    check("--wait-timeout 90s", false, Some(Duration::from_secs(90)));
    check("--wait-timeout 90s --wait=false", true, None);
    check("--wait-timeout 0", false, Some(Duration::MAX));
    for (flags, must) in [("", false), ("--wait", true), ("--wait-timeout 9s", true)] {
        assert_eq!(update(flags).manner.must_wait(), must, "{flags}");
    }
    let error = Typed::try_parse_from(["service", "update", "web", "--wait-timeout", "-1s"]);
    let error = error.err().unwrap().to_string();
    assert!(error.contains("the time must not be negative"), "{error}");
}

#[test]
fn tasks_on_nodes_that_are_down_do_not_count() {
    let task = |service: &str, state: TaskState| Task {
        service_id: service.to_owned(),
        status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
        ..Task::default()
    };
    let lost = vec![
        task("a", TaskState::Running),
        task("a", TaskState::Failed),
        task("c", TaskState::Running),
    ];
    let counts = |counts: [(&str, u64); 2]| -> BTreeMap<String, u64> {
        counts.map(|(id, running)| (id.to_owned(), running)).into()
    };
    let mut counted = counts([("a", 3), ("b", 2)]);
    without_lost(&mut counted, Ok(lost)).unwrap();
    assert_eq!(counted, counts([("a", 2), ("b", 2)]));
    let refused = |code| Err(Status::new(code, "too many").into());
    without_lost(&mut counted, refused(Code::ResourceExhausted)).unwrap();
    assert_eq!(counted, counts([("a", 2), ("b", 2)]), "what the manager counts is shown");
    without_lost(&mut counted, refused(Code::Unavailable)).unwrap_err();
}
