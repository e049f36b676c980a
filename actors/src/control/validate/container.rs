//! The container part of a task template (validation.md §4, rows 7, 8, 13 to 15).

use std::collections::BTreeMap;

use protocol::wire::{self, config_reference, privileges::credential_spec, secret_reference};

use super::duration::nanoseconds;
use crate::control::{Error, image};

const HEALTH_NANOSECONDS_MIN: i64 = 1_000_000;

/// Checks the image, the mounts and the health check.
pub(super) fn check_container(container: &wire::ContainerSpec) -> Result<(), Error> {
    if container.image.is_empty() {
        return Err(Error::invalid("ContainerSpec: image reference must be provided"));
    }
    if !image::is_reference(&container.image) {
        let image = &container.image;
        return Err(Error::invalid(format!(
            "ContainerSpec: \"{image}\" is not a valid repository/tag"
        )));
    }
    let mut targets = Vec::new();
    for mount in &container.mounts {
        if targets.contains(&&mount.target) {
            let target = &mount.target;
            return Err(Error::invalid(format!("ContainerSpec: duplicate mount point: {target}")));
        }
        targets.push(&mount.target);
    }
    container.healthcheck.as_ref().map_or(Ok(()), check_health)
}

fn check_health(health: &wire::HealthConfig) -> Result<(), Error> {
    let durations = [
        ("Interval", &health.interval),
        ("Timeout", &health.timeout),
        ("StartPeriod", &health.start_period),
        ("StartInterval", &health.start_interval),
    ];
    for (field, duration) in durations {
        let field = format!("ContainerSpec: {field} in HealthConfig");
        let nanoseconds = nanoseconds(duration.as_ref(), &field)?;
        if nanoseconds != 0 && nanoseconds < HEALTH_NANOSECONDS_MIN {
            return Err(Error::invalid(format!("{field} cannot be less than 1ms")));
        }
    }
    if health.retries < 0 {
        return Err(Error::invalid("ContainerSpec: Retries in HealthConfig cannot be negative"));
    }
    Ok(())
}

/// Checks that every secret reference is whole and that no two end up in one file.
pub(super) fn check_secrets(references: &[wire::SecretReference]) -> Result<(), Error> {
    let mut targets = Targets::new("secret");
    for reference in references {
        if reference.secret_id.is_empty() || reference.secret_name.is_empty() {
            return Err(Error::invalid("malformed secret reference"));
        }
        match &reference.target {
            None => return Err(targets.untargeted()),
            Some(secret_reference::Target::File(file)) => {
                targets.add(&file.name, &reference.secret_name)?;
            }
        }
    }
    Ok(())
}

/// Checks the config references likewise, and that a credential spec names one of them.
pub(super) fn check_configs(container: &wire::ContainerSpec) -> Result<(), Error> {
    let mut targets = Targets::new("config");
    let mut runtime = Vec::new();
    for reference in &container.configs {
        if reference.config_id.is_empty() || reference.config_name.is_empty() {
            return Err(Error::invalid("malformed config reference"));
        }
        match &reference.target {
            None => return Err(targets.untargeted()),
            Some(config_reference::Target::File(file)) => {
                targets.add(&file.name, &reference.config_name)?;
            }
            Some(config_reference::Target::Runtime(_)) => runtime.push(&reference.config_id),
        }
    }
    let credential = container.privileges.as_ref().and_then(|p| p.credential_spec.as_ref());
    if let Some(credential_spec::Source::Config(id)) = credential.and_then(|c| c.source.as_ref())
        && !runtime.contains(&id)
    {
        return Err(Error::invalid(format!(
            "CredentialSpec references config '{id}', but that config isn't in config references \
             with RuntimeTarget"
        )));
    }
    Ok(())
}

/// The files that references of one kind end up in.
struct Targets<'a> {
    kind: &'static str,
    taken: BTreeMap<&'a str, &'a str>,
}

impl<'a> Targets<'a> {
    fn new(kind: &'static str) -> Self {
        Self { kind, taken: BTreeMap::new() }
    }

    fn untargeted(&self) -> Error {
        Error::invalid(format!("malformed {} reference, no target provided", self.kind))
    }

    fn add(&mut self, file: &'a str, name: &'a str) -> Result<(), Error> {
        let kind = self.kind;
        if file.is_empty() {
            return Err(Error::invalid(format!(
                "malformed file {kind} reference, invalid target file name provided"
            )));
        }
        match self.taken.insert(file, name) {
            Some(other) => Err(Error::invalid(format!(
                "{kind} references '{other}' and '{name}' have a conflicting target: '{file}'"
            ))),
            None => Ok(()),
        }
    }
}
