//! Other managers at the port of this one: over TLS, each with a certificate of its own, and with a raft
//! that answers what a test says.

mod changes;
mod messages;

use std::{future::pending, sync::Arc, time::Duration};

use actix::{Actor, Context, Handler};
use actors::{
    ca::logic::{Subject, access::Door},
    environment::Clock,
    raft::{ChangeError, Join, Joined, Receive, Removal, Remove, Removed, Report},
    store::{Transaction, View},
    supervised,
    supervision::{Budget, Census, Recipient, Tree},
};
use futures_util::FutureExt;
use prost_types::Timestamp;
use protocol::{
    objects,
    raftpb::Message,
    wire::{self, NodeRole},
};
use rcgen::KeyPair;
use tokio::{sync::mpsc, time::timeout};
use tonic::transport::Channel;

use super::{check, member, subject};
use crate::{
    clock::SystemClock,
    identity::{Authority, Credentials, certificates},
    remote::{Directory, Guests, Name, RemoteListener, dial},
    service::{self, Access, Front, Membership, Services, serve_port},
};

/// What raft answers.
#[derive(Clone)]
struct Answers {
    receives: Result<(), Removed>,
    joins: Result<Joined, ChangeError>,
    removes: Result<Removal, ChangeError>,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            receives: Ok(()),
            joins: Err(ChangeError::NotLeading),
            removes: Err(ChangeError::UnknownMember),
        }
    }
}

/// What raft has heard.
#[derive(Debug, PartialEq)]
enum Heard {
    Message(Box<Message>),
    Join { node_id: String, address: String, learns: bool },
    Remove(u64),
    Report(Report),
}

/// Stands in for raft, here and at whoever calls.
struct Peer {
    answers: Answers,
    hear: mpsc::UnboundedSender<Heard>,
}

impl Actor for Peer {
    type Context = Context<Self>;
}

supervised!(Peer, mailbox = 16);

impl Handler<Receive> for Peer {
    type Result = Result<(), Removed>;

    fn handle(&mut self, Receive(message): Receive, _: &mut Context<Self>) -> Self::Result {
        self.hear.send(Heard::Message(message.into())).ok();
        self.answers.receives
    }
}

impl Handler<Join> for Peer {
    type Result = Result<Joined, ChangeError>;

    fn handle(&mut self, join: Join, _: &mut Context<Self>) -> Self::Result {
        let Join { node_id, address, learns } = join;
        self.hear.send(Heard::Join { node_id, address, learns }).ok();
        self.answers.joins.clone()
    }
}

impl Handler<Remove> for Peer {
    type Result = Result<Removal, ChangeError>;

    fn handle(&mut self, Remove { raft_id }: Remove, _: &mut Context<Self>) -> Self::Result {
        self.hear.send(Heard::Remove(raft_id)).ok();
        self.answers.removes
    }
}

impl Handler<Report> for Peer {
    type Result = ();

    fn handle(&mut self, report: Report, _: &mut Context<Self>) {
        self.hear.send(Heard::Report(report)).ok();
    }
}

/// The port of manager `n1`, which is member 1; `n2` is member 2.
struct World {
    root: Authority,
    address: String,
    directory: Directory,
    /// Hears what becomes of what another manager says.
    reports: Recipient<Report>,
    heard: mpsc::UnboundedReceiver<Heard>,
}

/// Runs a test at the port of a manager.
fn run(answers: &Answers, test: impl AsyncFnOnce(&mut World)) {
    run_as(Services::on_port, answers, test);
}

