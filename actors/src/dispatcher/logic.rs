//! The dispatcher's decisions, one per file.

pub(super) mod assignments;
pub(super) mod doubt;
pub(super) mod intake;
pub(super) mod managers;
pub(super) mod registry;
