//! Countable resources of other kinds (`gpu=2,fpga=1`), and the limits of a process.

use std::collections::BTreeMap;

use protocol::wire::{
    DiscreteGenericResource, GenericResource, container_spec::Ulimit, generic_resource::Resource,
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
    let wrong = |why: String| Invalid::new(format!("could not parse GenericResource: {why}"));
    if text.contains('\n') {
        return Err(wrong("unexpected '\\n' character".to_owned()));
    }
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for term in text.split(',') {
        match term.split_once('=') {
            Some((kind, value)) if !kind.is_empty() && !value.is_empty() => {
                kinds.entry(kind).or_default().push(value);
            }
            Some(_) | None => {
                let why = format!("incorrect term {term}, missing '=' or malformed expression");
                return Err(wrong(why));
            }
        }
    }
    let counted = |(kind, values): (&str, Vec<&str>)| {
        let counts: Vec<i64> = values.iter().filter_map(|value| value.parse().ok()).collect();
        match counts[..] {
            [] => Err(Invalid::new(format!("invalid argument for resource {kind}"))),
            [count] if values.len() == 1 && count < 0 => {
                Err(wrong(format!("cannot ask for negative resource {kind}")))
            }
            [value] if values.len() == 1 => {
                let counted = DiscreteGenericResource { kind: kind.to_owned(), value };
                Ok(GenericResource { resource: Some(Resource::DiscreteResourceSpec(counted)) })
            }
            _ => {
                let all = values.join(", ");
                let why =
                    format!("mixed discrete and named resources in expression '{kind}=[{all}]'");
                Err(wrong(why))
            }
        }
    };
    kinds.into_iter().map(counted).collect()
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
