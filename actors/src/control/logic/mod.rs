//! What valid requests change in the store, and what answers show of it.

pub mod cluster;
pub mod explain;
pub mod extension;
pub mod node;
pub mod plan;
pub mod resource;
pub mod service;
pub mod service_defaults;
pub mod service_status;
pub mod task;
