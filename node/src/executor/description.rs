//! What a node says about the machine it runs on (executor.md §4).

use std::{io, thread::available_parallelism};

use nix::{
    sys::{sysinfo::sysinfo, utsname::uname},
    unistd::gethostname,
};
use protocol::wire;

use super::{Config, hierarchies::Hierarchies};

/// What makes a node able to run tasks with the image `host`.
const RUNTIME: &str = "process";

/// Under which label of the engine it is said which limits can hold.
const CONTROL_GROUPS: &str = "swarm.cgroups";

/// Returns the machine as it is now. Certificates and FIPS are the agent's to add.
pub(super) fn describe(
    config: &Config,
    hierarchies: &Hierarchies,
) -> io::Result<wire::NodeDescription> {
    let hostname = match &config.hostname {
        Some(hostname) => hostname.clone(),
        None => gethostname()?.to_string_lossy().into_owned(),
    };
    let memory_bytes = sysinfo()?.ram_total();
    let processors = available_parallelism()?.get();
    Ok(wire::NodeDescription {
        hostname,
        platform: Some(wire::Platform {
            architecture: uname()?.machine().to_string_lossy().into_owned(),
            os: "linux".into(),
        }),
        resources: Some(wire::Resources {
            nano_cpus: i64::try_from(processors).map_err(io::Error::other)? * 1_000_000_000,
            memory_bytes: i64::try_from(memory_bytes).map_err(io::Error::other)?,
            generic: config.generic_resources.clone(),
        }),
        engine: Some(wire::EngineDescription {
            engine_version: env!("CARGO_PKG_VERSION").into(),
            labels: [(CONTROL_GROUPS.to_owned(), hierarchies.describe())].into(),
            plugins: vec![wire::PluginDescription {
                r#type: "Runtime".into(),
                name: RUNTIME.into(),
            }],
        }),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_described() {
        let mut config = Config::new("/nowhere".into());
        let hierarchies = Hierarchies::default();
        let found = describe(&config, &hierarchies).unwrap();
        assert!(!found.hostname.is_empty());
        let platform = found.platform.unwrap();
        assert_eq!(
            (platform.os.as_str(), platform.architecture.as_str()),
            ("linux", std::env::consts::ARCH)
        );
        let resources = found.resources.unwrap();
        assert!(resources.nano_cpus >= 1_000_000_000 && resources.nano_cpus % 1_000_000_000 == 0);
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
        let total = memory.split_ascii_whitespace().nth(1).unwrap().parse::<i64>().unwrap();
        assert_eq!(resources.memory_bytes, total * 1024);
        let engine = found.engine.unwrap();
        assert_eq!(engine.labels[CONTROL_GROUPS], "none: not looked for");
        let plugins = engine.plugins;
        assert_eq!(plugins.len(), 1);
        assert_eq!((plugins[0].r#type.as_str(), plugins[0].name.as_str()), ("Runtime", "process"));

        config.hostname = Some("node-1".into());
        assert_eq!(describe(&config, &hierarchies).unwrap().hostname, "node-1");
    }
}
