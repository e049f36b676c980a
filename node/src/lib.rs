//! The daemon's parts: every port of the actors made real. `daemon.rs` composes them.

pub mod accepting;
pub mod addresses;
pub mod bench;
pub mod cipher;
pub mod clock;
pub mod configuration;
pub mod daemon;
pub mod dev;
pub mod disk;
pub mod executor;
pub mod founding;
pub mod identity;
pub mod joining;
pub mod metrics;
pub mod remote;
mod replacing;
pub mod service;
pub mod shim;
pub mod socket;
pub mod state_directory;
pub mod task_database;
pub mod thread;
mod through;
