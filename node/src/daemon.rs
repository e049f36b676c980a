//! One node, put together: the only place that knows all parts (architecture D15).

use std::{io, path::Path, rc::Rc, sync::Arc, time::Duration};

use actors::{
    agent,
    dispatcher::{LocalManagers, Seat},
    environment::{Entropy, Environment},
    leadership::{Fatal, Leadership, OnFatal},
    log,
    raft::{self, Links, Peer, Transport},
    store::Store,
    supervision::{Address, Census, Lost, Tree},
    tree::{self, Core, LeaderParts, Log, Loops},
};
use anyhow::{Context, Result};
use protocol::{id::NodeId, raftpb};
use rand::{Rng, rngs::OsRng};
use tokio::sync::{mpsc, oneshot};

use crate::{
    cipher::LogCipher,
    clock::SystemClock,
    configuration::Configuration,
    disk::FileDisk,
    executor::{self, ProcessExecutor},
    founding::Founder,
    identity::{Identity, RenewalPorts, Renewer, RootSigner, Shown},
    service::{self, Advisor, Certificates, Control, Diagnostics, Health, Services, Watch},
    socket::ControlSocket,
    state_directory::StateDirectory,
    task_database::SledDatabase,
    thread::{ActorThread, stop_all},
};

/// Folders of the state directory.
const CERTIFICATES: &str = "certificates";
const RAFT: &str = "raft";
const WORKER: &str = "worker";
pub(crate) const TASKS: &str = "worker/processes";

/// How long the parts may take to stop. A write to a disk may take seconds, and is then lost as a
/// power cut would lose it: unacknowledged.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Last words wait here; the first is what the process ends with.
const LAST_WORDS_MAX: usize = 8;

/// A node that runs.
pub struct Daemon {
    socket: ControlSocket,
    tls: Arc<rustls::ServerConfig>,
    services: Services,
    last_words: mpsc::Receiver<anyhow::Error>,
    /// In start order.
    threads: Vec<ActorThread>,
    /// Held to the end.
    _state: StateDirectory,
}

/// What all parts are given.
#[derive(Clone)]
struct Given {
    environment: Environment,
    census: Census,
    last_words: mpsc::Sender<anyhow::Error>,
}

