//! What a new cluster holds: written by its first leader, once (`store-and-raft` §12).

use std::time::Duration;

use bytes::Bytes;
use protocol::{
    id::{ClusterId, NetworkId, NodeId},
    objects::{Cluster, Kind, Network, Node},
    token::{JoinToken, RootDigest},
    wire::{
        self, Annotations, CaConfig, Certificate, ClusterSpec, DispatcherConfig, Driver,
        IpamOptions, IssuanceStatus, JoinTokens, NetworkSpec, NodeRole, NodeSpec,
        OrchestrationConfig, RaftConfig, RootCa, issuance_status, node_spec,
    },
};

use rand::RngCore;

use crate::{
    ca::logic::NODE_EXPIRY_DEFAULT,
    store::{self, Transaction},
};

/// The name of the one cluster object.
pub const CLUSTER_NAME: &str = "default";

/// The network that published ports arrive on.
const INGRESS_NAME: &str = "ingress";

/// Networks that every node has for itself, by the name of their driver, which is theirs too.
const PREDEFINED: [&str; 2] = ["bridge", "host"];

/// Marks the networks that nobody made and nobody can remove.
const PREDEFINED_LABEL: &str = "com.docker.swarm.predefined";

const TASK_HISTORY_LIMIT: i64 = 5;
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(5);

/// Raft as SwarmKit configures it. Its ticks are seconds, ours are shorter; the counts are the
/// same, so that an object made here means the same there.
const RAFT: RaftConfig = RaftConfig {
    snapshot_interval: 10_000,
    keep_old_snapshots: 0,
    log_entries_for_slow_followers: 500,
    heartbeat_tick: 1,
    election_tick: 10,
};

/// The secrets and names of a cluster that is about to begin.
#[derive(Clone, Debug)]
pub struct Founding {
    /// The organization of every certificate of the cluster.
    pub cluster_id: ClusterId,
    /// The root certificate, in the bytes that digests are taken over.
    pub root_pem: Bytes,
    /// Its private key, as PEM. From now on the cluster object is where it is kept.
    pub root_key_pem: Bytes,
    /// The digest of `root_pem`.
    pub root_digest: RootDigest,
    /// Lets workers join.
    pub worker_token: JoinToken,
    /// Lets managers join.
    pub manager_token: JoinToken,
    /// The id that the ingress network gets.
    pub ingress_id: NetworkId,
}

/// Why a leader cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store is empty, and this node is not founding a cluster.
    #[error(
        "the log holds no cluster, though this node belongs to one: was its raft folder removed?"
    )]
    NoCluster,
    /// The store does not take an object.
    #[error("the first objects of the cluster cannot be written")]
    Store(#[from] store::Error),
}

/// Writes what is missing of the objects that every leader relies on: the cluster with its
/// ingress network, the predefined networks, and this manager's own node object. Doing it again
/// changes nothing.
///
/// `founding` is `None` once the node has forgotten the root's private key, which it does only
/// after the cluster object was durable.
pub fn seed(
    transaction: &mut Transaction,
    node_id: &NodeId,
    founding: Option<&Founding>,
    random: &mut impl RngCore,
) -> Result<(), Error> {
    if transaction.default_cluster().is_none() {
        let founding = founding.ok_or(Error::NoCluster)?;
        transaction.create(Cluster::from(cluster(founding)))?;
        transaction.create(Network::from(ingress(founding)))?;
    }
    for name in PREDEFINED {
        if transaction.named(Kind::Network, name).is_none() {
            let id = NetworkId::random(random);
            transaction.create(Network::from(predefined(&id, name)))?;
        }
    }
    let removed = transaction.default_cluster().map(|found| &found.rest.blacklisted_certificates);
    let is_removed = removed.is_some_and(|ids| ids.contains_key(node_id.as_str()));
    // A manager that was removed may lead until raft has let it go.
    if transaction.node(node_id).is_none() && !is_removed {
        transaction.create(Node::from(first_manager(node_id)))?;
    }
    Ok(())
}

