//! The actor with a store that commits at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use protocol::{
    objects::{Cluster, Node},
    wire::{self, Certificate, IssuanceStatus, NodeRole, issuance_status::State, node_spec},
};
use tokio::{task::LocalSet, time::sleep};

use super::calls::view;
use crate::{
    ca::{
        Server, Signer,
        port::{Error, Request, testing::signer},
    },
    environment::testing::environment,
    store::{Store, Transaction, testing},
    supervision::{Budget, Census, Tree},
};

/// Signs as the one for tests does, unless it is told that it cannot.
#[derive(Default)]
struct Hand {
    is_gone: AtomicBool,
    asked: AtomicUsize,
    /// How long the last certificate was to be valid.
    expiry_seconds: AtomicU64,
}

impl Signer for Hand {
    fn sign(&self, request: &Request<'_>) -> Result<Bytes, Error> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.expiry_seconds.store(request.expiry.as_secs(), Ordering::Relaxed);
        if self.is_gone.load(Ordering::Relaxed) {
            return Err(Error::Unready("no key".to_owned()));
        }
        signer().sign(request)
    }
}

fn run(commits_after: Duration, test: impl AsyncFnOnce(&Store, &Hand)) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let budget = Budget { restarts: 0, within: Duration::from_secs(60) };
        let tree = Tree::root("test", budget, Census::default(), |lost| panic!("{lost}"));
        let store = testing::start_slow(&tree, view(), commits_after);
        let (hand, for_server) = (Arc::new(Hand::default()), store.clone());
        let signs = hand.clone();
        tree.child_with_address("ca", move |life, own| {
            Server::new(for_server.clone(), environment(), signs.clone(), life, own)
        });
        sleep(Duration::from_millis(10)).await;
        test(&store, &hand).await;
        tree.stop().await;
    });
}

async fn write(store: &Store, write: impl FnOnce(&mut Transaction) + Send + 'static) {
    let written = store.transact(|head| {
        write(head);
        Ok::<_, ()>(())
    });
    written.await.expect("written");
}

/// Lets a node ask for a certificate.
async fn ask(store: &Store, id: &str, csr: &'static str, state: State) {
    let id = id.to_owned();
    write(store, move |head| {
        let node = head.node(&id.as_str().into()).expect("there").as_ref().clone();
        let status = IssuanceStatus { state: state.into(), ..Default::default() };
        let certificate = Certificate {
            role: node.role,
            csr: csr.into(),
            status: Some(status),
            cn: id,
            ..Default::default()
        };
        head.update(Node { certificate: certificate.into(), ..node }).expect("updated");
    })
    .await;
}

fn certificate(store: &Store, id: &str) -> (State, String, String) {
    let view = store.view();
    let certificate = &view.node(&id.into()).expect("there").certificate;
    let status = certificate.status.clone().unwrap_or_default();
    let text = String::from_utf8_lossy(&certificate.certificate).into_owned();
    (status.state(), text, status.err)
}

#[test]
fn what_nodes_ask_for_is_signed_in_their_names() {
    run(Duration::ZERO, async |store, _| {
        ask(store, "w", "one", State::Renew).await;
        ask(store, "m", "two", State::Pending).await;
        sleep(Duration::from_secs(1)).await;
        let issued = |text: &str| (State::Issued, text.to_owned(), String::new());
        assert_eq!(certificate(store, "w"), issued("w Worker one"));
        assert_eq!(certificate(store, "m"), issued("m Manager two"));
    });
}

#[test]
fn whoever_is_not_let_in_waits() {
    run(Duration::ZERO, async |store, hand| {
        let membership = |membership: node_spec::Membership| {
            move |head: &mut Transaction| {
                let node = head.node(&"w".into()).expect("there").as_ref().clone();
                let membership = membership.into();
                let spec = wire::NodeSpec { membership, ..Default::default() };
                head.update(Node { spec: spec.into(), ..node }).expect("updated");
            }
        };
        write(store, membership(node_spec::Membership::Pending)).await;
        ask(store, "w", "one", State::Pending).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(certificate(store, "w").0, State::Pending);
        assert_eq!(hand.asked.load(Ordering::Relaxed), 0);
        write(store, membership(node_spec::Membership::Accepted)).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(certificate(store, "w").0, State::Issued);
    });
}

#[test]
fn what_can_never_be_signed_is_told_why() {
    run(Duration::ZERO, async |store, hand| {
        ask(store, "w", "bad", State::Renew).await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(certificate(store, "w"), (State::Failed, String::new(), "no good".to_owned()));
        assert_eq!(hand.asked.load(Ordering::Relaxed), 1, "once");
    });
}

