//! How this node renews its own certificate.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed},
};

use actors::{
    ca::logic::Window,
    environment::{Clock, Entropy, Environment},
    supervision::{Address, Budget, Census, Tree},
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use protocol::wire::RootCa;
use tokio::{sync::watch, task::LocalSet, time::sleep};

use super::{
    super::{
        Credentials, Issuer, Named, RenewalPorts, Renewer, Trust, key_file::plain_pem,
        renewal::renewed,
    },
    credentials::talks,
    issuing::{root_of, sign, subject},
    *,
};
use crate::clock::SystemClock;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa};
use rustls::ServerConfig;

const DAY: i64 = 24 * HOUR;

/// A clock that the test sets.
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp { seconds: self.0.load(Relaxed), nanos: 0 }
    }
}

/// An authority that the test tells what to do.
struct Desk {
    root: ArcSwap<RootCa>,
    clock: Arc<Hands>,
    node: ArcSwap<Subject>,
    is_closed: AtomicBool,
    asked: AtomicUsize,
}

impl Issuer for Desk {
    fn issue(&self, csr: String) -> BoxFuture<'static, Result<Bytes, String>> {
        let now = self.clock.now();
        self.asked.fetch_add(1, Relaxed);
        let signed = sign(&self.root.load(), csr.as_bytes(), &self.node.load(), now);
        let answer = if self.is_closed.load(Relaxed) {
            Err("closed".to_owned())
        } else {
            Ok(signed.expect("signed"))
        };
        Box::pin(async { answer })
    }
}

/// A node with a renewer.
struct Node {
    world: World,
    desk: Arc<Desk>,
    credentials: Arc<Credentials>,
    renewer: Address<Renewer>,
    ports: RenewalPorts,
}

/// Lets a renewer run over an identity that was made at [`NOW`].
fn renews(test: impl AsyncFnOnce(&Node)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let world = World::new();
        let mut identity = world.open().expect("opened");
        let clock = Arc::new(Hands(AtomicI64::new(NOW.seconds)));
        let desk = Arc::new(Desk {
            root: ArcSwap::from_pointee(root_of(&identity)),
            clock: clock.clone(),
            node: ArcSwap::from_pointee(identity.chain.subject.clone()),
            is_closed: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
        });
        identity.forget_root_key().expect("the cluster has it");
        let credentials = identity.credentials().expect("it can be shown");
        let census = Census::default();
        let budget = Budget { restarts: 0, within: Duration::from_secs(60) };
        let tree = Tree::root("test", budget, census, |lost| panic!("{lost}"));
        let ports = RenewalPorts {
            folder: world.folder.path().to_owned(),
            credentials: credentials.clone(),
            role: watch::channel(NodeRole::Manager).0,
            issuer: desk.clone(),
            environment: Environment { clock, entropy: Entropy::new(3) },
        };
        // A minute of a certificate's life is nothing to wait for: time is paused between looks.
        tokio::time::pause();
        let renewer = tree.child("renewer", Renewer::factory(ports.clone()));
        test(&Node { world, desk, credentials, renewer, ports }).await;
        tree.stop().await;
    });
}

impl Desk {
    fn set_days(&self, days: i64) {
        self.clock.0.store(NOW.seconds + days * DAY, Relaxed);
    }

    /// What the next daemon finds.
    fn open(&self, world: &World) -> Identity {
        let opened = Identity::open(world.folder.path(), &self.clock.now());
        opened.expect("the key belongs to the certificate")
    }

    fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }
}

fn window(world: &World) -> Window {
    Chain::parse(&world.read("swarm-node.crt")).expect("a certificate").window
}

/// Waits in real time: files are written by a thread that knows of no pause.
async fn until(what: &str, is_true: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if is_true() {
            return;
        }
        sleep(Duration::from_secs(60)).await;
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{what} did not come true");
}

#[test]
fn a_certificate_is_renewed_in_the_second_half_of_its_life() {
    renews(async |Node { world, desk, credentials, .. }| {
        let before = (world.read("swarm-node.key"), window(world));
        let first = credentials.certified.load_full();
        for days in [0, 20, 44] {
            desk.set_days(days);
            sleep(Duration::from_secs(300)).await;
            assert_eq!(desk.asked(), 0, "not before half of ninety days: {days}");
        }
        desk.set_days(73);
        until("a new certificate", || window(world) != before.1).await;
        assert_eq!(desk.asked(), 1, "four fifths are over");
        let identity = desk.open(world);
        assert_ne!(world.read("swarm-node.key"), before.0, "a new key");
        assert_eq!(identity.chain.window.not_before_seconds % 60, 0);
        identity.data_key().expect("the log's key is still there");
        until("the new one is shown", || credentials.certified.load().cert != first.cert).await;
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(desk.asked(), 1, "the new one is good for long");
    });
}

