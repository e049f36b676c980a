//! The allocator's decisions: what is in use, and what each object is given of the rest.

pub(super) mod board;
pub(super) mod decide;
pub(super) mod decision;
mod holdings;
mod intake;
mod lack;
mod network;
mod networks;
mod node;
pub(super) mod numbers;
mod pools;
mod ports;
mod service;
mod subnets;
mod task;
mod waiting;
mod walk;
