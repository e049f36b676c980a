//! The parts of a manager: its log, raft and the store, what follows leadership, and the way to the
//! other managers.

use std::{
    io,
    path::{self, Path},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actors::{
    ca::logic::{Subject, access::Door},
    dispatcher::Seat,
    leadership::{Fatal, Leadership, OnFatal},
    log::{self, Disk as _},
    raft::{self, Links, Peer, Standing},
    roles,
    store::Store,
    supervision::{Address, Tree},
    tree::{self, Core, LeaderParts, Log, Loops},
};
use anyhow::{Context, Result, bail};
use futures_util::FutureExt;
use protocol::{
    id::NodeId,
    wire::{NodeRole, Peer as Named, WeightedPeer},
};
use rand::{Rng, rngs::OsRng};
use rustls::ClientConfig;
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinSet, spawn_blocking},
    time::sleep,
};

use super::{Given, Parts, RAFT, STOP_WITHIN, moving::Moving, on_lost};
use crate::{
    addresses::Addresses,
    cipher::LogCipher,
    disk::FileDisk,
    founding::Founder,
    identity::{Credentials, Identity, RootSigner},
    joining::{self, Member},
    metrics,
    remote::{Book, Carrier, Directory, Guests, Lines, RemoteListener, Way},
    service::{
        self, Access, Advisor, Certificates, Control, Diagnostics, Front, Membership, Proxy,
        Services, Watch,
    },
    socket::ControlSocket,
    thread::{ActorThread, stop_all},
};

/// How often it is looked whether others are managers now.
const REMEMBER_EVERY: Duration = Duration::from_millis(200);

/// What it takes to end being what this node is.
pub(super) enum End {
    /// The process is asked to end.
    Asked,
    /// A part cannot go on.
    Failed(anyhow::Error),
    /// The certificate says something else.
    RoleChanged,
    /// Raft has let this manager go.
    Removed,
}

/// The parts of a manager, from becoming one to being none any more.
pub(super) struct Manager {
    doors: Doors,
    pub(super) store: Store,
    raft: Address<Peer>,
    tls: Arc<ClientConfig>,
    directory: Directory,
    /// Resolves when raft has let this manager go.
    removed: mpsc::Receiver<()>,
    /// The log's, core and loops.
    threads: Vec<ActorThread>,
    /// What carries messages to other managers; ends when it is dropped.
    background: JoinSet<()>,
}

/// Where a manager is reached.
struct Doors {
    socket: ControlSocket,
    port: RemoteListener,
}

impl Manager {
    /// Whether this node is a manager that no group knows yet.
    pub(super) fn has_to_join(parts: &Parts, identity: &Identity) -> Result<bool> {
        let is_manager = identity.subject().role == NodeRole::Manager;
        let founds = identity.root_key_pem.is_some();
        Ok(is_manager && !founds && !has_log(&parts.state.folder(RAFT)?)?)
    }

