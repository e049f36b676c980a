//! The command line: every noun and verb, and what is said when it is wrong.

use std::path::PathBuf;

use clap::{
    Args, Parser, Subcommand,
    builder::ArgPredicate,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{cluster, error::Error, node, service, task, text};

/// Drives a swarm through the control socket of one of its managers.
#[derive(Parser)]
#[command(name = "swarmctl", arg_required_else_help = true, disable_help_subcommand = false)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How a manager is reached, and how what it says is shown.
#[derive(Args)]
pub(crate) struct Connection {
    /// Socket to connect to the manager
    #[arg(
        short,
        long,
        global = true,
        env = "SWARM_SOCKET",
        default_value = "/var/run/swarmd.sock"
    )]
    #[arg(default_value_if("socket", ArgPredicate::Equals("".into()), "/var/run/swarmd.sock"))]
    pub(crate) socket: PathBuf,
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

/// Answers a command line that could not be read: help is no error, the rest is told in one line
/// with the usage below it.
pub(crate) fn refuse(error: &clap::Error, command: &mut clap::Command) -> Result<(), Error> {
    let help = [ErrorKind::DisplayHelp, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand];
    if help.contains(&error.kind()) {
        return text::print(&error.render().to_string());
    }
    Err(Error::usage(describe(error, typed(command))))
}

/// The usage of what was typed.
pub(crate) fn usage(command: &mut clap::Command) -> String {
    typed(command).render_help().to_string()
}

/// The subcommand whose usage helps: the deepest that was typed.
fn typed(root: &mut clap::Command) -> &mut clap::Command {
    root.build();
    let mut command = root;
    for word in std::env::args().skip(1).filter(|word| !word.starts_with('-')) {
        if command.find_subcommand(&word).is_some() {
            command = command.find_subcommand_mut(&word).expect("it was just found");
        }
    }
    command
}

fn describe(error: &clap::Error, command: &clap::Command) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let argument = context(ContextKind::InvalidArg);
    let value = context(ContextKind::InvalidValue);
    let flag = argument.split([' ', '=', '[']).next().unwrap_or_default();
    let name = command.get_name();
    let kind = error.kind();
    if kind == ErrorKind::UnknownArgument && argument.starts_with("--") {
        format!("unknown flag: {argument}")
    } else if kind == ErrorKind::UnknownArgument && argument.starts_with('-') {
        format!("unknown shorthand flag: {argument}")
    } else if kind == ErrorKind::UnknownArgument && command.get_positionals().next().is_none() {
        format!("{name} command takes no arguments")
    } else if kind == ErrorKind::UnknownArgument || kind == ErrorKind::MissingRequiredArgument {
        format!("{name} command takes exactly 1 argument")
    } else if kind == ErrorKind::InvalidSubcommand {
        let typed = context(ContextKind::InvalidSubcommand);
        format!("unknown command \"{typed}\" for \"{name}\"")
    } else if value.is_empty() {
        format!("flag needs an argument: {flag}")
    } else {
        let reason = std::error::Error::source(error).map(ToString::to_string);
        let reason = reason
            .unwrap_or_else(|| format!("must be one of {}", context(ContextKind::ValidValue)));
        format!("invalid argument \"{value}\" for \"{flag}\" flag: {reason}")
    }
}
