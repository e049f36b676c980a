//! Clients: they create services, count, read, and note what they are told.

use std::{sync::Arc, time::Duration};

use actors::{
    raft::ReadIndex,
    store::{self, Store, TransactError, Transaction},
};
use futures_util::FutureExt;
use protocol::{
    id::ServiceId,
    objects::{Kind, Object, Service},
    wire::{self, Annotations, ReplicatedService, service_spec::Mode, store_action::Target},
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
    let (mut count, mut own) = (0, Vec::new());
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
            0..=4 => {
                let name = format!("c{number}-{count}");
                create(&cluster, &oracle, &store, name.clone()).await;
                own.extend((oracle.of(&name) == Some(Told::Acknowledged)).then_some(name));
            }
            5..=6 => increment(&cluster, &oracle, &store).await,
            7 if !own.is_empty() => {
                let name = own.swap_remove(random.gen_range(0..own.len()));
                remove(&cluster, &oracle, &store, &name).await;
            }
            _ => read(&cluster, &oracle, &mut random).await,
        }
    }
}

/// Creates a service of this name, with an object of another kind, and notes what came of it.
pub async fn create(cluster: &Cluster, oracle: &Oracle, store: &Store, name: String) {
    oracle.sent(&name);
    let written = name.clone();
    // The loops of a leader would take an odd task for their own.
    let alone = cluster.worker().is_some();
    let outcome = store.transact(move |head| {
        head.create(service(&written, &written, 0))?;
        if alone { Ok(()) } else { head.create(companion(&written)) }
    });
    let told = ask(cluster, oracle, &format!("create {name}"), outcome).await;
    oracle.told(&name, told);
}

/// Removes a service in two steps, as the control API does: it is told to leave, and is gone
/// later. Until then its name is taken.
async fn remove(cluster: &Cluster, oracle: &Oracle, store: &Store, name: &str) {
    oracle.leaves(name);
    let id = ServiceId::from(name);
    let leaving = id.clone();
    let outcome = store.transact(move |head| {
        let service = head.service(&leaving).cloned().ok_or(store::Error::NotExist)?;
        head.update(Service { pending_delete: true, ..(*service).clone() })
    });
    if ask(cluster, oracle, &format!("retire {name}"), outcome).await != Told::Acknowledged {
        return;
    }
    let (again, taken) = (format!("{name}-again"), name.to_owned());
    oracle.sent(&again);
    let written = again.clone();
    let outcome = store.transact(move |head| head.create(service(&written, &taken, 0)));
    let told = ask(cluster, oracle, &format!("create {again}"), outcome).await;
    oracle.told(&again, told);
    let outcome = store.transact(move |head| head.remove(Kind::Service, id.as_id()));
    if ask(cluster, oracle, &format!("remove {name}"), outcome).await == Told::Acknowledged {
        cluster.counts.count("seen: service removed");
        oracle.left(name);
    }
}

async fn increment(cluster: &Cluster, oracle: &Oracle, store: &Store) {
    let told = ask(cluster, oracle, "increment", store.transact(add_one)).await;
    oracle.incremented(told);
}

fn add_one(head: &mut Transaction) -> Result<(), store::Error> {
    let Some(counter) = head.service(&COUNTER.into()).cloned() else {
        return head.create(service(COUNTER, COUNTER, 1));
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

/// Reads as the control API does: whatever was acknowledged or read before must be there. Whoever
/// says that it leads is asked, for it may be wrong.
async fn read(cluster: &Cluster, oracle: &Oracle, random: &mut impl Rng) {
    let Some((store, peer)) = cluster.any_leader(random) else { return };
    let (mut before, so_far) = (oracle.acknowledged(), oracle.read_so_far());
    match timeout(PATIENCE, peer.send(ReadIndex)).await {
        Ok(Ok(Ok(index))) => {
            let view = store.view();
            cluster.trace.note("clients", "read", format_args!("at index {index}"));
            before.retain(|name| !oracle.is_leaving(name));
            reads::check(&before, so_far, &view, index);
            oracle.read(view.index());
            cluster.counts.count("check: reads are current");
            cluster.counts.add("check: reads never go back", u64::from(so_far > 0));
        }
        Ok(Ok(Err(_)) | Err(_)) | Err(_) => cluster.counts.count("seen: read refused"),
    }
}

/// Waits for an outcome as long as a client does. The answer has to come later, if not now.
pub(crate) async fn ask(
    cluster: &Cluster,
    oracle: &Oracle,
    what: &str,
    outcome: impl Future<Output = Result<(), TransactError<store::Error>>> + 'static,
) -> Told {
    let mut outcome = Box::pin(outcome);
    let told = match timeout(PATIENCE, &mut outcome).await {
        Ok(outcome) => {
            cluster.counts.count("check: every transaction is answered");
            told(cluster, outcome)
        }
        Err(_) => {
            oracle.gave_up(what, Box::pin(outcome.map(drop)));
            Told::Unknown
        }
    };
    cluster.trace.note("clients", what, format_args!("{told:?}"));
    cluster.counts.count(match told {
        Told::Acknowledged => "seen: write acknowledged",
        Told::NotWritten => "seen: write not written",
        Told::Unknown | Told::Nothing => "seen: outcome unknown",
    });
    told
}

fn told(cluster: &Cluster, outcome: Result<(), TransactError<store::Error>>) -> Told {
    match outcome {
        Ok(()) => Told::Acknowledged,
        Err(TransactError::Aborted(store::Error::NameConflict)) => {
            cluster.counts.count("seen: name refused");
            Told::NotWritten
        }
        Err(TransactError::NotWritten(_)) => Told::NotWritten,
        Err(TransactError::OutcomeUnknown) => Told::Unknown,
        Err(error @ (TransactError::Aborted(_) | TransactError::TooLarge { .. })) => {
            panic!("acknowledged: what clients write is small and fits what they read: {error}")
        }
    }
}

fn service(id: &str, name: &str, replicas: u64) -> Service {
    let spec = Some((*spec(name, replicas)).clone());
    wire::Service { id: id.to_owned(), spec, ..Default::default() }.into()
}

/// An object of another kind than services, which the name decides.
fn companion(name: &str) -> Object {
    let id = format!("{name}-with");
    let annotations = Some(Annotations { name: id.clone(), ..Default::default() });
    let target = match name.bytes().map(usize::from).sum::<usize>() % 5 {
        0 => Target::Config(wire::Config {
            id,
            spec: Some(wire::ConfigSpec { annotations, ..Default::default() }),
            ..Default::default()
        }),
        1 => Target::Network(wire::Network {
            id,
            spec: Some(wire::NetworkSpec { annotations, ..Default::default() }),
            ..Default::default()
        }),
        2 => Target::Secret(wire::Secret {
            id,
            spec: Some(wire::SecretSpec { annotations, ..Default::default() }),
            ..Default::default()
        }),
        3 => Target::Node(wire::Node { id, ..Default::default() }),
        _ => Target::Task(wire::Task { id, node_id: name.to_owned(), ..Default::default() }),
    };
    Object::from_target(target)
}

fn spec(name: &str, replicas: u64) -> Arc<wire::ServiceSpec> {
    let annotations = Annotations { name: name.to_owned(), ..Default::default() };
    Arc::new(wire::ServiceSpec {
        annotations: Some(annotations),
        mode: Some(Mode::Replicated(ReplicatedService { replicas })),
        ..Default::default()
    })
}
