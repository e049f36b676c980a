//! What the flags of `cluster update` make of a spec.

use clap::Parser;
use protocol::wire::{Cluster, ClusterSpec, JoinTokens, KeyRotation, RootCa};

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

#[test]
fn join_tokens_are_on_the_page_alone() {
    let tokens = JoinTokens { worker: "for-workers".into(), manager: "for-managers".into() };
    let root_ca = Some(RootCa { join_tokens: Some(tokens), ..RootCa::default() });
    let cluster = Cluster { id: "c1".to_owned(), root_ca, ..Cluster::default() };
    let whole = crate::output::json::of("Cluster", &cluster).to_string();
    for token in ["for-workers", "for-managers"] {
        assert!(page::page(&cluster).contains(token) && whole.contains(token));
    }
    let listed = page::json(vec![cluster.clone()]).to_string();
    assert!(listed.contains("c1") && !listed.contains("for-"), "{listed}");
    assert!(!page::listing(&[cluster], false).contains("for-"));
}
