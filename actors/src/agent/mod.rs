//! The agent: sessions with a manager upward, tasks downward.

pub mod port;