impl Daemon {
    /// Starts every part. When it returns, the control socket is bound; whether this node leads is
    /// up to raft.
    pub async fn start(configuration: &Configuration) -> Result<Self> {
        let state = StateDirectory::open(&configuration.state_dir)?;
        let socket = ControlSocket::bind(&configuration.listen_control_api).await?;
        let environment =
            Environment { clock: Arc::new(SystemClock), entropy: Entropy::new(OsRng.r#gen()) };
        let now = environment.clock.now();
        let identity = Identity::open(&state.folder(CERTIFICATES)?, &now)?;
        let shown = Shown::new(&identity.chain.certificates, &identity.key_file.key)?;
        let tls = shown.control_config()?;
        let (last_words, heard) = mpsc::channel(LAST_WORDS_MAX);
        let given = Given { environment, census: Census::default(), last_words };
        let config = raft::Config::alone(
            log::Member {
                raft_id: OsRng.gen_range(1..=u64::MAX),
                node_id: identity.node_id().to_string(),
                cluster_id: identity.cluster_id().to_string(),
            },
            configuration.listen_remote_api.to_string(),
            OsRng.r#gen(),
        );
        let (node_id, seat) = (identity.node_id().clone(), Seat::default());
        let (log_thread, writer) = start_log(&given, &state.folder(RAFT)?, &identity).await?;
        let manager = start_manager(&given, config, writer, identity, seat.clone()).await?;
        let [core, loops] = manager.threads;
        let watch = Watch::new(manager.store.clone(), manager.raft.recipient());
        let leadership = service::Leadership {
            store: manager.store,
            reads: manager.raft.recipient(),
            status: manager.raft.recipient(),
        };
        let certificates = Certificates::new(leadership.clone(), node_id.clone());
        let renewal = RenewalPorts {
            folder: state.folder(CERTIFICATES)?,
            shown,
            issuer: Arc::new(certificates.clone()),
            environment: given.environment.clone(),
        };
        let agent = start_agent(&given, configuration, &state, (node_id, seat), renewal).await?;
        let services = Services {
            control: Control::new(leadership.clone(), given.environment.clock.clone()),
            advisor: Advisor::new(leadership.clone(), given.environment.clock.clone()),
            health: Health::new(leadership),
            watch,
            certificates,
            diagnostics: Diagnostics::new(given.census),
        };
        let threads = vec![log_thread, core, loops, agent];
        Ok(Self { socket, tls, services, last_words: heard, threads, _state: state })
    }

    /// Serves until `shutdown`, or until a part cannot go on. Tasks run on afterwards.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
        let Self { socket, tls, services, mut last_words, threads, _state } = self;
        let (fatal, failed) = oneshot::channel();
        let until = async {
            tokio::select! {
                biased;
                () = shutdown => {}
                Some(error) = last_words.recv() => drop(fatal.send(error)),
            }
        };
        tracing::info!("node is ready");
        let served = service::serve(socket, tls, services, until).await;
        if !stop_all(threads, STOP_WITHIN).await {
            tracing::error!("some parts did not stop; the process ends without them");
        }
        if let Ok(error) = failed.await {
            return Err(error);
        }
        served.context("the control socket cannot be served")
    }
}

/// The parts of a manager.
struct Manager {
    store: Store,
    raft: Address<Peer>,
    threads: [ActorThread; 2],
}

async fn start_log(
    given: &Given,
    folder: &Path,
    identity: &Identity,
) -> Result<(ActorThread, Address<log::Writer>)> {
    let (disk, cipher) = (FileDisk::new(folder), LogCipher::new(identity.data_key()?));
    let (census, on_lost) = (given.census.clone(), on_lost(given));
    let started = ActorThread::start("log", async move || {
        let tree = Tree::root("log", tree::LOG, census, on_lost);
        let Log { writer } = Log::start(&tree, disk, cipher, log::Options::default());
        (tree, writer)
    });
    started.await.context("the log's thread cannot be started")
}

/// Starts raft and the store on one thread, and what follows leadership on another. Each has to
/// know the other before it begins.
async fn start_manager(
    given: &Given,
    config: raft::Config,
    writer: Address<log::Writer>,
    identity: Identity,
    seat: Seat,
) -> Result<Manager> {
    let parts = LeaderParts {
        node_id: identity.node_id().clone(),
        environment: given.environment.clone(),
        seat,
        signer: Arc::new(RootSigner),
    };
    let (give_store, store) = oneshot::channel::<Store>();
    let (give_leadership, leadership) = oneshot::channel::<Address<Leadership>>();
    let (environment, census) = (given.environment.clone(), given.census.clone());
    let core_lost = on_lost(given);
    let core = ActorThread::start("core", async move || {
        let tree = Tree::root("manager", tree::CORE, census, core_lost);
        let core = Core::start(&tree, &environment, config, async |store, memory, published| {
            give_store.send(store.clone()).ok();
            let leadership = leadership.await.expect("the loops are being started");
            Links {
                log: writer,
                store: memory,
                published,
                transport: Arc::new(Nobody),
                leadership: leadership.recipient(),
                ended: leadership.recipient(),
            }
        });
        let Core { store, raft, .. } = core.await;
        (tree, (store, raft))
    });
    let (census, loops_lost, on_fatal) = (given.census.clone(), on_lost(given), on_fatal(given));
    let loops = async move {
        let store = store.await.map_err(io::Error::other)?;
        let loops = ActorThread::start("loops", async move || {
            let tree = Tree::root("loops", tree::LOOPS, census, loops_lost);
            let bootstrap = Box::new(Founder(identity));
            let Loops { leadership } = Loops::start(&tree, store, parts, bootstrap, on_fatal);
            (tree, leadership)
        });
        let (loops, leadership) = loops.await?;
        give_leadership.send(leadership).ok();
        Ok(loops)
    };
    let ((core, (store, raft)), loops) =
        tokio::try_join!(core, loops).context("a manager's threads cannot be started")?;
    Ok(Manager { store, raft, threads: [core, loops] })
}

async fn start_agent(
    given: &Given,
    configuration: &Configuration,
    state: &StateDirectory,
    (node_id, seat): (NodeId, Seat),
    renewal: RenewalPorts,
) -> Result<ActorThread> {
    let worker = state.folder(WORKER)?;
    let tasks = state.folder(TASKS)?.canonicalize().context("the tasks' folder is gone")?;
    let open_files = executor::raise_open_files().context("open files cannot be counted")?;
    let executor = executor::Config {
        hostname: configuration.hostname.clone(),
        open_files: Some(open_files),
        ..executor::Config::new(tasks)
    };
    let database = SledDatabase::open(&worker)?;
    let Given { environment, census, .. } = given.clone();
    let agent_lost = on_lost(given);
    let (thread, ()) = ActorThread::start("agent", async move || {
        let tree = Tree::root("agent", tree::AGENT, census.clone(), agent_lost);
        let ports = agent::Ports {
            managers: Rc::new(LocalManagers::new(node_id, seat)),
            executor: Rc::new(ProcessExecutor::new(executor)),
            database: Rc::new(database),
        };
        agent::start(&tree, census, ports, environment);
        tree.child("renewer", Renewer::factory(renewal));
        (tree, ())
    })
    .await
    .context("the agent's thread cannot be started")?;
    Ok(thread)
}

/// A tree that gives up ends the process: what runs without it would only look alive.
fn on_lost(given: &Given) -> impl FnOnce(Lost) + Send + use<> {
    let last_words = given.last_words.clone();
    move |lost| drop(last_words.try_send(lost.into()))
}

fn on_fatal(given: &Given) -> OnFatal {
    let last_words = given.last_words.clone();
    Arc::new(move |fatal: Fatal| drop(last_words.try_send(fatal.into())))
}

/// There are no other members to send to.
struct Nobody;

impl Transport for Nobody {
    fn send(&self, message: raftpb::Message) {
        tracing::warn!(to = message.to, "a message for another manager, of which there are none");
    }
}
