//! A daemon of an optimised build, on a state directory of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use hyper_util::rt::TokioIo;
use protocol::wire::control_client::ControlClient;
use tempfile::TempDir;
use tokio::{net::UnixStream, time::sleep};
use tonic::transport::{Channel, Endpoint};

/// It is killed, and its folder removed, when this is dropped.
pub(crate) struct Swarmd {
    folder: TempDir,
    /// Elsewhere, for the path of a socket has to be short.
    sockets: TempDir,
    child: Child,
}

/// What the kernel says of its memory, in bytes.
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) anonymous: u64,
}

impl Swarmd {
    pub(crate) fn start() -> Self {
        // Beside the build, not in a temporary file system: its syncs must reach a disk.
        let binary = binary();
        let beside = binary.parent().expect("it lies in a folder");
        let folder = tempfile::Builder::new().prefix("sw").tempdir_in(beside);
        let folder = folder.expect("a folder can be made");
        let sockets = tempfile::tempdir().expect("a folder can be made");
        let child = Command::new(binary)
            .args(["--hostname", "bench", "--log-level", "error", "-d"])
            .arg(folder.path().join("state"))
            .arg("--listen-control-api")
            .arg(sockets.path().join("swarm.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("swarmd starts");
        Self { folder, sockets, child }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection of its own, as soon as the daemon listens.
    pub(crate) async fn client(&self) -> ControlClient<Channel> {
        let socket = self.sockets.path().join("swarm.sock");
        let endpoint = Endpoint::from_static("http://swarm-manager");
        loop {
            let socket = socket.clone();
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

    pub(crate) fn memory(&self) -> Memory {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the daemon runs");
        let field = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let amount = line.and_then(|line| line.split_whitespace().next());
            amount.and_then(|amount| amount.parse::<u64>().ok()).expect("this is Linux") * 1024
        };
        Memory { resident: field("VmRSS:"), anonymous: field("RssAnon:") }
    }
}

impl Drop for Swarmd {
    fn drop(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }
}

/// Builds the daemon, so that no start has to wait for that.
pub(crate) fn build() {
    binary();
}

/// The optimised `swarmd` of this workspace.
fn binary() -> &'static Path {
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
