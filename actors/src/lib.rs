//! Every decision and every actor. Nothing here opens a socket or a file.

#[macro_use]
pub mod planted;

mod agenda;
pub mod agent;
pub mod allocator;
pub mod ca;
pub mod cluster;
pub mod control;
#[cfg(test)]
mod damage;
pub mod dispatcher;
pub mod environment;
pub mod leadership;
pub mod log;
pub mod orchestrator;
pub mod raft;
pub mod roles;
pub mod scheduler;
pub mod store;
pub mod supervision;
pub mod tree;
pub mod watch;
