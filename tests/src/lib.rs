//! The simulated world: production raft, log and store on one thread in virtual time, over a
//! network and disks that fail as a seed says, with a checker for each promise.

pub mod checkers;
pub mod cluster;
pub mod counts;
pub mod faults;
pub mod member;
pub mod net;
pub mod node;
pub mod oracle;
pub mod run;
pub mod trace;
pub mod workload;
