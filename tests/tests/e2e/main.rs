//! The real binaries, used as a person would: what the README promises, and what must hold when
//! things are killed while it runs.

mod daemon;
mod dev;
mod disks;
mod kills;
mod refusals;
mod walkthrough;