#[test]
fn what_fails_is_tried_again_and_leaves_everything_as_it_was() {
    renews(async |Node { world, desk, .. }| {
        let before = (world.read("swarm-node.crt"), world.read("swarm-node.key"));
        desk.is_closed.store(true, Relaxed);
        desk.set_days(85);
        until("a third try", || desk.asked() >= 3).await;
        // What is issued for another node is none of ours.
        let own = desk.node.load_full();
        desk.node.store(Arc::new(subject("other", NodeRole::Manager)));
        desk.is_closed.store(false, Relaxed);
        let tries = desk.asked();
        until("two more", || desk.asked() >= tries + 2).await;
        assert_eq!((world.read("swarm-node.crt"), world.read("swarm-node.key")), before);
        desk.node.store(own);
        until("a new certificate", || world.read("swarm-node.crt") != before.0).await;
        desk.open(world);
    });
}

/// A node without a valid certificate can do nothing, however long there was nobody to renew it.
#[test]
fn a_certificate_that_has_ended_is_tried_again_every_minute() {
    renews(async |Node { world, desk, .. }| {
        let before = world.read("swarm-node.crt");
        desk.is_closed.store(true, Relaxed);
        desk.set_days(85);
        until("pauses of an hour", || desk.asked() >= 15).await;
        // Seen while the next pause goes on, which may last for most of an hour.
        desk.set_days(91);
        let tries = desk.asked();
        sleep(Duration::from_secs(3600)).await;
        assert!(desk.asked() >= tries + 60, "{tries}, {}", desk.asked());
        desk.is_closed.store(false, Relaxed);
        until("a new certificate", || world.read("swarm-node.crt") != before).await;
    });
}

impl Node {
    /// What a session says of this node.
    async fn named(&self, role: NodeRole, rotates: bool) {
        self.renewer.send(Named { role, rotates }).await.expect("it lives");
    }

    /// What a session says of the roots. Returns what is on the disk when that is settled.
    async fn told(&self, root_pem: &[u8]) -> Vec<u8> {
        let root_pem = Bytes::copy_from_slice(root_pem);
        self.renewer.send(Trust { root_pem }).await.expect("it lives");
        // It hears of nothing else meanwhile.
        self.named(NodeRole::Manager, false).await;
        self.world.read("swarm-root-ca.crt")
    }

    /// Whether a new connection to a manager is made.
    async fn takes(&self, manager: &Arc<ServerConfig>) -> bool {
        talks(self.credentials.client_config().expect("a configuration"), manager.clone()).await
    }

    /// Why the authority's certificate is not taken.
    async fn failure(&self, ports: &RenewalPorts) -> String {
        renewed(ports.clone()).await.expect_err("it is not taken").to_string()
    }

    fn key_file(&self) -> KeyFile {
        KeyFile::parse(&self.world.read("swarm-node.key")).expect("a key file")
    }
}

fn root_ca(root: &Authority) -> RootCa {
    let (ca_cert, ca_key) = (root.certificate_pem.clone().into(), root.key_pem().into());
    RootCa { ca_cert, ca_key, ..RootCa::default() }
}

/// How a manager listens whose certificate a root has issued.
fn manager_of(root: &Authority) -> Arc<ServerConfig> {
    let key = generate_key().expect("a key");
    let subject = subject("manager", NodeRole::Manager);
    let expiry = Duration::from_secs(HOUR.unsigned_abs());
    let issued = root.issue(&key, &subject, expiry, &SystemClock.now()).expect("issued");
    let chain = certificates(issued.as_bytes()).expect("a certificate");
    let roots = certificates(root.certificate_pem.as_bytes()).expect("a root");
    let credentials = Credentials::new(&chain, &key.into(), &roots).expect("credentials");
    credentials.remote_config().expect("a configuration")
}

/// A root with another name than all of ours.
fn strange_root() -> RootCa {
    let key = generate_key().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "another");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).expect("a root");
    let ca_cert = plain_pem("CERTIFICATE", root.der()).into();
    RootCa { ca_cert, ca_key: key.serialize_pem().into(), ..RootCa::default() }
}

#[test]
fn a_node_that_is_to_rotate_renews_once() {
    renews(async |node @ Node { world, desk, .. }| {
        let before = world.read("swarm-node.crt");
        node.named(NodeRole::Manager, false).await;
        sleep(Duration::from_secs(600)).await;
        assert_eq!(desk.asked(), 0, "it is to stay what it is");
        for _ in 0..2 {
            node.named(NodeRole::Manager, true).await;
        }
        until("a new certificate", || world.read("swarm-node.crt") != before).await;
        node.named(NodeRole::Manager, false).await;
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(desk.asked(), 1, "both have said the same");
    });
}

