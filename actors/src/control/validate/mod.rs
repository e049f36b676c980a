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

pub use cluster::ValidCluster;
pub use service::ValidService;
