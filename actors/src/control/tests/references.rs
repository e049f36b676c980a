//! References to secrets and configs (validation.md §4, rows 7 and 8).

use protocol::wire::{
    ConfigReference, ContainerSpec, FileTarget, Privileges, RuntimeTarget, SecretReference,
    config_reference,
    privileges::{CredentialSpec, credential_spec::Source},
    secret_reference,
};

use super::{container, refusal};
use crate::control::validate::ValidService;

#[track_caller]
fn check(change: impl FnOnce(&mut ContainerSpec), expected: &str) {
    let verdict = match ValidService::try_from(Some(container(change))) {
        Ok(_) => "valid".to_owned(),
        Err(error) => refusal(&error),
    };
    assert_eq!(verdict, expected);
}

fn file(name: &str) -> FileTarget {
    FileTarget { name: name.to_owned(), ..FileTarget::default() }
}

fn secret(id: &str, name: &str, target: Option<&str>) -> SecretReference {
    SecretReference {
        secret_id: id.to_owned(),
        secret_name: name.to_owned(),
        target: target.map(|name| secret_reference::Target::File(file(name))),
    }
}

fn config(id: &str, name: &str, target: Option<config_reference::Target>) -> ConfigReference {
    ConfigReference { config_id: id.to_owned(), config_name: name.to_owned(), target }
}

#[test]
fn secrets() {
    let check = |secrets: &[SecretReference], expected: &str| {
        check(|container| container.secrets = secrets.to_vec(), expected);
    };
    check(&[secret("1", "A", Some("f")), secret("2", "B", Some("g"))], "valid");
    check(&[secret("", "A", Some("f"))], "IA: malformed secret reference");
    check(&[secret("1", "", Some("f"))], "IA: malformed secret reference");
    check(&[secret("1", "A", None)], "IA: malformed secret reference, no target provided");
    check(
        &[secret("1", "A", Some(""))],
        "IA: malformed file secret reference, invalid target file name provided",
    );
    check(
        &[secret("1", "A", Some("F")), secret("2", "B", Some("F"))],
        "IA: secret references 'A' and 'B' have a conflicting target: 'F'",
    );
}

#[test]
fn configs() {
    let check = |configs: &[ConfigReference], expected: &str| {
        check(|container| container.configs = configs.to_vec(), expected);
    };
    let in_file = |name: &str| Some(config_reference::Target::File(file(name)));
    let at_runtime = || Some(config_reference::Target::Runtime(RuntimeTarget {}));
    check(&[config("1", "A", in_file("f")), config("2", "B", at_runtime())], "valid");
    check(&[config("", "A", in_file("f"))], "IA: malformed config reference");
    check(&[config("1", "", at_runtime())], "IA: malformed config reference");
    check(&[config("1", "A", None)], "IA: malformed config reference, no target provided");
    check(
        &[config("1", "A", in_file(""))],
        "IA: malformed file config reference, invalid target file name provided",
    );
    check(
        &[config("1", "A", in_file("F")), config("2", "B", in_file("F"))],
        "IA: config references 'A' and 'B' have a conflicting target: 'F'",
    );
}

#[test]
fn credentials_come_from_a_config_with_a_runtime_target() {
    let check = |target: config_reference::Target, expected: &str| {
        let credential_spec = Some(CredentialSpec { source: Some(Source::Config("1".to_owned())) });
        let privileges = Privileges { credential_spec, ..Privileges::default() };
        check(
            |container| {
                container.privileges = Some(privileges);
                container.configs = vec![config("1", "A", Some(target))];
            },
            expected,
        );
    };
    check(config_reference::Target::Runtime(RuntimeTarget {}), "valid");
    check(
        config_reference::Target::File(file("f")),
        "IA: CredentialSpec references config '1', but that config isn't in config references \
         with RuntimeTarget",
    );
}
