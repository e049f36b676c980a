//! The nodes of a throw-away swarm: started one after the other, watched, and ended together.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use futures_util::future::{join_all, select_all};
use hyper_util::rt::TokioIo;
use protocol::wire::{
    JoinTokens, ListClustersRequest, ListNodesRequest, NodeRole, control_client::ControlClient,
    node_status, raft_member_status::Reachability,
};
use tokio::{
    net::UnixStream,
    time::{sleep, timeout},
};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{
    LISTING_BYTES_MAX, Options,
    node::{Door, Node, Place},
    view,
};
use crate::{addresses::Addresses, configuration::Configuration};

/// How long a node may take until it belongs to the swarm.
const JOINED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// All nodes, the managers first.
pub(super) struct Swarm {
    nodes: Vec<Node>,
}

impl Swarm {
    /// Starts every node in a folder, each once those before it belong to the swarm; workers all
    /// at once.
    pub(super) async fn start(
        configuration: &Configuration,
        options: Options,
        folder: &Path,
    ) -> Result<Self> {
        let places = places(configuration, options, folder);
        let (managers, workers) = places.split_at(usize::from(options.managers));
        let mut swarm = Self { nodes: Vec::new() };
        let Some((first, others)) = managers.split_first() else { bail!("there is no manager") };
        swarm.add(Node::start(first.clone(), configuration, None)?).await?;
        if places.len() == 1 {
            return Ok(swarm);
        }
        let mut members = Members::of(swarm.channel().await?);
        let JoinTokens { manager, worker } = swarm.or_end(members.tokens()).await?;
        let address = Addresses::remote_api_of(swarm.nodes[0].state());
        let address = address.context("the first manager does not say where it listens")?;
        let door = |token: String| anyhow::Ok(Door { address, token: token.parse()? });
        let (manager, worker) = (door(manager)?, door(worker)?);
        for (place, count) in others.iter().zip(2..) {
            swarm.add(Node::start(place.clone(), configuration, Some(&manager))?).await?;
            swarm.or_end(members.are(count, count)).await?;
        }
        for place in workers {
            swarm.nodes.push(Node::start(place.clone(), configuration, Some(&worker))?);
        }
        swarm.or_end(members.are(managers.len(), places.len())).await?;
        Ok(swarm)
    }

    /// Adds a manager, and waits until it can be asked.
    async fn add(&mut self, node: Node) -> Result<()> {
        let socket = node.socket().to_owned();
        self.nodes.push(node);
        let listens = async {
            while UnixStream::connect(&socket).await.is_err() {
                sleep(LOOK_EVERY).await;
            }
        };
        self.or_end(listens).await
    }

    /// Waits for something, but not longer than all nodes live.
    async fn or_end<T>(&mut self, what: impl Future<Output = T>) -> Result<T> {
        let waited = timeout(JOINED_WITHIN, what);
        tokio::select! {
            biased;
            (name, why) = self.next_end() => match self.nodes.len() {
                1 => bail!("{why}"),
                _ => bail!("{name} has ended before it belonged to the swarm: {why}"),
            },
            waited = waited => waited.map_err(|_| {
                anyhow!("the nodes do not find each other within {} seconds", JOINED_WITHIN.as_secs())
            }),
        }
    }

    /// Waits for the next node that ends by itself; returns which, and why.
    async fn next_end(&mut self) -> (String, String) {
        let living = self.nodes.iter_mut().filter(|node| node.is_alive());
        let ends = living.map(|node| {
            Box::pin(async {
                let status = node.ended().await;
                (node, status)
            })
        });
        let ((node, status), ..) = select_all(ends).await;
        let why = node.why(status).await;
        (node.name().to_owned(), why)
    }

    /// Says which nodes end, until the last one has: then why.
    pub(super) async fn watch(&mut self) -> anyhow::Error {
        loop {
            let (name, why) = self.next_end().await;
            let is_last = !self.nodes.iter().any(Node::is_alive);
            if is_last && self.nodes.len() == 1 {
                return anyhow!("{why}");
            }
            // Whoever does not listen any more is no reason to stop.
            writeln!(view::stderr(), "{name} has ended, and its tasks run on: {why}").ok();
            if is_last {
                return anyhow!("no node of the swarm is left");
            }
        }
    }