#[test]
fn an_authority_that_cannot_sign_tries_again_and_does_not_ask_for_each() {
    run(Duration::ZERO, async |store, hand| {
        hand.is_gone.store(true, Ordering::Relaxed);
        ask(store, "w", "one", State::Renew).await;
        ask(store, "m", "two", State::Renew).await;
        sleep(Duration::from_secs(95)).await;
        let asked = hand.asked.load(Ordering::Relaxed);
        assert!((9..=11).contains(&asked), "once in ten seconds: {asked}");
        assert_eq!(certificate(store, "w").0, State::Renew, "it is not lost");
        hand.is_gone.store(false, Ordering::Relaxed);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(certificate(store, "w").0, State::Issued);
        assert_eq!(certificate(store, "m").0, State::Issued);
    });
}

#[test]
fn the_newest_request_is_answered() {
    run(Duration::from_millis(500), async |store, _| {
        // The second is on the head, and not yet committed, when the first is signed.
        tokio::join!(ask(store, "w", "one", State::Renew), async {
            sleep(Duration::from_millis(300)).await;
            ask(store, "w", "two", State::Renew).await;
        });
        sleep(Duration::from_secs(5)).await;
        let issued = (State::Issued, "w Worker two".to_owned(), String::new());
        assert_eq!(certificate(store, "w"), issued);
    });
}

/// As the role manager does it: the request stays what it was.
async fn becomes(store: &Store, role: NodeRole) {
    write(store, move |head| {
        let node = head.node(&"w".into()).expect("there").as_ref().clone();
        head.update(Node { role: role.into(), ..node }).expect("updated");
    })
    .await;
}

#[test]
fn no_certificate_says_what_a_node_was() {
    for (was, is, text) in [
        (NodeRole::Worker, NodeRole::Manager, "w Manager one"),
        (NodeRole::Manager, NodeRole::Worker, "w Worker one"),
    ] {
        // Changed before it is signed for, and between the signature and its transaction.
        for changed_after in [0, 300] {
            run(Duration::from_millis(500), async |store, hand| {
                becomes(store, was).await;
                hand.is_gone.store(changed_after == 0, Ordering::Relaxed);
                tokio::join!(ask(store, "w", "one", State::Renew), async {
                    sleep(Duration::from_millis(changed_after)).await;
                    becomes(store, is).await;
                });
                hand.is_gone.store(false, Ordering::Relaxed);
                sleep(Duration::from_secs(15)).await;
                let issued = (State::Issued, text.to_owned(), String::new());
                assert_eq!(certificate(store, "w"), issued, "{was:?} {changed_after}");
                let view = store.view();
                let written = view.node(&"w".into()).expect("there").certificate.role();
                assert_eq!(written, is, "{changed_after}");
            });
        }
    }
}

#[test]
fn a_changed_validity_counts_from_the_next_signature() {
    run(Duration::ZERO, async |store, hand| {
        let day = 24 * 3600;
        let default = 90 * day;
        for (stored, expected) in [
            (None, default),
            (Some(2 * day), 2 * day),
            (Some(30 * 60), 30 * 60),
            (Some(30 * 60 - 1), default),
            (Some(3 * day), 3 * day),
        ] {
            let seconds = stored.map(u64::cast_signed);
            write(store, move |head| {
                let cluster = head.default_cluster().expect("there").as_ref().clone();
                let node_cert_expiry =
                    seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
                let ca_config = Some(wire::CaConfig { node_cert_expiry, ..Default::default() });
                let spec = wire::ClusterSpec { ca_config, ..(*cluster.spec).clone() };
                head.update(Cluster { spec: spec.into(), ..cluster }).expect("updated");
            })
            .await;
            // At once, by the same authority: SwarmKit's would keep what it began with.
            ask(store, "w", "one", State::Renew).await;
            sleep(Duration::from_secs(1)).await;
            assert_eq!(certificate(store, "w").0, State::Issued);
            assert_eq!(hand.expiry_seconds.load(Ordering::Relaxed), expected, "{stored:?}");
        }
    });
}

#[test]
fn a_thousand_that_join_at_once_are_all_signed_for() {
    run(Duration::ZERO, async |store, hand| {
        write(store, |head| {
            for number in 0..1_000 {
                let status = IssuanceStatus { state: State::Pending.into(), ..Default::default() };
                let certificate = Certificate {
                    role: NodeRole::Worker.into(),
                    csr: "csr".into(),
                    status: Some(status),
                    ..Default::default()
                };
                let spec = wire::NodeSpec {
                    membership: node_spec::Membership::Accepted.into(),
                    ..Default::default()
                };
                let node = wire::Node {
                    id: format!("n{number:04}"),
                    spec: Some(spec),
                    certificate: Some(certificate),
                    ..Default::default()
                };
                head.create(Node::from(node)).expect("created");
            }
        })
        .await;
        sleep(Duration::from_secs(5)).await;
        let view = store.view();
        let states = view.nodes().filter(|node| node.id.as_str().starts_with('n'));
        let all_issued = states
            .map(|node| node.certificate.status.as_ref().map(IssuanceStatus::state))
            .all(|state| state == Some(State::Issued));
        assert!(all_issued);
        assert_eq!(hand.asked.load(Ordering::Relaxed), 1_000, "once each");
    });
}
