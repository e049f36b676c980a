//! The services as clients meet them: over a real socket, with a store that commits at once.

mod access;
mod advisor;
mod calls;
mod certificates;
mod diagnostics;
mod dispatcher;
mod failures;
mod health;
mod limits;
mod members;
mod port;
mod proxy;
mod watch;

use std::{cell::Cell, path::PathBuf, rc::Rc, sync::Arc, time::Duration};

use actix::{Actor, Context, Handler, MessageResult};
use actors::{
    ca::logic::{Subject, access::Door},
    dispatcher::Seat,
    environment::testing::environment,
    raft::{
        self, ChangeError, Founder, GetCommitted, GetStatus, Join, Joined, LogPage, NotLeading,
        ReadIndex, Receive, Removal, Remove, Removed,
    },
    store::{self, Store, View},
    supervised,
    supervision::{Budget, Census, Tree},
};
use futures_util::FutureExt;
use hyper_util::rt::TokioIo;
use protocol::wire::{NodeRole, control_client::ControlClient};
use tokio::{
    net::UnixStream,
    sync::oneshot,
    task::{JoinHandle, LocalSet},
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Error},
};
use tower::service_fn;

use super::{
    Access, Advisor, Certificates, Control, Diagnostics, Dispatcher, End, Front, Leadership,
    Membership, Services, Watch, serve_socket,
};
use crate::{identity::Credentials, remote::Directory, socket::ControlSocket};

/// A raft with one member, which leads or does not.
struct Raft {
    leads: Rc<Cell<bool>>,
}

impl Actor for Raft {
    type Context = Context<Self>;
}

supervised!(Raft, mailbox = 16);

impl Handler<ReadIndex> for Raft {
    type Result = Result<u64, NotLeading>;

    fn handle(&mut self, _: ReadIndex, _: &mut Context<Self>) -> Self::Result {
        if self.leads.get() { Ok(0) } else { Err(NotLeading) }
    }
}

impl Handler<GetStatus> for Raft {
    type Result = Option<raft::Status>;

    fn handle(&mut self, _: GetStatus, _: &mut Context<Self>) -> Self::Result {
        Some(raft::Status {
            raft_id: 7,
            term: 1,
            leader: self.leads.get().then_some(7),
            committed: 0,
            applied: 0,
            last: 0,
            learners: Vec::new(),
            members_since: 1,
            removed: Vec::new(),
            voters: vec![7],
            members: vec![member(7, "n1"), member(8, "learner")],
            reachable: Vec::new(),
        })
    }
}

impl Handler<GetCommitted> for Raft {
    type Result = MessageResult<GetCommitted>;

    fn handle(&mut self, _: GetCommitted, _: &mut Context<Self>) -> Self::Result {
        MessageResult(LogPage { begins: 1, entries: Vec::new() })
    }
}

impl Handler<Receive> for Raft {
    type Result = Result<(), Removed>;

    fn handle(&mut self, _: Receive, _: &mut Context<Self>) -> Self::Result {
        Ok(())
    }
}

impl Handler<Join> for Raft {
    type Result = Result<Joined, ChangeError>;

    fn handle(&mut self, _: Join, _: &mut Context<Self>) -> Self::Result {
        Err(ChangeError::NotLeading)
    }
}

impl Handler<Remove> for Raft {
    type Result = Result<Removal, ChangeError>;

    fn handle(&mut self, _: Remove, _: &mut Context<Self>) -> Self::Result {
        Err(ChangeError::UnknownMember)
    }
}

/// What calls pass on their way into this node.
fn front(store: &Store, door: Door) -> Front {
    let store = store.clone();
    let access = Access {
        door,
        own: subject("n1", NodeRole::Manager),
        view: Arc::new(move || store.view()),
        clock: environment().clock,
    };
    Front::new(access, None)
}

/// Whom a certificate of this cluster names.
fn subject(node_id: &str, role: NodeRole) -> Subject {
    Subject { node_id: node_id.into(), role, cluster_id: "c".into() }
}

