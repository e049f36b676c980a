//! What the flags of `cluster update` make of a spec.

use clap::Parser;
use prost_types::Timestamp;
use protocol::{
    swarm::GetDoubtResponse,
    wire::{Annotations, Cluster, ClusterSpec, JoinTokens, KeyRotation, RootCa, Version},
};

use super::{Command, flags::Changes, page};
use crate::error::Error;

#[derive(Parser)]
struct Typed {
    #[command(subcommand)]
    command: Command,
}

fn typed(flags: &str) -> Result<Changes, Error> {
    let words = ["cluster", "update", "default"].into_iter().chain(flags.split_whitespace());
    let Command::Update(update) = Typed::try_parse_from(words).unwrap().command else {
        panic!("an update was typed");
    };
    update.changes().map(|(_, changes)| changes)
}

fn updated(before: &ClusterSpec, flags: &str) -> ClusterSpec {
    let mut spec = before.clone();
    typed(flags).unwrap().apply(&mut spec);
    spec
}

#[test]
fn each_flag_changes_its_setting_and_no_other() {
    let spec = updated(
        &ClusterSpec::default(),
        "--taskhistory 2 --certexpiry 100h --heartbeatperiod 7s --autolock --log-driver json-file \
         --log-opt max-size=1m --external-ca protocol=CFSSL,url=https://example.com,Key=value",
    );
    assert_eq!(spec.orchestration.unwrap().task_history_retention_limit, 2);
    assert_eq!(spec.dispatcher.unwrap().heartbeat_period.unwrap().seconds, 7);
    let authority = spec.ca_config.clone().unwrap();
    assert_eq!(authority.node_cert_expiry.unwrap().seconds, 360_000);
    assert_eq!(authority.external_cas[0].url, "https://example.com");
    assert_eq!(authority.external_cas[0].options["Key"], "value");
    assert!(spec.encryption_config.unwrap().auto_lock_managers);
    let before = spec;
    let after = updated(&before, "--taskhistory 5");
    assert_eq!(after.task_defaults, before.task_defaults, "the log driver is not erased");
    assert_eq!(after.ca_config, before.ca_config);
    assert!(!updated(&before, "--autolock=false").encryption_config.unwrap().auto_lock_managers);
}

#[test]
fn tokens_and_keys_are_made_anew_when_asked() {
    let rotation = |flags| typed(flags).unwrap().rotation;
    let none = KeyRotation::default();
    assert_eq!(rotation(""), none);
    let worker = KeyRotation { worker_join_token: true, ..none };
    assert_eq!(rotation("--rotate-join-token Worker"), worker);
    let manager = KeyRotation { manager_join_token: true, ..none };
    assert_eq!(rotation("--rotate-join-token manager"), manager);
    let key = KeyRotation { manager_unlock_key: true, ..none };
    assert_eq!(rotation("--rotate-unlock-key"), key);
    let error = typed("--rotate-join-token both").unwrap_err().to_string();
    assert_eq!(error, "--rotate-join-token flag must be followed by 'worker' or 'manager'");
}

#[test]
fn wrong_values_are_told_with_what_is_right() {
    let refuse = |flag: &str, value: &str, why: &str| {
        let error = Typed::try_parse_from(["cluster", "update", "default", flag, value]);
        let error = error.err().unwrap();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, why);
    };
    refuse("--certexpiry", "xyz", "time: invalid duration \"xyz\"");
    refuse("--external-ca", "x", "invalid field 'x' must be a key=value pair");
    refuse("--external-ca", "protocol=acme", "unrecognized external CA protocol acme");
    refuse("--external-ca", "url=x", "the external-ca option needs a protocol= parameter");
    refuse("--external-ca", "protocol=cfssl", "the external-ca option needs a url= parameter");
}