    /// Starts every part. One without a log asks to be made a member first, unless it founds a
    /// cluster.
    pub(super) async fn start(parts: &Parts, identity: Identity) -> Result<Self> {
        let Parts { given, configuration, credentials, state, .. } = parts;
        let socket = ControlSocket::bind(&configuration.listen_control_api).await?;
        let listens = configuration.listen_remote_api;
        let port = RemoteListener::bind(listens).await;
        let port =
            port.with_context(|| format!("other nodes cannot be listened to on {listens}"))?;
        let addresses = Addresses {
            remote_api: Some(port.address()),
            control_api: path::absolute(&configuration.listen_control_api).ok(),
            metrics: parts.metrics,
        };
        addresses.write(state.path())?;
        let (folder, tls) = (state.folder(RAFT)?, credentials.client_config()?);
        let directory = Directory::new(parts.seat.standing().clone());
        let address = configuration.advertised(port.address());
        let founds = identity.root_key_pem.is_some();
        let mut config = raft::Config::alone(member(&identity), address.clone(), OsRng.r#gen());
        let port = if founds || has_log(&folder)? {
            joining::forget_answer(&folder).context("the log's folder cannot be written")?;
            port
        } else if let Some(Member { raft_id, members }) = Member::kept(&folder) {
            config.member.raft_id = raft_id;
            directory.tell(&members);
            port
        } else {
            let managers = parts.issuers.managers();
            let own = identity.node_id();
            let joining = joining::become_member(&managers, own, &address, tls.clone());
            let (port, joined) = Box::pin(answering(port, credentials, joining)).await?;
            let joined = joined?;
            joined.keep(&folder).context("the log's folder cannot be written")?;
            let Member { raft_id, members } = joined;
            config.member.raft_id = raft_id;
            directory.tell(&members);
            port
        };
        if !founds {
            config.founders.clear();
        }
        config.force_new_cluster = parts.force_new_cluster.swap(false, Ordering::Relaxed);
        let config = parts.pace.clone().of(config);
        let (carrier, post) = Carrier::new(Way {
            directory: directory.clone(),
            book: parts.book.clone(),
            tls: credentials.member_config()?,
            address: address.clone(),
        });
        let (log, writer) = start_log(given, &folder, &identity).await?;
        let (gone, removed) = mpsc::channel(1);
        let wires = Wires { writer, carrier, standing: directory.standing().clone(), gone };
        let node_id = identity.node_id().to_string();
        let ((store, raft), core, loops) =
            start_core(given, config, wires, identity, parts.seat.clone()).await?;
        let mut background = JoinSet::new();
        background.spawn(post.run(raft.recipient()));
        let moving = Moving {
            node_id,
            address,
            directory: directory.clone(),
            issuers: parts.issuers.clone(),
            tls: tls.clone(),
            join: raft.recipient(),
        };
        background.spawn(moving.run());
        let doors = Doors { socket, port };
        let threads = vec![log, core, loops];
        Ok(Self { doors, store, raft, tls, directory, removed, threads, background })
    }

    /// Serves until `until`, or until raft has let this manager go, and stops.
    pub(super) async fn serve(
        self,
        parts: &Parts,
        until: impl Future<Output = End>,
    ) -> Result<End> {
        let Parts { given, credentials, issuers, sources, seat, .. } = parts;
        let own = parts.identity()?.subject().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped: service::End = stopped.map(drop).boxed().shared();
        let services = self.services(parts, own.node_id.clone(), stopped.clone());
        let [at_socket, at_port] = self.fronts(parts, &own, &stopped);
        issuers.begin(services.certificates.clone(), self.directory.clone());
        let Services { leadership, .. } = &services;
        let told = metrics::Manager::new(
            leadership.store.clone(),
            leadership.status.clone(),
            seat.clone(),
        );
        sources.manager.store(Some(Arc::new(told)));
        let Self {
            doors: Doors { socket, port },
            store,
            directory,
            mut removed,
            threads,
            mut background,
            ..
        } = self;
        let guests = Guests::default();
        let clock = given.environment.clock.clone();
        background.spawn(guests.clone().watch(store, directory.clone(), clock));
        background.spawn(remember(parts.book.clone(), directory.clone()));
        let (on_socket, on_port) = (services.on_socket(), services.on_port());
        let tls = credentials.control_config()?;
        let on_socket = service::serve_socket(socket, tls, at_socket, on_socket, stopped.clone());
        let tls = credentials.remote_config()?;
        let on_port = service::serve_port(port, tls, guests, at_port, on_port, stopped);
        let until = async {
            let end = tokio::select! {
                biased;
                end = until => end,
                Some(()) = removed.recv() => End::Removed,
            };
            drop(stop);
            end
        };
        let (end, on_socket, on_port) = tokio::join!(until, on_socket, on_port);
        drop(background);
        // This one is none of them any more.
        let mut others = managers(&directory);
        others.retain(|other| {
            other.peer.as_ref().is_none_or(|peer| own.node_id.as_str() != peer.node_id)
        });
        parts.book.learn(&others);
        issuers.end();
        sources.manager.store(None);
        if !stop_all(threads, STOP_WITHIN).await {
            match end {
                End::Asked | End::Failed(_) => {
                    tracing::error!("some parts did not stop; the process ends without them");
                }
                // They may still write where those of another life would.
                End::RoleChanged | End::Removed => bail!("some parts of the manager do not stop"),
            }
        }
        on_socket.context("the control socket cannot be served")?;
        on_port.context("the port for other nodes cannot be served")?;
        Ok(end)
    }

    /// What calls pass first, on the control socket and on the port for other nodes.
    fn fronts(&self, parts: &Parts, own: &Subject, end: &service::End) -> [Front; 2] {
        let lines = Lines::over(self.tls.clone());
        let proxy = Proxy::new(self.directory.clone(), lines, parts.pace.patience(), end.clone());
        [Door::Socket, Door::Network].map(|door| {
            let (store, clock) = (self.store.clone(), parts.given.environment.clock.clone());
            let view = Arc::new(move || store.view());
            Front::new(Access { door, own: own.clone(), view, clock }, Some(proxy.clone()))
        })
    }

    /// What this manager serves.
    fn services(&self, parts: &Parts, node_id: NodeId, end: service::End) -> Services {
        let (given, seat) = (&parts.given, parts.seat.clone());
        let (store, raft) = (&self.store, &self.raft);
        let clock = given.environment.clock.clone();
        let leadership = service::Leadership {
            store: store.clone(),
            reads: raft.recipient(),
            status: raft.recipient(),
        };
        Services {
            control: Control::new(leadership.clone(), clock.clone()),
            advisor: Advisor::new(leadership.clone(), clock),
            watch: Watch::new(store.clone(), raft.recipient(), end.clone()),
            certificates: Certificates::new(leadership.clone(), node_id.clone(), end.clone()),
            diagnostics: Diagnostics::new(given.census.clone()),
            raft: service::Raft::new(self.directory.clone(), raft.recipient()),
            membership: Membership::new(
                store.clone(),
                self.directory.clone(),
                self.tls.clone(),
                raft.recipient(),
                raft.recipient(),
            ),
            dispatcher: service::Dispatcher::new(seat, node_id, self.directory.clone(), end),
            leadership,
        }
    }
}

/// Writes down who the managers are whenever that has changed, as long as there is a leader: before
/// that the log may be older than what was written. The agent hears it of the leader, too, which may
/// be gone before it has said so.
async fn remember(book: Book, directory: Directory) {
    let mut known = Vec::new();
    loop {
        let now = managers(&directory);
        if directory.standing().group().leader.is_some() && now != known {
            known.clone_from(&now);
            let book = book.clone();
            // The file is synced.
            spawn_blocking(move || book.learn(&now)).await.ok();
        }
        sleep(REMEMBER_EVERY).await;
    }
}

/// All managers, as agents are told of them.
fn managers(directory: &Directory) -> Vec<WeightedPeer> {
    let group = directory.standing().group();
    let named = group.members.iter().filter_map(|member| {
        let addr = directory.address(member.raft_id)?;
        let peer = Some(Named { node_id: member.node_id.clone(), addr });
        Some(WeightedPeer { peer, weight: 10 })
    });
    named.collect()
}

/// Who this node is to raft, when its log is new.
fn member(identity: &Identity) -> log::Member {
    log::Member {
        raft_id: OsRng.gen_range(1..=u64::MAX),
        node_id: identity.node_id().to_string(),
        cluster_id: identity.cluster_id().to_string(),
    }
}

/// Whether there is a log. One whose beginning a crash has cut off is none: the member that it was
/// to be is unknown.
fn has_log(folder: &Path) -> Result<bool> {
    let names = FileDisk::new(folder).list().context("the log's folder cannot be read")?;
    Ok(!log::is_none(names))
}

/// Answers the leader, which calls back whoever wants to be a member, as long as something takes.
async fn answering<T>(
    port: RemoteListener,
    credentials: &Arc<Credentials>,
    asked: impl Future<Output = T>,
) -> Result<(RemoteListener, T)> {
    let (port, again) = port.share().context("the port for other nodes cannot be shared")?;
    let (stop, stopped) = oneshot::channel::<()>();
    let tls = credentials.remote_config()?;
    let serving = service::serve_joining(port, tls, stopped.map(drop).boxed().shared());
    let done = async {
        let done = asked.await;
        drop(stop);
        done
    };
    let (served, done) = tokio::join!(serving, done);
    served.context("the port for other nodes cannot be served")?;
    Ok((again, done))
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

/// What raft is linked to beside the store and what follows leadership.
struct Wires {
    writer: Address<log::Writer>,
    carrier: Arc<Carrier>,
    standing: Standing,
    /// Hears that raft has let this manager go.
    gone: mpsc::Sender<()>,
}

/// Starts raft and the store on one thread, and what follows leadership on another. Each has to
/// know the other before it begins.
async fn start_core(
    given: &Given,
    config: raft::Config,
    wires: Wires,
    identity: Identity,
    seat: Seat,
) -> Result<((Store, Address<Peer>), ActorThread, ActorThread)> {
    let bound = roles::Raft::default();
    let parts = LeaderParts {
        node_id: identity.node_id().clone(),
        environment: given.environment.clone(),
        seat,
        signer: Arc::new(RootSigner),
        raft: bound.clone(),
    };
    let (give_store, store) = oneshot::channel::<Store>();
    let (give_leadership, leadership) = oneshot::channel::<Address<Leadership>>();
    let (environment, census) = (given.environment.clone(), given.census.clone());
    let (core_lost, on_fatal) = (on_lost(given), on_fatal(given, wires.gone.clone()));
    let core = ActorThread::start("core", async move || {
        let tree = Tree::root("manager", tree::CORE, census, core_lost);
        let core = Core::start(&tree, &environment, config, async |store, memory, published| {
            give_store.send(store.clone()).ok();
            let leadership = leadership.await.expect("the loops are being started");
            let Wires { writer, carrier, standing, .. } = wires;
            Links {
                log: writer,
                store: memory,
                published,
                standing,
                transport: carrier,
                leadership: leadership.recipient(),
                ended: leadership.recipient(),
            }
        });
        let Core { store, raft, .. } = core.await;
        bound.bind(raft.recipient(), raft.recipient());
        (tree, (store, raft))
    });
    let (census, loops_lost) = (given.census.clone(), on_lost(given));
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
    let ((core, linked), loops) =
        tokio::try_join!(core, loops).context("a manager's threads cannot be started")?;
    Ok((linked, core, loops))
}

/// Raft may let a manager go, which goes on without being one; whatever else ends it ends the
/// process.
fn on_fatal(given: &Given, gone: mpsc::Sender<()>) -> OnFatal {
    let last_words = given.last_words.clone();
    Arc::new(move |fatal| match fatal {
        Fatal::Raft(raft::Error::Removed(_)) => drop(gone.try_send(())),
        Fatal::Raft(_) | Fatal::Cluster(_) | Fatal::TooLarge { .. } => {
            drop(last_words.try_send(fatal.into()));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_manager_knows_the_others_without_a_word_of_the_leader() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let book = Book::open(folder.path(), []).expect("a book");
        let directory = Directory::default();
        let member = |raft_id: u64| raft::Founder {
            raft_id,
            node_id: format!("m{raft_id}"),
            address: format!("m{raft_id}:4242"),
        };
        let used = async {
            // What was before this one has found a leader says nothing.
            for (leader, members, expected) in
                [(None, 2, 0), (Some(1), 1, 1), (Some(2), 3, 3), (None, 2, 3), (Some(2), 2, 2)]
            {
                directory.standing().pretend(1, leader, (1..=members).map(member).collect());
                sleep(2 * REMEMBER_EVERY).await;
                let known: Vec<_> = (1..=expected).map(|one| member(one).address).collect();
                assert_eq!(book.addresses(), known, "{leader:?} {members}");
            }
        };
        tokio::select! {
            biased;
            () = used => {}
            () = remember(book.clone(), directory.clone()) => panic!("it goes on"),
        }
    }

    #[tokio::test]
    async fn a_log_that_was_never_begun_is_none() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(!has_log(folder.path()).expect("it can be read"));
        // What a crash leaves that comes before the segment has its name.
        let disk = FileDisk::new(folder.path());
        disk.create("0000000000000001.log.new", 4096).expect("created");
        assert!(!has_log(folder.path()).expect("it can be read"), "it has to join");
        disk.rename("0000000000000001.log.new", "0000000000000001.log").expect("renamed");
        assert!(has_log(folder.path()).expect("it can be read"));
        disk.rename("0000000000000001.log", "wal").expect("renamed");
        assert!(has_log(folder.path()).expect("it can be read"), "a log of another kind");
    }
}