fn cluster(founding: &Founding) -> wire::Cluster {
    wire::Cluster {
        id: founding.cluster_id.to_string(),
        spec: Some(ClusterSpec {
            annotations: Some(named(CLUSTER_NAME)),
            orchestration: Some(OrchestrationConfig {
                task_history_retention_limit: TASK_HISTORY_LIMIT,
            }),
            raft: Some(RAFT),
            dispatcher: Some(DispatcherConfig { heartbeat_period: Some(proto(HEARTBEAT_PERIOD)) }),
            ca_config: Some(CaConfig {
                node_cert_expiry: Some(proto(NODE_EXPIRY_DEFAULT)),
                ..Default::default()
            }),
            ..Default::default()
        }),
        root_ca: Some(RootCa {
            ca_key: founding.root_key_pem.clone(),
            ca_cert: founding.root_pem.clone(),
            ca_cert_hash: founding.root_digest.labelled(),
            join_tokens: Some(JoinTokens {
                worker: founding.worker_token.to_string(),
                manager: founding.manager_token.to_string(),
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn ingress(founding: &Founding) -> wire::Network {
    wire::Network {
        id: founding.ingress_id.to_string(),
        spec: Some(NetworkSpec {
            annotations: Some(named(INGRESS_NAME)),
            driver_config: Some(Driver::default()),
            ipam: Some(IpamOptions { driver: Some(Driver::default()), ..Default::default() }),
            ingress: true,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn predefined(id: &NetworkId, name: &str) -> wire::Network {
    let labels = [(PREDEFINED_LABEL.to_owned(), "true".to_owned())].into();
    wire::Network {
        id: id.to_string(),
        spec: Some(NetworkSpec {
            annotations: Some(Annotations { labels, ..named(name) }),
            driver_config: Some(Driver { name: name.to_owned(), ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The node object of a manager that nobody admitted: it was the first.
fn first_manager(node_id: &NodeId) -> wire::Node {
    wire::Node {
        id: node_id.to_string(),
        spec: Some(NodeSpec {
            desired_role: NodeRole::Manager.into(),
            membership: node_spec::Membership::Accepted.into(),
            availability: node_spec::Availability::Active.into(),
            ..Default::default()
        }),
        certificate: Some(Certificate {
            role: NodeRole::Manager.into(),
            status: Some(IssuanceStatus {
                state: issuance_status::State::Issued.into(),
                ..Default::default()
            }),
            cn: node_id.to_string(),
            ..Default::default()
        }),
        role: NodeRole::Manager.into(),
        ..Default::default()
    }
}

fn named(name: &str) -> Annotations {
    Annotations { name: name.to_owned(), ..Default::default() }
}

fn proto(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).expect("a constant of this file");
    prost_types::Duration { seconds, nanos: 0 }
}

/// A cluster to found in tests.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    use rand::{SeedableRng, rngs::StdRng};

    use super::{Bytes, Founding, JoinToken, RootDigest};

    /// The same secrets every time.
    pub fn founding() -> Founding {
        let digest = RootDigest([7; 32]);
        let mut random = StdRng::seed_from_u64(1);
        Founding {
            cluster_id: "cluster1".into(),
            root_pem: Bytes::from_static(b"certificate"),
            root_key_pem: Bytes::from_static(b"key"),
            root_digest: digest,
            worker_token: JoinToken::generate(digest, &mut random),
            manager_token: JoinToken::generate(digest, &mut random),
            ingress_id: "network1".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use rand::{SeedableRng, rngs::StdRng};

    use super::{testing::founding, *};
    use crate::store::View;

    fn random() -> StdRng {
        StdRng::seed_from_u64(2)
    }

    /// The store after one more leader has begun.
    fn seeded(view: &View, node: &str, founding: Option<&Founding>) -> View {
        let mut transaction = Transaction::begin(view);
        seed(&mut transaction, &node.into(), founding, &mut random()).expect("seeded");
        transaction.seal(view.index() + 1, Timestamp::default()).view
    }

    #[test]
    fn a_removed_node_does_not_come_back() {
        let founding = founding();
        let view = seeded(&View::default(), "node1", Some(&founding));
        let mut transaction = Transaction::begin(&view);
        let cluster = view.default_cluster().expect("founded").as_ref().clone();
        let mut rest = (*cluster.rest).clone();
        rest.blacklisted_certificates.insert("gone".to_owned(), Default::default());
        transaction.update(Cluster { rest: rest.into(), ..cluster }).expect("updated");
        let view = transaction.seal(view.index() + 1, Timestamp::default()).view;
        for (node, is_there) in [("gone", false), ("node2", true)] {
            let view = seeded(&view, node, None);
            assert_eq!(view.node(&node.into()).is_some(), is_there, "{node}");
        }
    }

    #[test]
    fn the_cluster_has_every_default() {
        let founding = founding();
        let view = seeded(&View::default(), "node1", Some(&founding));
        let cluster = view.default_cluster().expect("it is named default");
        assert_eq!(cluster.id, founding.cluster_id);
        let hours = |hours: i64| Some(prost_types::Duration { seconds: hours * 3600, nanos: 0 });
        let spec = &cluster.spec;
        assert_eq!(spec.orchestration.map(|found| found.task_history_retention_limit), Some(5));
        let seconds = Some(prost_types::Duration { seconds: 5, nanos: 0 });
        assert_eq!(spec.dispatcher.and_then(|found| found.heartbeat_period), seconds);
        assert_eq!(spec.raft, Some(RAFT));
        let expiry = spec.ca_config.as_ref().and_then(|found| found.node_cert_expiry);
        assert_eq!(expiry, hours(2160));
        let root = &cluster.root_ca;
        assert_eq!((&*root.ca_cert, &*root.ca_key), (&b"certificate"[..], &b"key"[..]));
        assert_eq!(root.ca_cert_hash, format!("sha256:{}", "07".repeat(32)));
        let tokens = root.join_tokens.as_ref().expect("two tokens");
        assert_eq!(tokens.worker.parse(), Ok(founding.worker_token));
        assert_eq!(tokens.manager.parse(), Ok(founding.manager_token));
        assert_ne!(tokens.worker, tokens.manager);
        assert!(cluster.rest.unlock_keys.is_empty(), "managers are not locked");
    }

    #[test]
    fn the_first_node_is_an_accepted_manager() {
        let view = seeded(&View::default(), "node1", Some(&founding()));
        let node = view.node(&"node1".into()).expect("its own object");
        assert_eq!(node.role, i32::from(NodeRole::Manager));
        assert_eq!(node.spec.desired_role(), NodeRole::Manager);
        assert_eq!(node.spec.membership(), node_spec::Membership::Accepted);
        assert_eq!(node.spec.availability(), node_spec::Availability::Active);
        let certificate = &node.certificate;
        assert_eq!((certificate.role(), &*certificate.cn), (NodeRole::Manager, "node1"));
        let state = certificate.status.as_ref().map(IssuanceStatus::state);
        assert_eq!(state, Some(issuance_status::State::Issued));
    }

    #[test]
    fn published_ports_have_a_network() {
        let view = seeded(&View::default(), "node1", Some(&founding()));
        let network = view.network(&"network1".into()).expect("the ingress network");
        assert_eq!(network.name(), "ingress");
        assert!(network.body.spec.as_ref().is_some_and(|spec| spec.ingress));
    }

    #[test]
    fn the_predefined_networks_are_there_under_their_names() {
        let view = seeded(&View::default(), "node1", Some(&founding()));
        for name in ["bridge", "host"] {
            let id = view.named(Kind::Network, name).expect("it is there").clone();
            let network = view.network(&id.into()).expect("it is there");
            let spec = network.body.spec.as_ref().expect("a spec");
            let labels = &spec.annotations.as_ref().expect("it has a name").labels;
            assert_eq!(labels.get("com.docker.swarm.predefined").map(String::as_str), Some("true"));
            assert_eq!(spec.driver_config.as_ref().map(|driver| &*driver.name), Some(name));
        }
        assert_eq!(view.networks().count(), 3);
    }

    #[test]
    fn a_name_that_is_taken_is_not_taken_again() {
        let mut transaction = Transaction::begin(&View::default());
        let spec = NetworkSpec { annotations: Some(named("Bridge")), ..Default::default() };
        let body = wire::Network { id: "b".to_owned(), spec: Some(spec), ..Default::default() };
        transaction.create(Network::from(body)).expect("created");
        let view = transaction.seal(1, Timestamp::default()).view;
        let after = seeded(&view, "node1", Some(&founding()));
        assert_eq!(after.named(Kind::Network, "bridge").map(|id| id.as_str()), Some("b"));
    }

    #[test]
    fn doing_it_again_changes_nothing() {
        let view = seeded(&View::default(), "node1", Some(&founding()));
        for again in [Some(founding()), None] {
            let mut transaction = Transaction::begin(&view);
            seed(&mut transaction, &"node1".into(), again.as_ref(), &mut random())
                .expect("nothing to do");
            assert!(transaction.is_empty());
        }
    }

    #[test]
    fn what_an_operator_changed_or_removed_stays_so() {
        let view = seeded(&View::default(), "node1", Some(&founding()));
        let mut transaction = Transaction::begin(&view);
        let network = view.network(&"network1".into()).expect("the ingress network").id.clone();
        transaction.remove(Kind::Network, network.as_id()).expect("removed");
        let mut changed = (**view.default_cluster().expect("there")).clone();
        changed.spec = ClusterSpec { orchestration: None, ..(*changed.spec).clone() }.into();
        transaction.update(changed).expect("updated");
        let view = transaction.seal(2, Timestamp::default()).view;
        let after = seeded(&view, "node1", Some(&founding()));
        assert_eq!(after.network(&network), None);
        assert_eq!(after.default_cluster(), view.default_cluster());
    }

    #[test]
    fn a_later_leader_only_adds_itself() {
        let view = seeded(&View::default(), "node1", Some(&founding()));
        let after = seeded(&view, "node2", None);
        assert_eq!((after.nodes().count(), after.clusters().count()), (2, 1));
    }

    #[test]
    fn an_empty_log_does_not_become_another_cluster() {
        let mut transaction = Transaction::begin(&View::default());
        let outcome = seed(&mut transaction, &"node1".into(), None, &mut random());
        assert!(matches!(outcome, Err(Error::NoCluster)), "{outcome:?}");
        assert!(transaction.is_empty());
    }
}
