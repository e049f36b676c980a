//! A daemon of an optimised build, on a state directory of its own.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use protocol::wire::control_client::ControlClient;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::common::{binary, client};

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
            .args(["--listen-remote-api", "127.0.0.1:0"])
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
        client(&self.sockets.path().join("swarm.sock")).await
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
