//! Clients: they create services, count, read, and note what they are told.

use std::{sync::Arc, time::Duration};

use actors::{
    raft::ReadIndex,
    store::{self, Store, TransactError, Transaction},
};
use protocol::{
    objects::Service,
    wire::{self, Annotations, ReplicatedService, service_spec::Mode},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    checkers::reads,
    cluster::Cluster,
    oracle::{Oracle, Told},
};

/// The service whose replicas are the counter.
pub const COUNTER: &str = "counter";

/// How long a client waits; afterwards it does not know.
const PATIENCE: Duration = Duration::from_secs(5);

/// One client, until `end`.
pub async fn client(cluster: Cluster, oracle: Oracle, number: u64, seed: u64, end: Instant) {
    let mut random = StdRng::seed_from_u64(seed ^ (number << 32));
    let mut count = 0;
    while Instant::now() < end {
        sleep(Duration::from_millis(random.gen_range(20..400))).await;
        count += 1;
        // Mostly the leader; now and then whoever, who has to refuse.
        let store = match cluster.leader() {
            Some((store, _)) if random.gen_bool(0.9) => Some(store),
            Some(_) | None => cluster.any_store(&mut random),
        };
        let Some(store) = store else { continue };
        match random.gen_range(0..10) {
            0..=5 => create(&cluster, &oracle, &store, format!("c{number}-{count}")).await,
            6..=7 => increment(&cluster, &oracle, &store).await,
            _ => read(&cluster, &oracle).await,
        }
    }
}

/// Creates a service of this name, and notes what came of it.
pub async fn create(cluster: &Cluster, oracle: &Oracle, store: &Store, name: String) {
    oracle.sent(&name);
    let written = name.clone();
    let outcome = store.transact(move |head| head.create(service(&written, 0)));
    let told = told(cluster, timeout(PATIENCE, outcome).await.ok());
    cluster.trace.note(format_args!("{name}: {told:?}"));
    oracle.told(&name, told);
}

async fn increment(cluster: &Cluster, oracle: &Oracle, store: &Store) {
    let outcome = timeout(PATIENCE, store.transact(add_one)).await.ok();
    let told = told(cluster, outcome);
    cluster.trace.note(format_args!("increment: {told:?}"));
    oracle.incremented(told);
}

fn add_one(head: &mut Transaction) -> Result<(), store::Error> {
    let Some(counter) = head.service(&COUNTER.into()).cloned() else {
        return head.create(service(COUNTER, 1));
    };
    let replicas = count(&counter) + 1;
    head.update(Service { spec: spec(COUNTER, replicas), ..(*counter).clone() })
}

/// What the counter shows.
pub fn count(counter: &Service) -> u64 {
    match counter.spec.mode {
        Some(Mode::Replicated(ReplicatedService { replicas })) => replicas,
        Some(Mode::Global(_) | Mode::ReplicatedJob(_) | Mode::GlobalJob(_)) | None => 0,
    }
}

/// Reads as the control API does: whatever was acknowledged before must be there.
async fn read(cluster: &Cluster, oracle: &Oracle) {
    let Some((store, peer)) = cluster.leader() else { return };
    let before = oracle.acknowledged();
    if let Ok(Ok(Ok(index))) = timeout(PATIENCE, peer.send(ReadIndex)).await {
        let view = store.view();
        cluster.trace.note(format_args!("read at {index}"));
        reads::check(&before, &view, index);
        cluster.counts.count("check: reads are current");
    }
}

fn told(cluster: &Cluster, outcome: Option<Result<(), TransactError<store::Error>>>) -> Told {
    match outcome {
        Some(Ok(())) => {
            cluster.counts.count("seen: write acknowledged");
            Told::Acknowledged
        }
        Some(Err(TransactError::NotWritten(_))) => {
            cluster.counts.count("seen: write not written");
            Told::NotWritten
        }
        Some(Err(TransactError::OutcomeUnknown)) | None => {
            cluster.counts.count("seen: outcome unknown");
            Told::Unknown
        }
        Some(Err(error @ (TransactError::Aborted(_) | TransactError::TooLarge { .. }))) => {
            panic!("names are unique and small: {error}")
        }
    }
}

fn service(name: &str, replicas: u64) -> Service {
    let spec = Some((*spec(name, replicas)).clone());
    wire::Service { id: name.to_owned(), spec, ..Default::default() }.into()
}

fn spec(name: &str, replicas: u64) -> Arc<wire::ServiceSpec> {
    let annotations = Annotations { name: name.to_owned(), ..Default::default() };
    Arc::new(wire::ServiceSpec {
        annotations: Some(annotations),
        mode: Some(Mode::Replicated(ReplicatedService { replicas })),
        ..Default::default()
    })
}
