//! Compiles the `.proto` files with a compiler written in Rust, so that a plain `cargo build`
//! needs no `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

/// Every file that is compiled, relative to `proto/`.
const FILES: &[&str] = &[
    "docker/swarmkit/v1/ca.proto",
    "docker/swarmkit/v1/control.proto",
    "docker/swarmkit/v1/dispatcher.proto",
    "docker/swarmkit/v1/health.proto",
    "docker/swarmkit/v1/logbroker.proto",
    "docker/swarmkit/v1/objects.proto",
    "docker/swarmkit/v1/raft.proto",
    "docker/swarmkit/v1/resource.proto",
    "docker/swarmkit/v1/snapshot.proto",
    "docker/swarmkit/v1/specs.proto",
    "docker/swarmkit/v1/types.proto",
    "docker/swarmkit/v1/watch.proto",
    "raftpb/raft.proto",
    "swarm/v1/diagnostics.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), prost_bytes(&descriptors))?;
    let raftpb = protox::compile(["raftpb/raft.proto"], ["proto"])?;
    configure().compile_fds(raftpb)?;
    configure().extern_path(".raftpb", "crate::raftpb").compile_fds(descriptors)?;
    Ok(())
}

fn configure() -> tonic_prost_build::Builder {
    tonic_prost_build::configure().build_transport(false).btree_map(".").bytes(".")
}

fn prost_bytes(descriptors: &impl protox::prost::Message) -> Vec<u8> {
    descriptors.encode_to_vec()
}