/// Runs a test at a port that serves what it wants of this manager's services.
fn run_as(
    routes: impl FnOnce(&Services) -> tonic::service::Routes,
    answers: &Answers,
    test: impl AsyncFnOnce(&mut World),
) {
    super::run(&view(), async |manager| {
        let (hear, heard) = mpsc::unbounded_channel();
        let budget = Budget { restarts: 0, within: Duration::from_secs(60) };
        let tree = Tree::root("members", budget, Census::default(), |lost| panic!("{lost}"));
        let answers = answers.clone();
        let peer =
            tree.child("peer", move |_| Peer { answers: answers.clone(), hear: hear.clone() });
        let key = KeyPair::generate().expect("a key");
        let root = Authority::establish(key, &SystemClock.now()).expect("a root");
        let port = RemoteListener::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let directory = Directory::default();
        directory.standing().pretend(1, Some(1), vec![member(1, "n1"), member(2, "n2")]);
        let reports = peer.recipient();
        let address = port.address().to_string();
        let mut world = World { root, address, directory, reports, heard };
        let own = world.node("n1");
        let (store, directory) = (manager.store.clone(), world.directory.clone());
        let membership = Membership::new(
            store.clone(),
            directory.clone(),
            own.client_config().expect("a configuration"),
            peer.recipient(),
            peer.recipient(),
        );
        let raft = service::Raft::new(directory, peer.recipient());
        let services = Services { raft, membership, ..manager.services.clone() };
        let access = Access {
            door: Door::Network,
            own: subject("n1", NodeRole::Manager),
            view: Arc::new(move || store.view()),
            clock: Arc::new(SystemClock),
        };
        let serving = serve_port(
            port,
            own.remote_config().expect("a configuration"),
            Guests::default(),
            Front::new(access, None),
            routes(&services),
            pending().boxed().shared(),
        );
        tokio::select! {
            biased;
            tested = timeout(Duration::from_secs(60), test(&mut world)) => {
                tested.expect("it does not wait for ever");
            }
            _ = serving => panic!("it serves"),
        }
        tree.stop().await;
    });
}

/// A cluster with nodes that are managers and are to be, or to be none any more, and one that is gone.
fn view() -> View {
    let annotations = wire::Annotations { name: "default".to_owned(), ..Default::default() };
    let gone = [("gone".to_owned(), wire::BlacklistedCertificate::default())];
    let cluster = wire::Cluster {
        id: "c".to_owned(),
        spec: Some(wire::ClusterSpec { annotations: Some(annotations), ..Default::default() }),
        blacklisted_certificates: gone.into(),
        ..Default::default()
    };
    let mut head = Transaction::begin(&View::default());
    head.create(objects::Cluster::from(cluster)).expect("created");
    for (id, desired) in [
        ("n1", NodeRole::Manager),
        ("n2", NodeRole::Manager),
        ("newcomer", NodeRole::Manager),
        ("demoted", NodeRole::Worker),
    ] {
        let spec = wire::NodeSpec { desired_role: desired.into(), ..Default::default() };
        let role = NodeRole::Manager.into();
        let node = wire::Node { id: id.to_owned(), spec: Some(spec), role, ..Default::default() };
        head.create(objects::Node::from(node)).expect("created");
    }
    head.seal(1, Timestamp::default()).view
}

impl World {
    /// A manager, by its certificate.
    fn node(&self, node_id: &str) -> Arc<Credentials> {
        self.named(&subject(node_id, NodeRole::Manager))
    }

    /// Whoever a certificate names.
    fn named(&self, subject: &Subject) -> Arc<Credentials> {
        let key = KeyPair::generate().expect("a key");
        let expiry = Duration::from_secs(60 * 60);
        let issued = self.root.issue(&key, subject, expiry, &SystemClock.now()).expect("issued");
        let chain = certificates(issued.as_bytes()).expect("a certificate");
        let roots = certificates(self.root.certificate_pem.as_bytes()).expect("a root");
        Credentials::new(&chain, &key.into(), &roots).expect("credentials")
    }

    /// A connection to the port.
    async fn called_by(&self, caller: &Arc<Credentials>) -> Channel {
        let tls = caller.client_config().expect("a configuration");
        dial(&self.address, Name::Manager, tls).await.expect("it listens").channel
    }

    /// Returns the next so many things that raft has heard.
    async fn hears(&mut self, count: usize) -> Vec<Heard> {
        let mut all = Vec::new();
        while all.len() < count {
            all.push(self.heard.recv().await.expect("raft lives"));
        }
        all
    }

    #[track_caller]
    fn hears_nothing(&mut self) {
        assert_eq!(self.heard.try_recv().ok(), None);
    }
}
