//! The generated messages of `docker.swarmkit.v1`, with their gRPC clients and servers.

#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    unused_qualifications,
    clippy::disallowed_types,
    clippy::allow_attributes_without_reason,
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "generated code"
)]

tonic::include_proto!("docker.swarmkit.v1");
