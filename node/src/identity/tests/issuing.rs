//! What is signed for whom, and how this node renews its own certificate.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed},
};

use actors::{
    ca::{
        Signer,
        logic::Window,
        port::{Error as SignError, Request},
    },
    environment::{Clock, Entropy, Environment},
    supervision::{Budget, Census, Tree},
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use protocol::wire::RootCa;
use rcgen::{PKCS_ED25519, PublicKeyData};
use tokio::{sync::watch, task::LocalSet, time::sleep};

use super::{
    super::{
        Credentials, Issuer, RenewalPorts, Renewer, RootSigner,
        key_file::plain_pem,
        request::{Unsound, requested_key, signing_request},
    },
    *,
};

const DAY: i64 = 24 * HOUR;

fn root_of(identity: &Identity) -> RootCa {
    RootCa {
        ca_cert: identity.root_pem.clone().into(),
        ca_key: identity.root_key_pem.clone().expect("it founds").into(),
        ..Default::default()
    }
}

fn subject(node_id: &str, role: NodeRole) -> Subject {
    Subject { node_id: node_id.into(), role, cluster_id: "cluster1".into() }
}

fn sign(root: &RootCa, csr: &[u8], subject: &Subject, now: Timestamp) -> Result<Bytes, SignError> {
    let expiry = Duration::from_secs(90 * 24 * 3600);
    RootSigner.sign(&Request { root, csr, subject, expiry, now })
}

#[test]
fn keys_are_taken_that_the_table_names() {
    let own = generate_key().expect("a key");
    let own = signing_request(&own).expect("a request");
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let ed25519 = signing_request(&ed25519).expect("a request");
    let rows: [(&str, &[u8], Option<Unsound>); 9] = [
        ("P-256", own.as_bytes(), None),
        ("P-384, with a subject and names", include_bytes!("p384.csr"), None),
        ("RSA 2048", include_bytes!("rsa2048.csr"), None),
        ("RSA 1024", include_bytes!("rsa1024.csr"), Some(Unsound::Kind)),
        ("SHA-1", include_bytes!("sha1.csr"), Some(Unsound::Kind)),
        ("P-521, which ring does not have", include_bytes!("p521.csr"), Some(Unsound::Kind)),
        ("Ed25519", ed25519.as_bytes(), Some(Unsound::Kind)),
        ("no PEM", b"request", Some(Unsound::Malformed)),
        ("nothing", b"", Some(Unsound::Malformed)),
    ];
    for (what, csr, expected) in rows {
        assert_eq!(requested_key(csr).err(), expected, "{what}");
    }
    let block = pem::parse(&own).expect("PEM");
    let other_tag = plain_pem("CERTIFICATE", block.contents());
    assert_eq!(requested_key(other_tag.as_bytes()).err(), Some(Unsound::Malformed));
    let mut trailing = block.contents().to_vec();
    trailing.push(0);
    let trailing = plain_pem("CERTIFICATE REQUEST", &trailing);
    assert_eq!(requested_key(trailing.as_bytes()).err(), Some(Unsound::Malformed));
}

proptest! {
    #[test]
    fn no_request_panics(bytes: Vec<u8>, at: prop::sample::Index, with: u8) {
        let requests: [&[u8]; 2] = [include_bytes!("p384.csr"), include_bytes!("rsa2048.csr")];
        for request in requests {
            let key = requested_key(request).expect("sound").subject_public_key_info();
            let mut text = request.to_vec();
            text[at.index(request.len())] = with;
            let mut der = pem::parse(request).expect("PEM").into_contents();
            let at = at.index(der.len());
            der[at] = with;
            let changed = plain_pem("CERTIFICATE REQUEST", &der);
            let cut = plain_pem("CERTIFICATE REQUEST", &der[..at]);
            for damaged in [&text[..], changed.as_bytes(), cut.as_bytes()] {
                // Nobody is signed for who has not shown the private key.
                if let Ok(other) = requested_key(damaged) {
                    prop_assert_eq!(other.subject_public_key_info(), key.clone());
                }
            }
        }
        let wrapped = plain_pem("CERTIFICATE REQUEST", &bytes);
        prop_assert!(requested_key(&bytes).is_err());
        prop_assert!(requested_key(wrapped.as_bytes()).is_err());
    }
}

#[test]
fn a_request_that_somebody_else_has_signed_is_refused() {
    let own = signing_request(&generate_key().expect("a key")).expect("a request");
    let mut der = pem::parse(own).expect("PEM").into_contents();
    // The signature is the last thing in it.
    *der.last_mut().expect("it is not empty") ^= 1;
    let forged = plain_pem("CERTIFICATE REQUEST", &der);
    assert_eq!(requested_key(forged.as_bytes()).err(), Some(Unsound::Signature));
}

#[test]
fn a_certificate_names_whom_the_cluster_says_whatever_was_asked_for() {
    let world = World::new();
    let root = root_of(&world.open().expect("opened"));
    let csr = include_bytes!("p384.csr");
    let subject = subject("node7", NodeRole::Worker);
    let pem = sign(&root, csr, &subject, NOW).expect("signed");
    let chain = Chain::parse(&pem).expect("a certificate");
    assert_eq!(chain.subject, subject);
    assert_eq!(chain.public_key, requested_key(csr).expect("sound").subject_public_key_info());
    chain.verify(&root.ca_cert, &NOW).expect("the root vouches for it");
    let leaf = X509Certificate::from_der(&chain.certificates[0]).expect("DER").1;
    let names = leaf.subject_alternative_name().expect("valid").expect("there");
    let names: Vec<_> = names.value.general_names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["DNSName(swarm-worker)", "DNSName(node7)"], "not what the request says");
}

