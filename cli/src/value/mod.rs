//! What flags take: lists, sizes, CPUs, durations, ports, labels, mounts, references. Pure parsing
//! with the texts of cli.md §1, §3.1 and §6.

mod amount;
mod duration;
mod list;
mod mount;
mod port;
mod reference;
mod resource;

#[cfg(test)]
mod tests;

pub(crate) use amount::{memory_bytes, nano_cpus};
pub(crate) use duration::duration;
pub(crate) use list::{List, labels, node_labels, options};
pub(crate) use mount::{bind, npipe, tmpfs, volume};
pub(crate) use port::port;
pub(crate) use reference::{Authority, Reference, reference};
pub(crate) use resource::{generic_resources, ulimit};

/// A value that a flag cannot take, with the reason.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(String);

impl Invalid {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
