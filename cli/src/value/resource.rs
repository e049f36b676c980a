//! Countable resources of other kinds (`gpu=2,fpga=1`), and the limits of a process.

use std::str::FromStr;

use protocol::{
    generic::GenericResources,
    wire::{GenericResource, container_spec::Ulimit, generic_resource::Resource},
};

use super::Invalid;

/// The limits that a process can have.
const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

const UNLIMITED: i64 = -1;

/// Reads how much of which kinds a task reserves. A task can only count; what has a name of its
/// own is chosen by the scheduler.
pub(crate) fn generic_resources(text: &str) -> Result<Vec<GenericResource>, Invalid> {
    let read = GenericResources::from_str(text);
    let GenericResources(resources) = read.map_err(|error| Invalid::new(error.to_string()))?;
    for GenericResource { resource } in &resources {
        if let Some(Resource::NamedResourceSpec(named)) = resource {
            return Err(Invalid::new(format!("invalid argument for resource {}", named.kind)));
        }
    }
    Ok(resources)
}

/// Reads one limit, `name=soft[:hard]`; -1 is no limit.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit, Invalid> {
    let invalid = || Invalid::new(format!("invalid ulimit argument: {text}"));
    let (name, values) = text.split_once('=').ok_or_else(invalid)?;
    if !ULIMITS.contains(&name) {
        return Err(Invalid::new(format!("invalid ulimit type: {name}")));
    }
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |text: &str| text.parse().ok().filter(|number| *number >= UNLIMITED);
    let (soft, hard) = number(soft).zip(number(hard)).ok_or_else(invalid)?;
    if hard != UNLIMITED && (soft > hard || soft == UNLIMITED) {
        return Err(Invalid::new(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}
