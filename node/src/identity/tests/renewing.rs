//! How this node renews its own certificate.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed},
};

use actors::{
    ca::logic::Window,
    environment::{Clock, Entropy, Environment},
    supervision::{Budget, Census, Tree},
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use protocol::wire::RootCa;
use tokio::{sync::watch, task::LocalSet, time::sleep};

use super::{
    super::{Credentials, Issuer, RenewalPorts, Renewer},
    issuing::{root_of, sign, subject},
    *,
};

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
