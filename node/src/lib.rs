//! The daemon's parts: every port of the actors made real. `main.rs` composes them.

pub mod cipher;
pub mod clock;
pub mod disk;
pub mod executor;
pub mod identity;
pub mod service;
pub mod shim;
pub mod socket;
pub mod state_directory;
pub mod task_database;
