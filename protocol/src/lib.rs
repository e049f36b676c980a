//! What crosses a wire or a disk, and nothing else: no socket, no file, no runtime.

pub mod raftpb;
pub mod swarm;
pub mod token;
pub mod wire;
