//! The daemon's parts: every port of the actors made real. `main.rs` composes them.

pub mod identity;
pub mod state_directory;
