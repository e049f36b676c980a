//! Compiles the `.proto` files with a compiler written in Rust, so that a plain `cargo build`
//! needs no `protoc`; and writes the table of who may call what.

use std::{env, error::Error, fmt::Write, fs, path::PathBuf};

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, Value};

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
    "swarm/v1/advisor.proto",
    "swarm/v1/diagnostics.proto",
    "swarm/v1/doubt.proto",
    "swarm/v1/options.proto",
];

/// Those of them that hold our own services.
const OWN: &[&str] =
    &["swarm/v1/advisor.proto", "swarm/v1/diagnostics.proto", "swarm/v1/doubt.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files(FILES)?;
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    fs::write(out.join("rpcs.rs"), rpcs(&compiler.descriptor_pool())?)?;
    let raftpb = protox::compile(["raftpb/raft.proto"], ["proto"])?;
    configure().compile_fds(raftpb)?;
    let all = compiler.file_descriptor_set();
    configure().extern_path(".raftpb", "crate::raftpb").compile_fds(all)?;
    // Once more, so that our messages hold those of the other package where they are.
    let swarm = protox::compile(OWN, ["proto"])?;
    configure().extern_path(".docker.swarmkit.v1", "crate::wire").compile_fds(swarm)?;
    Ok(())
}

fn configure() -> tonic_prost_build::Builder {
    tonic_prost_build::configure().build_transport(false).btree_map(".").bytes(".")
}

/// Writes one row for every method that says who may call it.
fn rpcs(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let mut rows = String::from("&[\n");
    let access = pool.get_extension_by_name("swarm.v1.access").ok_or("the option is defined")?;
    for service in pool.services() {
        for method in service.methods() {
            let options = method.options();
            let value = options.get_extension(&access);
            let access = value.as_message().ok_or("the option is a message")?;
            rows.push_str(&row(&method, access)?);
        }
    }
    rows.push(']');
    Ok(rows)
}

fn row(method: &MethodDescriptor, access: &DynamicMessage) -> Result<String, Box<dyn Error>> {
    let flag = |name: &str| access.get_field_by_name(name).and_then(|value| value.as_bool());
    let mut row = String::from("Rpc { ");
    let (service, name) = (method.parent_service().full_name(), method.name());
    write!(row, "path: \"/{service}/{name}\", roles: &[")?;
    let roles = access.get_field_by_name("role").ok_or("the field is defined")?;
    for role in roles.as_list().into_iter().flatten().filter_map(Value::as_str) {
        row.push_str(match role {
            "swarm-manager" => "Role::Manager, ",
            "swarm-worker" => "Role::Worker, ",
            other => return Err(format!("{name}: no role is called {other}").into()),
        });
    }
    writeln!(
        row,
        "], anybody: {}, leader: {}, client_streaming: {}, server_streaming: {} }},",
        flag("anybody").ok_or("the field is defined")?,
        flag("leader").ok_or("the field is defined")?,
        method.is_client_streaming(),
        method.is_server_streaming(),
    )?;
    Ok(row)
}