    /// Starts once more what has ended: only a node itself can end its tasks.
    pub(super) fn complete(&mut self) -> Result<()> {
        self.nodes.iter_mut().filter(|node| !node.is_alive()).try_for_each(Node::start_again)
    }

    /// Lets all nodes stop.
    pub(super) async fn end(self) {
        join_all(self.nodes.into_iter().map(Node::end)).await;
    }

    /// The nodes, for the operator.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The way to the first manager that answers; to the next one when that is gone.
    pub(super) async fn channel(&self) -> Result<Channel> {
        connect(self.nodes.iter().map(|node| node.socket().to_owned()).collect()).await
    }
}

/// Connects to the first of these sockets that somebody listens on, and again whenever the
/// connection is lost.
pub(crate) async fn connect(sockets: Vec<PathBuf>) -> Result<Channel> {
    let connector = service_fn(move |_| {
        let sockets = sockets.clone();
        async move {
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for socket in sockets {
                match UnixStream::connect(socket).await {
                    Ok(stream) => return Ok(TokioIo::new(stream)),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    });
    // The address is for HTTP alone; the connector knows where to go.
    let endpoint = Endpoint::from_static("http://swarm");
    endpoint.connect_with_connector(connector).await.context("the swarm's own socket is closed")
}

/// What each node is called; the only one as it is asked for, or as the machine.
fn places(configuration: &Configuration, options: Options, folder: &Path) -> Vec<Place> {
    let managers = (1..=options.managers).map(|number| format!("manager-{number}"));
    let workers = (1..=options.workers).map(|number| format!("worker-{number}"));
    let names: Vec<_> = managers.chain(workers).collect();
    let is_alone = names.len() == 1;
    let place = |name: String| {
        let hostname = match &configuration.hostname {
            Some(prefix) if !is_alone => Some(format!("{prefix}-{name}")),
            None if !is_alone => Some(name.clone()),
            given => given.clone(),
        };
        let socket = if is_alone { "swarm.sock".to_owned() } else { format!("{name}.sock") };
        Place {
            state: folder.join(&name),
            socket: folder.join(socket),
            hostname,
            label: Some(name).filter(|_| !is_alone),
        }
    };
    names.into_iter().map(place).collect()
}

/// Who belongs to the swarm, as a manager says it.
struct Members {
    control: ControlClient<Channel>,
}

impl Members {
    fn of(channel: Channel) -> Self {
        let control = ControlClient::new(channel).max_decoding_message_size(LISTING_BYTES_MAX);
        Self { control }
    }

    /// What lets other nodes in, as soon as the first one leads.
    async fn tokens(&mut self) -> JoinTokens {
        loop {
            let listed = self.control.list_clusters(ListClustersRequest::default()).await;
            let clusters = listed.map(|listed| listed.into_inner().clusters).unwrap_or_default();
            let root = clusters.into_iter().find_map(|cluster| cluster.root_ca);
            if let Some(tokens) = root.and_then(|root| root.join_tokens) {
                return tokens;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until there are so many managers among so many nodes.
    async fn are(&mut self, managers: usize, nodes: usize) {
        loop {
            let listed = self.control.list_nodes(ListNodesRequest::default()).await;
            let listed = listed.map(|listed| listed.into_inner().nodes).unwrap_or_default();
            let ready = listed.iter().filter(|node| {
                let status = node.status.as_ref();
                status.is_some_and(|status| status.state() == node_status::State::Ready)
            });
            let reachable = ready.clone().filter(|node| {
                let status = node.manager_status.as_ref();
                node.role() == NodeRole::Manager
                    && status.is_some_and(|it| it.reachability() == Reachability::Reachable)
            });
            if ready.count() == nodes && reachable.count() == managers {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }
}
