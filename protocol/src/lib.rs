//! What crosses a wire or a disk, and nothing else: no socket, no file, no runtime.

pub mod address;
pub mod constraint;
pub mod duration;
pub mod generic;
pub mod id;
pub mod image;
pub mod objects;
pub mod raftpb;
pub mod rpc;
pub mod swarm;
pub mod template;
pub mod token;
pub mod unlock_key;
pub mod wire;

/// The compiled descriptors of every `.proto` file, as an encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
