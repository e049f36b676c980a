//! The command line: every noun and verb, and what is said when it is wrong.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::{cluster, error::Error, node, service, task};

const NAME: &str = "swarmctl";

/// Drives a swarm through the control socket of one of its managers.
#[derive(Parser)]
// Of a flag that is given twice the last counts.
#[command(name = NAME, arg_required_else_help = true, args_override_self = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How a manager is reached, and how what it says is shown.
#[derive(Args, Clone)]
pub(crate) struct Connection {
    /// Socket to connect to the manager; SWARM_SOCKET if that is set, else /var/run/swarmd.sock
    // Not read by clap: to it a variable is an argument, and one that is empty is wrong.
    #[arg(short, long, global = true)]
    pub(crate) socket: Option<PathBuf>,
    /// Do not try to map IDs to names when displaying them
    #[arg(short, long, global = true)]
    pub(crate) no_resolve: bool,
}

/// The nouns.
#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "one value, read once from the command line")]
pub(crate) enum Command {
    /// Cluster management
    #[command(subcommand, arg_required_else_help = true)]
    Cluster(cluster::Command),
    /// Write a script that completes commands in a shell
    Completion {
        /// One of bash, fish, zsh
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write the manual pages into a directory
    Man {
        /// Where to, which exists
        directory: PathBuf,
    },
    /// Node management
    #[command(subcommand, arg_required_else_help = true)]
    Node(node::Command),
    /// Service management
    #[command(subcommand, arg_required_else_help = true, visible_alias = "svc")]
    Service(service::Command),
    /// Task management
    #[command(subcommand, arg_required_else_help = true)]
    Task(task::Command),
    /// Print version number of swarm
    Version,
}

/// The shells that commands are completed in.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Fish,
    Zsh,
}

/// The script that completes commands in a shell.
pub(crate) fn completion(shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Fish => clap_complete::Shell::Fish,
        Shell::Zsh => clap_complete::Shell::Zsh,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), NAME, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Writes a manual page for each command.
pub(crate) fn man(directory: &Path) -> Result<(), Error> {
    clap_mangen::generate_to(Arguments::command(), directory).map_err(|error| {
        Error::Failed(format!("writing manual pages to {}: {error}", directory.display()))
    })
}
