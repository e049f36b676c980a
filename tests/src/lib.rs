//! The simulated world: production raft, log and store on one thread in virtual time, over a
//! network and disks that fail as a seed says, with a checker for each promise.

pub mod checkers;
pub mod clock;
pub mod cluster;
pub mod counts;
pub mod faults;
pub mod fleet;
pub mod identity;
pub mod member;
pub mod membership;
pub mod net;
pub mod node;
pub mod operator;
pub mod oracle;
pub mod plan;
pub mod run;
pub mod shrink;
pub mod subscriber;
pub mod trace;
pub mod worker;
pub mod workload;
pub mod world;
