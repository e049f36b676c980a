//! The scheduler's decisions: what nodes have left, which of them can run a task, and which does.

pub(super) mod board;
mod candidates;
mod decide;
pub(super) mod decision;
pub(super) mod explain;
mod failures;
pub(super) mod filter;
mod intake;
mod kind;
mod places;
mod queue;
mod resources;
mod spread;
mod volumes;
