//! Three managers on loopback, and what is done to them.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use protocol::wire::{
    ListClustersRequest, ListNodesRequest, control_client::ControlClient,
    raft_member_status::Reachability,
};
use tempfile::TempDir;
use tokio::time::sleep;
use tonic::transport::Channel;

use crate::common::{binary, client};

/// How many there are.
pub(crate) const MANAGERS: usize = 3;

/// One manager: its state lies beside the build, its socket where paths are short.
pub(crate) struct Manager {
    folder: TempDir,
    sockets: TempDir,
    child: Option<Child>,
}

impl Manager {
    fn new() -> Self {
        let beside = binary().parent().expect("it lies in a folder");
        let folder = tempfile::Builder::new().prefix("sw").tempdir_in(beside);
        let folder = folder.expect("a folder can be made");
        let sockets = tempfile::tempdir().expect("a folder can be made");
        Self { folder, sockets, child: None }
    }

    pub(crate) fn start(&mut self, join: &[String]) {
        let child = Command::new(binary())
            .args(["--hostname", "bench", "--log-level", "error", "-d"])
            .arg(self.folder.path().join("state"))
            .arg("--listen-control-api")
            .arg(self.sockets.path().join("swarm.sock"))
            .args(["--listen-remote-api", "127.0.0.1:0"])
            .args(join)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.expect("swarmd starts"));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("it can be signalled");
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it can be waited for");
        }
    }

    fn address(&self) -> Option<String> {
        let text = fs::read_to_string(self.folder.path().join("state/addresses.json")).ok()?;
        let value: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some(value.get("remote_api")?.as_str()?.to_owned())
    }

    /// A connection of its own, as soon as the manager listens.
    pub(crate) async fn client(&self) -> ControlClient<Channel> {
        client(&self.sockets.path().join("swarm.sock")).await
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three managers that trust each other.
pub(crate) struct Group(pub(crate) Vec<Manager>);

impl Group {
    /// Starts them, and waits until all vote.
    pub(crate) async fn start() -> Self {
        let mut first = Manager::new();
        first.start(&[]);
        let token = token(&mut first.client().await).await;
        let address = first.address().expect("it listens");
        let mut group = Self(vec![first]);
        for _ in 1..MANAGERS {
            let mut another = Manager::new();
            let join = ["--join-addr", &address, "--join-token", &token].map(str::to_owned);
            another.start(&join);
            group.0.push(another);
        }
        group.whole().await;
        group
    }

    /// Waits until every manager is heard of; returns which of them leads.
    pub(crate) async fn whole(&self) -> usize {
        loop {
            for (position, manager) in self.0.iter().enumerate() {
                let mut client = manager.client().await;
                let listed = client.list_nodes(ListNodesRequest { filters: None }).await;
                let Ok(listed) = listed else { continue };
                let nodes = listed.into_inner().nodes;
                let managers = nodes.iter().filter_map(|node| node.manager_status.as_ref());
                let heard =
                    managers.filter(|status| status.reachability() == Reachability::Reachable);
                if heard.count() == MANAGERS
                    && let Some(leader) = nodes.iter().find(|node| {
                        node.manager_status.as_ref().is_some_and(|status| status.leader)
                    })
                    && manager.is(&leader.id)
                {
                    return position;
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Manager {
    /// Whether its certificate names this node.
    fn is(&self, node_id: &str) -> bool {
        let path = self.folder.path().join("state/certificates/swarm-node.crt");
        let pem = fs::read(path).unwrap_or_default();
        let chain = node::identity::Chain::parse(&pem);
        chain.is_ok_and(|chain| chain.subject.node_id.as_str() == node_id)
    }
}

async fn token(client: &mut ControlClient<Channel>) -> String {
    loop {
        if let Ok(listed) = client.list_clusters(ListClustersRequest { filters: None }).await
            && let Some(cluster) = listed.into_inner().clusters.into_iter().next()
        {
            let tokens = cluster.root_ca.and_then(|root| root.join_tokens);
            return tokens.expect("a cluster has tokens").manager;
        }
        sleep(Duration::from_millis(5)).await;
    }
}
