//! What all benches of real daemons need: the optimised binary, a connection to it, a small write.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use hyper_util::rt::TokioIo;
use protocol::wire::{
    self, CreateServiceRequest, control_client::ControlClient, service_spec::Mode,
    task_spec::Runtime,
};
use tokio::{net::UnixStream, time::sleep};
use tonic::transport::{Channel, Endpoint};

/// A connection of its own to a control socket, as soon as somebody listens there.
pub(crate) async fn client(socket: &Path) -> ControlClient<Channel> {
    let endpoint = Endpoint::from_static("http://swarm-manager");
    loop {
        let socket = socket.to_owned();
        let connect = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        match endpoint.connect_with_connector(connect).await {
            Ok(channel) => return ControlClient::new(channel),
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    }
}

/// A service without replicas: one transaction, and nothing for the loops to do.
pub(crate) fn service(name: String) -> CreateServiceRequest {
    let container = wire::ContainerSpec { image: "host".into(), ..Default::default() };
    let spec = wire::ServiceSpec {
        annotations: Some(wire::Annotations { name, ..Default::default() }),
        task: Some(wire::TaskSpec {
            runtime: Some(Runtime::Container(container)),
            ..Default::default()
        }),
        mode: Some(Mode::Replicated(wire::ReplicatedService { replicas: 0 })),
        ..Default::default()
    };
    CreateServiceRequest { spec: Some(spec) }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The optimised `swarmd` of this workspace.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let output = Command::new(env!("CARGO"))
            .args(["build", "--release", "--workspace", "--bins", "--locked"])
            .arg("--message-format=json")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "swarmd can be built");
        let lines = output.stdout.split(|byte| *byte == b'\n');
        let messages =
            lines.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
        let mut paths = messages
            .filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)));
        let named = |path: &PathBuf| path.file_name().is_some_and(|file| file == "swarmd");
        paths.find(named).expect("the workspace builds swarmd")
    })
}
