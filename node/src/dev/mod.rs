//! `swarmd dev`: a throw-away swarm of one machine, with something running on it and a view of
//! what happens.

pub mod sample;
mod services;
mod view;

use std::{io::Write, path::Path};

use anyhow::{Context, Result, anyhow};
use clap::{ArgAction, Args};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, sync::oneshot};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

pub use self::view::stderr;
use self::{sample::Ports, services::Services};
use crate::{configuration::Configuration, daemon::Daemon};

/// How large a listing may be: as large as the control socket's answers.
const LISTING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What is run on the throw-away swarm.
#[derive(Clone, Copy, Debug, Args)]
pub struct Options {
    /// How many tasks the sample service has
    #[arg(long, default_value_t = 2)]
    replicas: u64,
    /// Whether there is a sample service
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    sample: bool,
}

/// Runs a node in a folder of its own until `shutdown`; afterwards nothing is left of it, unless
/// `at_once` comes before everything is taken down.
pub async fn run(
    configuration: Configuration,
    options: Options,
    shutdown: impl Future<Output = ()> + Send,
    at_once: impl Future<Output = ()> + Send,
) -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("swarmd-dev-")
        .tempdir()
        .context("no folder can be made for the swarm")?;
    let configuration = Configuration {
        state_dir: folder.path().join("state"),
        listen_control_api: folder.path().join("swarm.sock"),
        ..configuration
    };
    let lived = tokio::select! {
        biased;
        () = at_once => Err(anyhow!("ended before everything was taken down, as asked")),
        lived = Box::pin(live(&configuration, options, shutdown)) => lived,
    };
    let Err(error) = lived else { return Ok(()) };
    if !has_tasks(&configuration.state_dir) {
        return Err(error);
    }
    // Their folder is the only way to find tasks that still run.
    let kept = folder.keep();
    let why = format!("tasks may still run; their folder {} is kept", kept.display());
    Err(error.context(why))
}

fn has_tasks(state: &Path) -> bool {
    state.join(crate::daemon::TASKS).read_dir().is_ok_and(|mut tasks| tasks.next().is_some())
}

/// Runs the node and what is tried on it, to the end.
async fn live(
    configuration: &Configuration,
    options: Options,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let ports = if options.sample { Some(Ports::reserve(options.replicas).await?) } else { None };
    let daemon = Daemon::start(configuration).await?;
    let (end, ended) = oneshot::channel::<()>();
    let serving = daemon.run(async {
        ended.await.ok();
    });
    tokio::pin!(serving);
    let tried = tokio::select! {
        biased;
        // Only a node that cannot go on ends before it is told to.
        served = &mut serving => return served,
        tried = try_out(&configuration.listen_control_api, options, ports, shutdown) => tried,
    };
    end.send(()).ok();
    serving.await.and(tried)
}

/// Deploys the sample, shows what happens, and takes everything down at the end.
async fn try_out(
    socket: &Path,
    options: Options,
    ports: Option<Ports>,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let channel = connect(socket).await?;
    let mut services = Services::new(channel.clone());
    let sample = ports.as_ref().map(|ports| sample::spec(ports, options.replicas)).transpose()?;
    // Whoever does not listen any more is no reason to stop.
    std::io::stdout().write_all(welcome(socket, options).as_bytes()).ok();
    let lived = async {
        // To the end, whoever asks to stop: a service that appears after the others were listed
        // would be left.
        if let Some(sample) = sample {
            Box::pin(services.create(sample)).await?;
        }
        shutdown.await;
        services.take_down().await
    };
    let watched = Box::pin(view::follow(channel, ports.as_ref().map(Ports::base)));
    tokio::select! {
        biased;
        lived = lived => lived,
        never = watched => match never {},
    }
}

async fn connect(socket: &Path) -> Result<Channel> {
    let socket = socket.to_owned();
    let connector = service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The address is for HTTP alone; the connector knows where to go.
    let endpoint = Endpoint::from_static("http://swarm");
    endpoint.connect_with_connector(connector).await.context("the swarm's own socket is closed")
}

fn welcome(socket: &Path, options: Options) -> String {
    let name = sample::NAME;
    let (what, tries) = if options.sample {
        (
            format!(", with a service `{name}` that answers over HTTP"),
            format!(
                "swarmctl service inspect {name}\n  \
                 swarmctl service update {name} --replicas 5\n  "
            ),
        )
    } else {
        (String::new(), String::new())
    };
    format!(
        "A swarm of one machine{what}.\nTry in another terminal:\n\n  \
         export SWARM_SOCKET={}\n  \
         swarmctl node ls\n  \
         {tries}swarmctl service create --name nap --image host --command sleep --args 1000\n\n\
         Ctrl-C ends it; nothing is kept.\n\n",
        socket.display()
    )
}
