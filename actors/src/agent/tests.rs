//! The agent: what its ledger decides, and its actors together on a simulated machine.

mod course;
mod ledger;
mod manager;
