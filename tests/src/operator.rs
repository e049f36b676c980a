//! An operator: creates services, scales and updates them, and removes some.

use std::{sync::Arc, time::Duration};

use actors::store::{self, Store, Transaction};
use protocol::{
    id::{NodeId, ServiceId},
    objects::{self, Kind, Node, Service},
    wire::{self, Annotations, ReplicatedService, service_spec::Mode},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};

use crate::{
    cluster::Cluster,
    identity::EXPIRY,
    member::{ENTRIES_KEPT, SNAPSHOT_INTERVAL},
    oracle::{Oracle, Told},
    worker::WORKER,
    workload::ask,
};

/// How many services there are at most, and how many tasks each has.
const SERVICES_MAX: usize = 4;
const REPLICAS_MAX: u64 = 5;

/// How long a replacement waits after a failure.
const RESTART_DELAY: prost_types::Duration = prost_types::Duration { seconds: 2, nanos: 0 };

/// Works until `end`.
pub async fn operate(cluster: Cluster, oracle: Oracle, seed: u64, end: Instant) {
    let mut random = StdRng::seed_from_u64(seed ^ 0x0b5e);
    let (mut services, mut created, mut revision) = (Vec::<String>::new(), 0, 0);
    let mut is_admitted = false;
    while Instant::now() < end {
        sleep(Duration::from_millis(random.gen_range(200..2_000))).await;
        let Some((store, _)) = cluster.leader() else { continue };
        // The first leader has not begun yet.
        if store.view().default_cluster().is_none() {
            continue;
        }
        if !is_admitted {
            is_admitted = admit(&cluster, &oracle, &store).await;
            continue;
        }
        let drawn = random.gen_range(0..10);
        let replicas = random.gen_range(0..=REPLICAS_MAX);
        revision += 1;
        if services.is_empty() || drawn < 3 && services.len() < SERVICES_MAX {
            created += 1;
            let name = format!("s{created}");
            create(&cluster, &oracle, &store, &name, replicas).await;
            services.extend((oracle.of(&name) == Some(Told::Acknowledged)).then_some(name));
        } else if drawn == 9 {
            let name = services.swap_remove(random.gen_range(0..services.len()));
            remove(&cluster, &oracle, &store, &name).await;
        } else {
            let name = &services[random.gen_range(0..services.len())];
            change(&cluster, &oracle, &store, name, replicas, (drawn < 6).then_some(revision))
                .await;
        }
    }
}

/// Lets the nodes of the worker and of the other agents take part, and snapshots be written as often as without loops.
async fn admit(cluster: &Cluster, oracle: &Oracle, store: &Store) -> bool {
    let (has_identities, agents) = (cluster.has_identities(), cluster.fleet().ids());
    let outcome = store.transact(move |head: &mut Transaction| {
        if head.node(&WORKER.into()).is_some() {
            return Ok(());
        }
        let cluster = head.default_cluster().cloned().ok_or(store::Error::NotExist)?;
        let mut spec = (*cluster.spec).clone();
        let raft = spec.raft.get_or_insert_default();
        raft.snapshot_interval = SNAPSHOT_INTERVAL;
        raft.log_entries_for_slow_followers = ENTRIES_KEPT;
        if has_identities {
            let expiry = prost_types::Duration::try_from(EXPIRY).expect("minutes");
            spec.ca_config.get_or_insert_default().node_cert_expiry = Some(expiry);
        }
        head.update(objects::Cluster { spec: Arc::new(spec), ..(*cluster).clone() })?;
        head.create(worker_node(WORKER.into()))?;
        agents.into_iter().try_for_each(|agent| head.create(worker_node(agent)))
    });
    ask(cluster, oracle, "admit worker", outcome).await == Told::Acknowledged
}

/// The node of an agent that was let in.
pub fn worker_node(id: NodeId) -> Node {
    Node::from(wire::Node {
        id: id.to_string(),
        spec: Some(wire::NodeSpec {
            membership: wire::node_spec::Membership::Accepted.into(),
            ..Default::default()
        }),
        ..Default::default()
    })
}

async fn create(cluster: &Cluster, oracle: &Oracle, store: &Store, name: &str, replicas: u64) {
    oracle.sent(name);
    let service = wire::Service {
        id: name.to_owned(),
        spec: Some(spec(name, replicas, 0)),
        ..Default::default()
    };
    let outcome = store.transact(move |head| head.create(Service::from(service)));
    let told = ask(cluster, oracle, &format!("create {name} with {replicas}"), outcome).await;
    oracle.told(name, told);
}

/// Scales a service; with a revision, its tasks become others, too.
async fn change(
    cluster: &Cluster,
    oracle: &Oracle,
    store: &Store,
    name: &str,
    replicas: u64,
    revision: Option<u64>,
) {
    let (id, written) = (ServiceId::from(name), name.to_owned());
    let outcome = store.transact(move |head| {
        let service = head.service(&id).cloned().ok_or(store::Error::NotExist)?;
        let revision = revision.unwrap_or_else(|| revision_of(&service));
        let spec = Arc::new(spec(&written, replicas, revision));
        // What the control service does: other tasks are asked for by another version.
        let spec_version = Some(service.meta.version);
        head.update(Service { spec, spec_version, ..(*service).clone() })
    });
    let what = format!("change {name} to {replicas} of revision {revision:?}");
    if ask(cluster, oracle, &what, outcome).await == Told::Acknowledged {
        cluster.counts.count(match revision {
            Some(_) => "seen: service updated",
            None => "seen: service scaled",
        });
    }
}

async fn remove(cluster: &Cluster, oracle: &Oracle, store: &Store, name: &str) {
    oracle.leaves(name);
    let id = ServiceId::from(name);
    let outcome = store.transact(move |head| head.remove(Kind::Service, id.as_id()));
    if ask(cluster, oracle, &format!("remove {name}"), outcome).await == Told::Acknowledged {
        cluster.counts.count("seen: service removed");
        oracle.left(name);
    }
}

/// A service of tasks that run until they are told to stop.
pub fn spec(name: &str, replicas: u64, revision: u64) -> wire::ServiceSpec {
    let container = wire::ContainerSpec {
        image: "host".to_owned(),
        env: vec![format!("REVISION={revision}")],
        ..Default::default()
    };
    let restart = wire::RestartPolicy {
        condition: wire::restart_policy::RestartCondition::Any.into(),
        delay: Some(RESTART_DELAY),
        ..Default::default()
    };
    wire::ServiceSpec {
        annotations: Some(Annotations { name: name.to_owned(), ..Default::default() }),
        task: Some(wire::TaskSpec {
            runtime: Some(wire::task_spec::Runtime::Container(container)),
            restart: Some(restart),
            ..Default::default()
        }),
        mode: Some(Mode::Replicated(ReplicatedService { replicas })),
        ..Default::default()
    }
}

fn revision_of(service: &Service) -> u64 {
    let runtime = service.spec.task.as_ref().and_then(|task| task.runtime.as_ref());
    let Some(wire::task_spec::Runtime::Container(container)) = runtime else { return 0 };
    let revision = container.env.first().and_then(|variable| variable.strip_prefix("REVISION="));
    revision.and_then(|revision| revision.parse().ok()).unwrap_or_default()
}