#[test]
fn who_cannot_sign_says_whose_fault_it_is() {
    let world = World::new();
    let root = root_of(&world.open().expect("opened"));
    let csr = signing_request(&generate_key().expect("a key")).expect("a request");
    let node = subject("n", NodeRole::Worker);
    let keyless = RootCa { ca_key: Bytes::new(), ..root.clone() };
    let broken = RootCa { ca_key: "key".into(), ..root.clone() };
    for root in [&keyless, &broken] {
        let signed = sign(root, csr.as_bytes(), &node, NOW);
        assert!(matches!(signed, Err(SignError::Unready(_))), "{signed:?}");
    }
    let signed = sign(&root, b"request", &node, NOW);
    assert!(matches!(signed, Err(SignError::Refused(_))), "{signed:?}");
}

/// A clock that the test sets.
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp { seconds: self.0.load(Relaxed), nanos: 0 }
    }
}

/// An authority that the test tells what to do.
struct Desk {
    root: RootCa,
    clock: Arc<Hands>,
    node: ArcSwap<Subject>,
    is_closed: AtomicBool,
    asked: AtomicUsize,
}

impl Issuer for Desk {
    fn issue(&self, csr: String) -> BoxFuture<'static, Result<Bytes, String>> {
        let now = self.clock.now();
        self.asked.fetch_add(1, Relaxed);
        let signed = sign(&self.root, csr.as_bytes(), &self.node.load(), now);
        let answer = if self.is_closed.load(Relaxed) {
            Err("closed".to_owned())
        } else {
            Ok(signed.expect("signed"))
        };
        Box::pin(async { answer })
    }
}

/// Lets a renewer run over an identity that was made at [`NOW`].
fn renews(test: impl AsyncFnOnce(&World, &Desk, &Credentials)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let world = World::new();
        let identity = world.open().expect("opened");
        let clock = Arc::new(Hands(AtomicI64::new(NOW.seconds)));
        let desk = Arc::new(Desk {
            root: root_of(&identity),
            clock: clock.clone(),
            node: ArcSwap::from_pointee(identity.chain.subject.clone()),
            is_closed: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
        });
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
        tree.child("renewer", Renewer::factory(ports));
        test(&world, &desk, &credentials).await;
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
    renews(async |world, desk, credentials| {
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
    renews(async |world, desk, _| {
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
    renews(async |world, desk, _| {
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