fn member(raft_id: u64, node_id: &str) -> Founder {
    Founder { raft_id, node_id: node_id.to_owned(), address: "10.0.0.1:4242".to_owned() }
}

/// A daemon's control socket with a client on it.
struct World {
    folder: tempfile::TempDir,
    leads: Rc<Cell<bool>>,
    store: Store,
    leadership: Leadership,
    services: Services,
    channel: Channel,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<Result<(), Error>>,
}

impl World {
    async fn new(tree: &Tree, census: Census, store: Store) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        store::testing::until_leading(&store).await;
        let leads = Rc::new(Cell::new(true));
        let raft = tree.child("raft-status", {
            let leads = leads.clone();
            move |_| Raft { leads: leads.clone() }
        });
        let leadership =
            Leadership { store: store.clone(), reads: raft.recipient(), status: raft.recipient() };
        let (stop, stopped) = oneshot::channel::<()>();
        let end: End = stopped.map(drop).boxed().shared();
        let directory = Directory::default();
        let credentials = credentials();
        let tls = credentials.client_config().expect("a configuration");
        let services = Services {
            control: Control::new(leadership.clone(), environment().clock),
            advisor: Advisor::new(leadership.clone(), environment().clock),
            certificates: Certificates::new(leadership.clone(), "n1".into(), end.clone()),
            watch: Watch::new(store.clone(), raft.recipient(), end.clone()),
            diagnostics: Diagnostics::new(census),
            raft: super::Raft::new(directory.clone(), raft.recipient()),
            membership: Membership::new(
                store.clone(),
                directory.clone(),
                tls,
                raft.recipient(),
                raft.recipient(),
            ),
            dispatcher: Dispatcher::new(
                Seat::default(),
                "n1".into(),
                directory.clone(),
                end.clone(),
            ),
            leadership: leadership.clone(),
        };
        let path = folder.path().join("s");
        let socket = ControlSocket::bind(&path).await.expect("the path is free");
        let tls = credentials.control_config().expect("a configuration");
        let front = front(&store, Door::Socket);
        let serving = serve_socket(socket, tls, front, services.on_socket(), end);
        #[expect(clippy::disallowed_methods, reason = "a test has no supervision tree")]
        let server = tokio::spawn(serving);
        let channel = dial(path).await;
        let stop = Some(stop);
        Self { folder, leads, store, leadership, services, channel, stop, server }
    }

    fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel.clone())
    }

    /// Asks the server to stop, and waits until it has.
    async fn stop(&mut self) {
        drop(self.stop.take());
        (&mut self.server).await.expect("it does not panic").expect("it serves");
    }
}

/// Runs a test beside a store that starts with this view.
fn run(view: &View, test: impl AsyncFnOnce(&mut World)) {
    run_on(|tree| store::testing::start(tree, view.clone()), test);
}

fn run_on(start: impl FnOnce(&Tree) -> Store, test: impl AsyncFnOnce(&mut World)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let budget = Budget { restarts: 5, within: Duration::from_secs(60) };
        let census = Census::default();
        let tree = Tree::root("manager", budget, census.clone(), |_| {});
        let store = start(&tree);
        let mut world = World::new(&tree, census, store).await;
        // The store leads once its actors have run.
        world.store.transact(|_| Ok::<_, store::Error>(())).await.ok();
        test(&mut world).await;
        tree.stop().await;
    });
}

fn credentials() -> Arc<Credentials> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["swarm-manager".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let chain = [certificate.der().clone()];
    Credentials::new(&chain, &key.into(), &chain).expect("credentials")
}

async fn dial(path: PathBuf) -> Channel {
    let connector = service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://socket").connect_with_connector(connector).await.expect("open")
}

#[track_caller]
fn check<T>(outcome: Result<T, Status>, code: Code, text: &str) {
    let status = outcome.err().expect("it is refused");
    assert_eq!((status.code(), status.message()), (code, text));
}
