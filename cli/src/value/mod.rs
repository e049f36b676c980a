//! What flags take: lists, sizes, CPUs, durations, ports, labels. Pure parsing with the texts of
//! cli.md §1 and §3.1.

mod amount;
mod duration;
mod list;
mod port;

#[cfg(test)]
mod tests;

pub(crate) use amount::{memory_bytes, nano_cpus};
pub(crate) use duration::duration;
pub(crate) use list::{List, labels, options};
pub(crate) use port::port;

/// A value that a flag cannot take, with the reason.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(String);

impl Invalid {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
