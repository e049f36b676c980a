//! `swarmd dev`: a throw-away swarm of one machine, with something running on it and a view of
//! what happens. Its nodes are processes of their own, as on many machines.

mod node;
pub mod sample;
mod services;
mod swarm;
mod view;

use std::{fmt::Write as _, io::Write, path::Path};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{ArgAction, Args, value_parser};

pub(crate) use self::swarm::connect;
use self::{node::Node, sample::Ports, services::Services, swarm::Swarm};
pub use self::{node::let_go, view::stderr};
use crate::configuration::Configuration;

/// How large a listing may be: as large as the control socket's answers.
const LISTING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Raft can do with no more managers.
const MANAGERS_MAX: i64 = 7;
/// More than this are better simulated, by `swarmd bench`.
const WORKERS_MAX: i64 = 50;

/// What is run on the throw-away swarm, and on how many nodes.
#[derive(Clone, Copy, Debug, Args)]
pub struct Options {
    /// How many managers there are, which run tasks, too
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u16).range(1..=MANAGERS_MAX))]
    managers: u16,
    /// How many more nodes there are that run tasks
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u16).range(0..=WORKERS_MAX))]
    workers: u16,
    /// How many tasks the sample service has
    #[arg(long, default_value_t = 2)]
    replicas: u64,
    /// Whether there is a sample service
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    sample: bool,
}

/// Runs nodes in a folder of their own until `shutdown`; afterwards nothing is left of them, unless
/// `at_once` comes before everything is taken down.
pub async fn run(
    configuration: Configuration,
    options: Options,
    shutdown: impl Future<Output = ()> + Send,
    at_once: impl Future<Output = ()> + Send,
) -> Result<()> {
    ensure!(
        configuration.join_addr.is_none() && configuration.join_token.is_none(),
        "a throw-away swarm joins no other: leave out --join-addr and --join-token"
    );
    let folder = tempfile::Builder::new()
        .prefix("swarmd-dev-")
        .tempdir()
        .context("no folder can be made for the swarm")?;
    let lived = tokio::select! {
        biased;
        () = at_once => Err(anyhow!("ended before everything was taken down, as asked")),
        lived = Box::pin(live(&configuration, options, folder.path(), shutdown)) => lived,
    };
    let Err(error) = lived else { return Ok(()) };
    if !has_tasks(folder.path()) {
        return Err(error);
    }
    // Their folder is the only way to find tasks that still run.
    let kept = folder.keep();
    let why = format!("tasks may still run; their folder {} is kept", kept.display());
    Err(error.context(why))
}

/// Whether any node of the swarm has tasks on the disk.
fn has_tasks(folder: &Path) -> bool {
    let has = |state: &Path| {
        let tasks = state.join(crate::daemon::TASKS).read_dir();
        tasks.is_ok_and(|mut tasks| tasks.next().is_some())
    };
    let states = folder.read_dir().into_iter().flatten().filter_map(Result::ok);
    states.into_iter().any(|entry| has(&entry.path()))
}

/// Runs the nodes and what is tried on them, to the end.
async fn live(
    configuration: &Configuration,
    options: Options,
    folder: &Path,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let ports = if options.sample { Some(Ports::reserve(options.replicas).await?) } else { None };
    tokio::pin!(shutdown);
    let started = Box::pin(Swarm::start(configuration, options, folder));
    let mut swarm = tokio::select! {
        biased;
        // Nothing runs on it yet.
        () = &mut shutdown => return Ok(()),
        swarm = started => swarm?,
    };
    let tried = try_out(&mut swarm, options, ports, shutdown).await;
    swarm.end().await;
    tried
}

/// Deploys the sample, shows what happens, and takes everything down at the end.
async fn try_out(
    swarm: &mut Swarm,
    options: Options,
    ports: Option<Ports>,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let channel = swarm.channel().await?;
    let mut services = Services::new(channel.clone());
    let sample = ports.as_ref().map(|ports| sample::spec(ports, options.replicas)).transpose()?;
    // Whoever does not listen any more is no reason to stop.
    std::io::stdout().write_all(welcome(swarm.nodes(), options).as_bytes()).ok();
    let watched = async {
        let base = ports.as_ref().map(Ports::base);
        match Box::pin(view::follow(channel, base)).await {}
    };
    tokio::pin!(watched);
    let lived = async {
        // To the end, whoever asks to stop: a service that appears after the others were listed
        // would be left.
        if let Some(sample) = sample {
            Box::pin(services.create(sample)).await?;
        }
        shutdown.await;
        Ok(())
    };
    shown(swarm, &mut watched, lived).await?;
    swarm.complete()?;
    shown(swarm, &mut watched, services.take_down()).await
}

/// Waits for something while what happens is shown.
async fn shown(
    swarm: &mut Swarm,
    watched: impl Future<Output = ()>,
    what: impl Future<Output = Result<()>>,
) -> Result<()> {
    tokio::select! {
        biased;
        error = swarm.watch() => Err(error),
        done = what => done,
        () = watched => Ok(()),
    }
}

fn welcome(nodes: &[Node], options: Options) -> String {
    let name = sample::NAME;
    let what = if options.sample {
        format!(", with a service `{name}` that answers over HTTP")
    } else {
        String::new()
    };
    let (size, who) = match nodes {
        [_] => ("one machine".to_owned(), String::new()),
        _ => (format!("{} nodes on one machine", nodes.len()), listed(nodes)),
    };
    let tries = tries(nodes, options).join("\n  ");
    format!(
        "A swarm of {size}{what}.\n{who}Try in another terminal:\n\n  {tries}\n\n\
         Ctrl-C ends it; nothing is kept.\n\n"
    )
}

/// Commands to begin with.
fn tries(nodes: &[Node], options: Options) -> Vec<String> {
    let name = sample::NAME;
    let first = nodes.first();
    let socket = first.map(|node| format!("export SWARM_SOCKET={}", node.socket().display()));
    let mut tries = Vec::from_iter(socket);
    tries.push("swarmctl node ls".to_owned());
    if options.sample {
        tries.push(format!("swarmctl service inspect {name}"));
        tries.push(format!("swarmctl service update {name} --replicas 5"));
    }
    let nap = "swarmctl service create --name nap --image host --command sleep --args 1000";
    tries.push(nap.to_owned());
    if options.managers > 1 {
        tries.extend(first.and_then(Node::pid).map(|pid| format!("kill -9 {pid}")));
    }
    tries
}

/// A line for each node: its name, its process, and where a manager is controlled.
fn listed(nodes: &[Node]) -> String {
    let mut lines = String::from("\n");
    for node in nodes {
        let pid = node.pid().map(|pid| pid.to_string()).unwrap_or_default();
        let socket = node.socket();
        let socket = if socket.exists() { socket.display().to_string() } else { String::new() };
        let line = format!("  {:<12} process {pid:<8} {socket}", node.name());
        writeln!(lines, "{}", line.trim_end()).ok();
    }
    lines + "\n"
}
