//! The dispatcher's decisions, one per file.

pub(super) mod assignments;
pub(super) mod intake;
pub(super) mod registry;
