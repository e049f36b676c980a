//! `swarmd dev`: a throw-away swarm of one machine, with something running on it.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, anyhow};
use hyper_util::rt::TokioIo;
use protocol::wire::{
    Annotations, ContainerSpec, CreateServiceRequest, ListServicesRequest, ListTasksRequest,
    RemoveServiceRequest, ReplicatedService, RestartPolicy, ServiceSpec, TaskSpec,
    control_client::ControlClient, restart_policy::RestartCondition, service_spec::Mode,
    task_spec::Runtime,
};
use tokio::{net::UnixStream, sync::oneshot, time::sleep};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::{configuration::Configuration, daemon::Daemon};

const SAMPLE: &str = "sample";
const REPLICAS: u64 = 2;

/// How long a node may take until it takes writes, and the tasks until they are gone.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs a node in a folder of its own until `shutdown`; afterwards nothing is left of it.
pub async fn run(
    configuration: Configuration,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("swarmd-dev-")
        .tempdir()
        .context("no folder can be made for the swarm")?;
    let socket = folder.path().join("swarm.sock");
    let configuration = Configuration {
        state_dir: folder.path().join("state"),
        listen_control_api: socket.clone(),
        ..configuration
    };
    if let Err(error) = live(&configuration, &socket, shutdown).await {
        // Their folder is the only way to find tasks that still run.
        let kept = folder.keep();
        let why = format!("tasks may still run; their folder {} is kept", kept.display());
        return Err(error.context(why));
    }
    Ok(())
}

/// Runs the node and what is tried on it, to the end.
async fn live(
    configuration: &Configuration,
    socket: &Path,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
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
        tried = try_out(socket, shutdown) => tried,
    };
    end.send(()).ok();
    serving.await.and(tried)
}

/// Deploys the sample, says what to try, and takes everything down at the end.
async fn try_out(socket: &Path, shutdown: impl Future<Output = ()>) -> Result<()> {
    let mut control = ControlClient::new(connect(socket).await?);
    tokio::pin!(shutdown);
    tokio::select! {
        biased;
        () = &mut shutdown => {}
        deployed = deploy(&mut control) => {
            deployed?;
            welcome(socket);
            shutdown.await;
        }
    }
    take_down(&mut control).await
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

/// Creates the sample as soon as the node leads, and waits until it runs.
async fn deploy(control: &mut ControlClient<Channel>) -> Result<()> {
    let request = CreateServiceRequest { spec: Some(sample()) };
    let mut refused = None;
    for _ in 0..attempts() {
        match control.create_service(request.clone()).await {
            Ok(_) => return Ok(()),
            Err(status) if status.code() == tonic::Code::Unavailable => refused = Some(status),
            Err(status) => return Err(anyhow!("the sample is refused: {}", status.message())),
        }
        sleep(LOOK_EVERY).await;
    }
    let reason = refused.map(|status| status.message().to_owned()).unwrap_or_default();
    Err(anyhow!("the swarm takes no writes: {reason}"))
}

fn sample() -> ServiceSpec {
    let command = ["sh", "-c", "while :; do date; sleep 5; done"].map(str::to_owned).to_vec();
    let container = ContainerSpec { image: "host".to_owned(), command, ..ContainerSpec::default() };
    ServiceSpec {
        annotations: Some(Annotations { name: SAMPLE.to_owned(), ..Annotations::default() }),
        task: Some(TaskSpec {
            runtime: Some(Runtime::Container(container)),
            // What `swarmctl` adds to every update: without it the first one would replace all tasks.
            restart: Some(RestartPolicy {
                condition: RestartCondition::Any.into(),
                ..RestartPolicy::default()
            }),
            ..TaskSpec::default()
        }),
        mode: Some(Mode::Replicated(ReplicatedService { replicas: REPLICAS })),
        ..ServiceSpec::default()
    }
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn welcome(socket: &Path) {
    println!(
        "A swarm of one machine runs, with a service `{SAMPLE}` of {REPLICAS} tasks.\n\
         Try in another terminal:\n\n  \
         export SWARM_SOCKET={}\n  \
         swarmctl node ls\n  \
         swarmctl service ls\n  \
         swarmctl service inspect {SAMPLE}\n  \
         swarmctl service update {SAMPLE} --replicas 5\n  \
         swarmctl service create --name nap --image host --command sleep --args 1000\n\n\
         Ctrl-C ends it; nothing is kept.",
        socket.display()
    );
}

/// Removes every service, and waits until their tasks are gone from this machine.
async fn take_down(control: &mut ControlClient<Channel>) -> Result<()> {
    let services = control.list_services(ListServicesRequest::default()).await.map_err(refused)?;
    for service in services.into_inner().services {
        let request = RemoveServiceRequest { service_id: service.id };
        control.remove_service(request).await.map_err(refused)?;
    }
    for _ in 0..attempts() {
        let tasks = control.list_tasks(ListTasksRequest::default()).await.map_err(refused)?;
        if tasks.into_inner().tasks.is_empty() {
            return Ok(());
        }
        sleep(LOOK_EVERY).await;
    }
    Err(anyhow!("some tasks did not end within {} seconds", PATIENCE.as_secs()))
}

fn refused(status: tonic::Status) -> anyhow::Error {
    anyhow!("the swarm cannot be taken down: {}", status.message())
}

fn attempts() -> u128 {
    PATIENCE.as_millis() / LOOK_EVERY.as_millis()
}
