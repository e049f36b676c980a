//! Checks of requests, in the order and with the texts of validation.md.
//!
//! A checked spec is a type of its own: what holds one needs no check.

mod annotations;
mod cluster;
mod container;
mod duration;
mod endpoint;
mod service;
mod task;
mod template;

pub use cluster::{TASK_DEFAULTS_BYTES_MAX, ValidCluster};
use protocol::wire::Version;
pub use service::{SPEC_BYTES_MAX, ValidService};

use super::Error;

/// Returns the version that an update was made on; every update names its object and that.
pub fn version(id: &str, version: Option<Version>) -> Result<u64, Error> {
    match version {
        Some(version) if !id.is_empty() => Ok(version.index),
        Some(_) | None => Err(Error::incomplete()),
    }
}
