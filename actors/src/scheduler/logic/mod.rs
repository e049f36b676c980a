//! The scheduler's decisions: what nodes have left, which of them can run a task, and which does.

pub(super) mod failures;
pub(super) mod filter;
pub(super) mod nodes;
pub(super) mod place;
pub(super) mod queue;
pub(super) mod resources;
