//! One node, put together: the only place that knows all parts (architecture D15). Its agent lives
//! as long as the process; it is a manager for as long as its certificate says so.

mod agent;
mod issuers;
mod manager;
mod moving;
#[cfg(test)]
mod tests;

use std::{
    fs,
    future::pending,
    io,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use actors::{
    dispatcher::Seat,
    environment::{Clock, Entropy, Environment},
    raft::Standing,
    supervision::{Address, Census, Lost},
};
use anyhow::{Context, Result};
use arc_swap::ArcSwapOption;
use protocol::wire::NodeRole;
use rand::{Rng, rngs::OsRng};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use self::{
    agent::start_agent,
    issuers::Issuers,
    manager::{End, Manager},
};
use crate::{
    addresses::Addresses,
    clock::SystemClock,
    configuration::{Configuration, Pace},
    identity::{Credentials, Identity, Renew, RenewalPorts, Renewer},
    joining::{self, Invitation},
    metrics,
    remote::Book,
    state_directory::StateDirectory,
    thread::{ActorThread, stop_all},
};

/// Folders of the state directory.
const CERTIFICATES: &str = "certificates";
const RAFT: &str = "raft";
/// A log that is being removed.
const RAFT_GONE: &str = "raft.gone";
const WORKER: &str = "worker";
pub(crate) const TASKS: &str = "worker/processes";

/// How long the parts may take to stop. A write to a disk may take seconds, and is then lost as a
/// power cut would lose it: unacknowledged.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Last words wait here; the first is what the process ends with.
const LAST_WORDS_MAX: usize = 8;

/// How long a node waits that could not become a manager.
const BEGIN_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// How long a manager that raft has let go waits for a certificate that says so, twice.
const DEMOTED_WITHIN: Duration = Duration::from_secs(16);

/// A node that runs.
pub struct Daemon {
    parts: Parts,
    manager: Option<Manager>,
    renewer: Address<Renewer>,
    agent: ActorThread,
    /// Where metrics are served, if anywhere.
    metrics: Option<metrics::Server>,
    last_words: mpsc::Receiver<anyhow::Error>,
    role: watch::Receiver<NodeRole>,
}

/// What all parts are given.
#[derive(Clone)]
struct Given {
    environment: Environment,
    census: Census,
    last_words: mpsc::Sender<anyhow::Error>,
}

/// What outlives the times in which this node is a manager.
struct Parts {
    given: Given,
    configuration: Configuration,
    pace: Pace,
    credentials: Arc<Credentials>,
    issuers: Arc<Issuers>,
    /// Where this node finds managers while it is none.
    book: Book,
    seat: Seat,
    sources: metrics::Sources,
    metrics: Option<SocketAddr>,
    /// Whether the next manager goes on alone; not the one after it.
    force_new_cluster: AtomicBool,
    /// Held to the end.
    state: StateDirectory,
}

impl Daemon {
    /// Starts every part. When it returns, a manager's sockets are bound; whether it leads is up to
    /// raft.
    pub async fn start(configuration: &Configuration) -> Result<Self> {
        let pace = configuration.pace()?;
        let state = StateDirectory::open(&configuration.state_dir)?;
        Addresses::clear(state.path())?;
        remove_gone(state.path())?;
        let metrics = match configuration.listen_metrics {
            Some(address) => Some(metrics::Server::bind(address).await?),
            None => None,
        };
        let environment =
            Environment { clock: Arc::new(SystemClock), entropy: Entropy::new(OsRng.r#gen()) };
        let folder = state.folder(CERTIFICATES)?;
        let identity = identity(&folder, configuration, environment.clock.as_ref()).await?;
        let credentials = identity.credentials()?;
        let (last_words, heard) = mpsc::channel(LAST_WORDS_MAX);
        let given = Given { environment, census: Census::default(), last_words };
        let (becomes, role) = watch::channel(identity.subject().role);
        let book = Book::open(state.path(), configuration.join_addr.clone());
        let book = book.context("what this node remembers of the managers cannot be read")?;
        let issuers = Arc::new(Issuers::new(
            book.clone(),
            credentials.client_config()?,
            given.environment.clock.clone(),
        ));
        let seat = Seat::new(Standing::default());
        let renewal = RenewalPorts {
            folder,
            credentials: credentials.clone(),
            issuer: issuers.clone(),
            role: becomes,
            environment: given.environment.clone(),
        };
        let sources = metrics::Sources {
            node_id: identity.node_id().clone(),
            cluster_id: identity.cluster_id().clone(),
            census: given.census.clone(),
            manager: Arc::new(ArcSwapOption::empty()),
        };
        let node_id = identity.node_id().clone();
        let parts = Parts {
            given,
            configuration: configuration.clone(),
            pace,
            credentials,
            issuers,
            book,
            seat,
            sources,
            metrics: metrics.as_ref().map(metrics::Server::address),
            force_new_cluster: configuration.force_new_cluster.into(),
            state,
        };
        // A manager that has to join may have to wait, and its tasks must not.
        let early = match Manager::has_to_join(&parts, &identity)? {
            true => Some(start_agent(&parts, node_id.clone(), renewal.clone()).await?),
            false => None,
        };
        let manager = Box::pin(parts.begin(identity)).await?;
        let (agent, renewer) = match early {
            Some(agent) => agent,
            None => start_agent(&parts, node_id, renewal).await?,
        };
        Ok(Self { parts, manager, renewer, agent, metrics, last_words: heard, role })
    }

    /// Serves until `shutdown`, or until a part cannot go on. Tasks run on afterwards.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
        let Self { parts, mut manager, renewer, agent, metrics, mut last_words, mut role } = self;
        let metrics = async {
            match metrics {
                Some(server) => server.serve(parts.sources.clone()).await,
                None => pending().await,
            }
        };
        let mut shutdown = std::pin::pin!(shutdown);
        let lived = async {
            tracing::info!("node is ready");
            loop {
                let ended = until(shutdown.as_mut(), &mut last_words, &mut role, manager.is_some());
                let end = match manager.take() {
                    Some(manager) => Box::pin(parts.serve(manager, ended)).await?,
                    None => ended.await,
                };
                let is_removed = match end {
                    End::Asked => return Ok(()),
                    End::Failed(error) => return Err(error),
                    End::RoleChanged => false,
                    End::Removed => true,
                };
                let told = role.clone();
                let begun = async {
                    if is_removed {
                        wait_for_demotion(&renewer, told).await;
                    }
                    parts.begin_again().await
                };
                let is_manager = *role.borrow() == NodeRole::Manager;
                let ended = until(shutdown.as_mut(), &mut last_words, &mut role, is_manager);
                manager = tokio::select! {
                    biased;
                    begun = begun => begun,
                    end = ended => match end {
                        End::Asked => return Ok(()),
                        End::Failed(error) => return Err(error),
                        End::RoleChanged | End::Removed => None,
                    },
                };
            }
        };
        let lived = tokio::select! {
            biased;
            lived = lived => lived,
            never = metrics => match never {},
        };
        if !stop_all(vec![agent], STOP_WITHIN).await {
            tracing::error!("the agent did not stop; the process ends without it");
        }
        lived
    }
}

/// Waits until something ends what this node is.
async fn until(
    shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
    last_words: &mut mpsc::Receiver<anyhow::Error>,
    role: &mut watch::Receiver<NodeRole>,
    is_manager: bool,
) -> End {
    let other = if is_manager { NodeRole::Worker } else { NodeRole::Manager };
    tokio::select! {
        biased;
        () = shutdown => End::Asked,
        Some(error) = last_words.recv() => End::Failed(error),
        Ok(_) = role.wait_for(|role| *role == other) => End::RoleChanged,
    }
}

/// A manager that raft has let go gets a certificate that says so; it may have to be asked for.
async fn wait_for_demotion(renewer: &Address<Renewer>, mut role: watch::Receiver<NodeRole>) {
    let mut demoted = async || {
        let demoted = role.wait_for(|role| *role == NodeRole::Worker);
        timeout(DEMOTED_WITHIN, demoted).await.is_ok()
    };
    if !demoted().await {
        renewer.send(Renew).await.ok();
        demoted().await;
    }
}

impl Parts {
    /// Who this node is now.
    fn identity(&self) -> Result<Identity> {
        let now = self.given.environment.clock.now();
        let identity = Identity::existing(&self.state.folder(CERTIFICATES)?, &now)?;
        identity.context("the files of this node's identity are gone")
    }

    /// Starts what a manager needs, if that is what this node is.
    async fn begin(&self, identity: Identity) -> Result<Option<Manager>> {
        let role = identity.subject().role;
        if role == NodeRole::Worker {
            self.forget_log()?;
            let metrics = self.metrics;
            Addresses { metrics, ..Addresses::default() }.write(self.state.path())?;
            return Ok(None);
        }
        Box::pin(Manager::start(self, identity)).await.map(Some)
    }

    /// Becomes what the certificate says now, however long that takes: a leader may be missing, or a
    /// port be taken. Tasks run meanwhile.
    async fn begin_again(&self) -> Option<Manager> {
        loop {
            let begun = async { Box::pin(self.begin(self.identity()?)).await };
            match begun.await {
                Ok(manager) => return manager,
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(error, "this node cannot be a manager yet; tries again");
                }
            }
            sleep(BEGIN_AGAIN_AFTER).await;
        }
    }

    /// Serves as a manager until `until`, and stops all that belongs to one. What raft keeps is
    /// forgotten by whoever is none any more.
    async fn serve(&self, manager: Manager, until: impl Future<Output = End>) -> Result<End> {
        let end = manager.serve(self, until).await?;
        match end {
            End::Asked | End::Failed(_) => {}
            End::RoleChanged | End::Removed => self.forget_log()?,
        }
        Ok(end)
    }

    /// Removes what a manager has kept. One that was let go would be refused for ever with it.
    fn forget_log(&self) -> Result<()> {
        let folder = self.state.path().join(RAFT);
        if folder.exists() {
            tracing::info!("this node is no manager any more: its log is removed");
            // Whole or not at all: a log with a file missing is a damaged one.
            let renamed = fs::rename(&folder, self.state.path().join(RAFT_GONE));
            renamed.context("the log of a former manager cannot be removed")?;
        }
        remove_gone(self.state.path())
    }
}

/// Removes a log that was given up.
fn remove_gone(state: &Path) -> Result<()> {
    match fs::remove_dir_all(state.join(RAFT_GONE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context("the log of a former manager cannot be removed")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Who this node is: what its files say, what the cluster says that it joins, or the first manager
/// of a new one.
async fn identity(
    folder: &Path,
    configuration: &Configuration,
    clock: &dyn Clock,
) -> Result<Identity> {
    if let Some(identity) = Identity::existing(folder, &clock.now())? {
        return Ok(identity);
    }
    let Some(address) = configuration.join_addr.clone() else {
        return Ok(Identity::open(folder, &clock.now())?);
    };
    let token = configuration.join_token.clone().context(
        "a node joins with a token: give it with --join-token; `swarmctl cluster inspect default` \
         shows it on a manager",
    )?;
    let invitation = Invitation { address, token, availability: 0 };
    Ok(joining::join(folder, &invitation, clock).await?)
}

/// A tree that gives up ends the process: what runs without it would only look alive.
fn on_lost(given: &Given) -> impl FnOnce(Lost) + Send + use<> {
    let last_words = given.last_words.clone();
    move |lost| drop(last_words.try_send(lost.into()))
}
