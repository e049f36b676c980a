//! The real binaries, used as a person would: what the README promises, and what must hold when
//! things are killed while it runs.

mod bad_inputs;
mod churn;
mod commands;
mod daemon;
mod dev;
mod disks;
mod kills;
mod refusals;
mod renewal;
mod tasks;
mod walkthrough;
mod watch;