/// The page of the seed, with what it leaves out when there is none of it, and what it has.
#[test]
fn the_page_is_that_of_swarmkit() {
    let tokens = JoinTokens { worker: "SWMTKN-1-w".into(), manager: "SWMTKN-1-m".into() };
    let annotations = Annotations { name: "default".to_owned(), ..Annotations::default() };
    let before = ClusterSpec { annotations: Some(annotations), ..ClusterSpec::default() };
    let shown = |flags: &str| {
        let cluster = Cluster {
            id: "87d2ecpg12dfonxp3g562fru1".to_owned(),
            spec: Some(updated(&before, flags)),
            root_ca: Some(RootCa { join_tokens: Some(tokens.clone()), ..RootCa::default() }),
            ..Cluster::default()
        };
        page::page(&cluster, None)
    };
    let seed = "\
ID          : 87d2ecpg12dfonxp3g562fru1
Name        : default
Orchestration settings:
  Task history entries: 5
Dispatcher settings:
  Dispatcher heartbeat period: 5s
Certificate Authority settings:
  Certificate Validity Duration: 2160h0m0s
  Join Tokens:
    Worker: SWMTKN-1-w
    Manager: SWMTKN-1-m
";
    assert_eq!(shown("--taskhistory 5 --heartbeatperiod 5s --certexpiry 2160h"), seed);
    let whole = shown(
        "--taskhistory 2 --heartbeatperiod 7s --certexpiry 30m --log-driver json-file \
         --external-ca protocol=cfssl,url=https://example.com:1234 --log-opt max-size=1m,foo",
    );
    let lines = [
        "  Task history entries: 2",
        "  Dispatcher heartbeat period: 7s",
        "  Certificate Validity Duration: 30m0s",
        "  External CAs:",
        "    CFSSL: https://example.com:1234",
        "  Join Tokens:",
        "Default Log Driver        : json-file",
        "  foo                     ",
        "  max-size                : 1m",
    ];
    let mut found = whole.lines();
    for line in lines {
        assert!(found.any(|found| found == line), "no {line:?} in its place:\n{whole}");
    }
}

#[test]
fn what_the_leader_doubts_is_shown_and_can_be_ended() {
    let since = Some(Timestamp { seconds: 1_000_000_000, nanos: 0 });
    let doubt = GetDoubtResponse { since, ready_nodes: 9, present_nodes: 2 };
    let shown = page::page(&Cluster::default(), Some(doubt));
    let line = "  Nodes that answer: 2 of 9 since 2001-09-09T01:46:40Z; silent ones are \
                not replaced";
    assert!(shown.lines().any(|found| found == line), "{shown}");
    assert!(typed("--replace-silent").unwrap().replace_silent);
    assert!(!typed("--taskhistory 5").unwrap().replace_silent);
    for (flags, is_written) in [
        ("--replace-silent", false),
        ("--replace-silent --taskhistory 5", true),
        ("--replace-silent --rotate-unlock-key", true),
        ("--taskhistory 5", true),
        ("", true),
    ] {
        let version = Some(Version { index: 7 });
        let request = typed(flags).unwrap().request("c1", version, ClusterSpec::default());
        assert_eq!(request.is_some(), is_written, "{flags}");
        assert!(request.is_none_or(|asked| asked.cluster_version == version));
    }
}

#[test]
fn join_tokens_are_on_the_page_alone() {
    let tokens = JoinTokens { worker: "for-workers".into(), manager: "for-managers".into() };
    let root_ca = Some(RootCa { join_tokens: Some(tokens), ..RootCa::default() });
    let cluster = Cluster { id: "c1".to_owned(), root_ca, ..Cluster::default() };
    let whole = crate::output::json::of("Cluster", &cluster).to_string();
    for token in ["for-workers", "for-managers"] {
        assert!(page::page(&cluster, None).contains(token) && whole.contains(token));
    }
    let listed = page::json(vec![cluster.clone()]).to_string();
    assert!(listed.contains("c1") && !listed.contains("for-"), "{listed}");
    assert!(!page::listing(&[cluster], false).contains("for-"));
}
