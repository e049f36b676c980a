//! The real binaries, used as a person would: what the README promises, and what must hold when
//! things are killed while it runs.

mod bad_inputs;
mod bench;
mod churn;
mod commands;
mod cutoff;
mod daemon;
mod dev;
mod disks;
mod doubt;
#[cfg(feature = "engine")]
mod engine;
mod flags;
mod fleet;
mod forced;
mod guests;
mod kills;
mod managers;
mod membership;
mod metrics;
mod network;
mod nodes;
mod partition;
mod refusals;
mod renewal;
mod seed;
mod snapshots;
mod strangers;
mod swarm;
mod tasks;
mod walkthrough;
mod watch;
mod workers;
mod writer;