#[test]
fn roots_that_stand_behind_its_own_certificate_are_trusted() {
    renews(async |node @ Node { world, desk, .. }| {
        let next = authority();
        let manager = manager_of(&next);
        assert!(!node.takes(&manager).await, "nobody has told of its root");
        let bundle = [world.read("swarm-root-ca.crt"), next.certificate_pem.into()].concat();
        assert_eq!(node.told(&bundle).await, bundle);
        assert!(node.takes(&manager).await, "from the next connection on");
        assert_eq!(desk.open(world).root_pem.as_bytes(), bundle, "and after a restart");
    });
}

#[test]
fn roots_that_do_not_stand_behind_its_own_certificate_are_refused() {
    renews(async |node @ Node { world, .. }| {
        let (own, strange) = (world.read("swarm-root-ca.crt"), authority());
        let manager = manager_of(&strange);
        let damaged = [&own[..], b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"];
        for bundle in [strange.certificate_pem.as_bytes(), b"", b"roots", &damaged.concat()] {
            assert_eq!(node.told(bundle).await, own, "{}", String::from_utf8_lossy(bundle));
            assert!(!node.takes(&manager).await);
        }
    });
}

/// A manager names them only once.
#[test]
fn roots_that_could_not_be_written_are_trusted_once_they_can() {
    renews(async |node @ Node { world, .. }| {
        let next = authority();
        let own = world.read("swarm-root-ca.crt");
        let bundle = [own.clone(), next.certificate_pem.as_bytes().to_vec()].concat();
        // Where the new file would be written first.
        let in_the_way = world.folder.path().join(".new-swarm-root-ca.crt");
        fs::create_dir(&in_the_way).expect("made");
        assert_eq!(node.told(&bundle).await, own);
        sleep(Duration::from_secs(300)).await;
        fs::remove_dir(&in_the_way).expect("removed");
        until("the roots", || world.read("swarm-root-ca.crt") == bundle).await;
        assert!(node.takes(&manager_of(&next)).await);
    });
}

#[test]
fn a_rotation_of_the_root_is_followed_to_its_end() {
    renews(async |node @ Node { world, desk, .. }| {
        let next = authority();
        let before = (world.read("swarm-node.crt"), world.read("swarm-node.key"));
        desk.root.store(Arc::new(root_ca(&next)));
        node.named(NodeRole::Manager, true).await;
        until("a try", || desk.asked() >= 1).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!((world.read("swarm-node.crt"), world.read("swarm-node.key")), before);
        let next = next.certificate_pem.into_bytes();
        let bundle = [world.read("swarm-root-ca.crt"), next.clone()].concat();
        node.told(&bundle).await;
        until("a new certificate", || world.read("swarm-node.crt") != before.0).await;
        assert_eq!(node.told(&next).await, next, "the old root is not needed any more");
        desk.open(world);
    });
}

#[test]
fn what_is_not_taken_of_an_authority_says_why() {
    renews(async |node @ Node { desk, ports, .. }| {
        let own = desk.root.load_full();
        for root in [root_ca(&authority()), strange_root()] {
            desk.root.store(Arc::new(root));
            let expected = "the authority has another root than this node trusts: the node learns \
                            it from a manager's session, or has to join again";
            assert_eq!(node.failure(ports).await, expected);
        }
        desk.root.store(own);
        // Its own certificate is good by this clock, and the new one is not yet.
        let clock = Arc::new(Hands(AtomicI64::new(NOW.seconds)));
        let behind = Environment { clock, ..ports.environment.clone() };
        let behind = RenewalPorts { environment: behind, ..ports.clone() };
        desk.set_days(30);
        assert_eq!(node.failure(&behind).await, "what the authority issued is not valid here");
        desk.node.store(Arc::new(subject("other", NodeRole::Manager)));
        let expected =
            "what the authority issued is not a certificate of this node for its new key";
        assert_eq!(node.failure(ports).await, expected);
    });
}

#[test]
fn a_demoted_node_keeps_nothing_of_its_log() {
    renews(async |node @ Node { world, desk, ports, .. }| {
        let mut key_file = node.key_file();
        let first = key_file.data_key.clone();
        for name in ["raft-dek-pending", "raft-dek-needs-rotation", "made-up"] {
            key_file.other.insert(name.to_owned(), "noted".to_owned());
        }
        world.write("swarm-node.key", key_file.encode());
        let manager = desk.node.load_full();
        desk.node.store(Arc::new(Subject { role: NodeRole::Worker, ..(*manager).clone() }));
        node.named(NodeRole::Worker, false).await;
        until("a worker", || *ports.role.borrow() == NodeRole::Worker).await;
        let demoted = node.key_file();
        assert_eq!(demoted.data_key, None);
        assert_eq!(demoted.other.keys().collect::<Vec<_>>(), ["made-up"], "that is not the log's");
        desk.node.store(manager);
        node.named(NodeRole::Manager, false).await;
        until("a manager again", || *ports.role.borrow() == NodeRole::Manager).await;
        let promoted = node.key_file().data_key;
        assert!(promoted.is_some() && promoted != first, "its log is another one");
    });
}
