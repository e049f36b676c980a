//! What the command line says (cli.md §8), and what is used where it says nothing.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::dev::{self, sample};

/// Runs a node of a swarm: a manager with its own tasks.
#[derive(Debug, Parser)]
// The last of a repeated flag counts, as with SwarmKit.
#[command(name = "swarmd", disable_version_flag = true, args_override_self = true)]
pub struct Configuration {
    /// State directory
    #[arg(short = 'd', long, default_value = "/var/lib/swarmd")]
    pub state_dir: PathBuf,
    /// Log level: error, warn, info, debug or trace
    #[arg(short, long, default_value = "info", value_parser = level)]
    pub log_level: LevelFilter,
    /// Print version information and quit
    #[arg(short, long)]
    pub version: bool,
    /// Override reported agent hostname
    #[arg(long)]
    pub hostname: Option<String>,
    /// Where other nodes will reach this one; kept for them, nothing listens there yet
    #[arg(long, default_value = "0.0.0.0:4242")]
    pub listen_remote_api: SocketAddr,
    /// Socket on which this manager is controlled
    #[arg(long, default_value = "/var/run/swarmd.sock")]
    pub listen_control_api: PathBuf,
    /// Join the cluster of the manager at this address
    #[arg(long)]
    pub join_addr: Option<String>,
    /// Token that lets this node join
    #[arg(long)]
    pub join_token: Option<String>,
    /// What to do other than run a node.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Other ways to run.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run a throw-away swarm in the foreground, with a sample service to try things on
    Dev(dev::Options),
    /// Be a task of the sample service
    #[command(hide = true)]
    SampleHttp(sample::Options),
}

/// Levels have more names than we use ourselves: those of SwarmKit lead to the nearest.
fn level(name: &str) -> Result<LevelFilter, String> {
    match name.to_ascii_lowercase().as_str() {
        "panic" | "fatal" | "error" => Ok(LevelFilter::ERROR),
        "warn" | "warning" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err("must be one of error, warn, info, debug, trace".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn word() -> impl Strategy<Value = String> {
        let flags = [
            "-d",
            "--log-level",
            "--hostname=",
            "--listen-remote-api",
            "--listen-control-api",
            "--join-addr",
            "-v",
            "--",
            "dev",
            "--replicas",
            "--sample",
            "sample-http",
            "127.0.0.1:1",
            "debug",
            "-1",
            "99999999999999999999",
        ];
        prop_oneof![prop::sample::select(flags.to_vec()).prop_map(str::to_owned), any::<String>()]
    }

    proptest! {
        #[test]
        fn no_command_line_panics(words in prop::collection::vec(word(), 0..6)) {
            let words = ["swarmd".to_owned()].into_iter().chain(words);
            if let Err(error) = Configuration::try_parse_from(words) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }

    #[test]
    fn every_level_of_swarmkit_is_one_of_ours() {
        for (name, expected) in [
            ("panic", Some(LevelFilter::ERROR)),
            ("Fatal", Some(LevelFilter::ERROR)),
            ("error", Some(LevelFilter::ERROR)),
            ("WARNING", Some(LevelFilter::WARN)),
            ("info", Some(LevelFilter::INFO)),
            ("debug", Some(LevelFilter::DEBUG)),
            ("trace", Some(LevelFilter::TRACE)),
            ("", None),
            ("off", None),
        ] {
            assert_eq!(level(name).ok(), expected, "{name}");
        }
    }
}
