//! All three over one slow store, with a node that runs, stops and breaks what it is given.

use std::{collections::BTreeMap, time::Duration};

use protocol::{
    id::ServiceId,
    objects::{Kind, Task, TaskState},
    wire::restart_policy::RestartCondition,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::sleep;

use super::{
    reaper::Reaper,
    replicated::Replicated,
    restart::Restart,
    testing::{cluster, commit, observe, run, served, service, spec},
};
use crate::{
    environment::testing::environment,
    store::{Store, Transaction, View, testing},
    supervision::Tree,
};

const COMMITS_AFTER: Duration = Duration::from_millis(500);
const HISTORY: i64 = 2;

fn start(tree: &Tree) -> Store {
    let view = served(&service(0, &spec(RestartCondition::Any, 0)), "");
    let view = commit(&view, 0, |head| head.create(cluster(HISTORY)).unwrap());
    let environment = environment();
    let store = testing::start_in(environment.clone(), tree, view, COMMITS_AFTER);
    tree.child_with_address("replicated", {
        let (store, environment) = (store.clone(), environment.clone());
        move |life, own| Replicated::new(store.clone(), environment.clone(), life, own)
    });
    tree.child_with_address("restart", {
        let store = store.clone();
        move |life, own| Restart::new(store.clone(), environment.clone(), life, own)
    });
    tree.child_with_address("reaper", {
        let store = store.clone();
        move |_, own| Reaper::new(store.clone(), own)
    });
    store
}

async fn write(store: &Store, write: impl FnOnce(&mut Transaction) + Send + 'static) {
    let written = store.transact(|head| {
        write(head);
        Ok::<_, ()>(())
    });
    written.await.unwrap();
}

/// What a node makes of a task.
fn next_state(task: &Task, fails: bool) -> &'static str {
    match task.desired_state {
        desired if desired > TaskState::RUNNING => "shutdown",
        _ if fails => "failed",
        TaskState::RUNNING => "running",
        _ => "ready",
    }
}

/// Scheduler and node in one: every task takes a step, or not yet, and some fail.
async fn run_tasks(store: &Store, seed: u64, idle: f64, failures: f64) {
    write(store, move |head| {
        let mut random = StdRng::seed_from_u64(seed);
        let tasks: Vec<_> = head.tasks().cloned().collect();
        for task in tasks.into_iter().filter(|task| task.status.state <= TaskState::RUNNING) {
            if random.gen_bool(idle) {
                continue;
            }
            let mut task = Task::clone(&task);
            let before = task.status.state;
            let state = next_state(&task, random.gen_bool(failures));
            let node = if task.slot.is_multiple_of(2) { "n1" } else { "n2" };
            observe(&mut task, node, state);
            if task.status.state > before {
                head.update(task).unwrap();
            }
        }
    })
    .await;
}

/// Changes the service as control does.
async fn ask(store: &Store, replicas: u64, version: u64) {
    write(store, move |head| {
        let mut task = spec(RestartCondition::Any, 0);
        task.force_update = version;
        let mut wish = service(replicas, &task);
        wish.meta = head.service(&"s".into()).unwrap().meta;
        wish.spec_version = Some(100 + version);
        head.update(wish).unwrap();
    })
    .await;
}

fn assert_sound(view: &View) {
    let mut processes: BTreeMap<u64, usize> = BTreeMap::new();
    for task in view.tasks_of_service(&ServiceId::from("s")) {
        let runs = task.status.state == TaskState::RUNNING;
        let removed = task.desired_state == TaskState::REMOVE;
        *processes.entry(task.slot).or_default() += usize::from(runs && !removed);
    }
    let twice = processes.iter().find(|(_, running)| **running > 1);
    assert_eq!(twice, None, "a slot starts again only once it has stopped");
}

#[test]
fn a_service_gets_what_it_asks_for_whatever_happens_on_the_way() {
    for seed in 0..20 {
        run(async |tree| {
            let store = start(tree);
            let mut random = StdRng::seed_from_u64(seed);
            sleep(Duration::from_secs(1)).await;
            let (mut replicas, mut version) = (0, 0);
            for _ in 0..30 {
                if random.gen_bool(0.3) {
                    replicas = random.gen_range(0..12);
                }
                version += u64::from(random.gen_bool(0.2));
                ask(&store, replicas, version).await;
                run_tasks(&store, random.r#gen(), 0.5, 0.1).await;
                assert_sound(&store.view());
                sleep(Duration::from_millis(random.gen_range(0..4_000))).await;
            }
            for _ in 0..40 {
                run_tasks(&store, 0, 0.0, 0.0).await;
                assert_sound(&store.view());
                sleep(Duration::from_secs(1)).await;
            }
            let view = store.view();
            let (running, ended): (Vec<_>, Vec<_>) =
                view.tasks().partition(|task| task.status.state == TaskState::RUNNING);
            assert_eq!(running.len() as u64, replicas, "seed {seed}");
            assert!(running.iter().all(|task| task.spec_version == Some(100 + version)));
            assert!(ended.len() as u64 <= replicas, "seed {seed}: history is bounded");
            sleep(Duration::from_secs(700)).await;
            assert_eq!(store.view().index(), view.index(), "a full pass finds nothing to do");

            write(&store, |head| head.remove(Kind::Service, &"s".into()).unwrap()).await;
            sleep(Duration::from_secs(2)).await;
            run_tasks(&store, 0, 0.0, 0.0).await;
            sleep(Duration::from_secs(2)).await;
            assert_eq!(store.view().tasks().count(), 0, "nothing is left of a removed service");
        });
    }
}

#[test]
fn replicas_are_created_once_however_slow_commits_are() {
    run(async |tree| {
        let store = start(tree);
        sleep(Duration::from_secs(1)).await;
        ask(&store, 100, 0).await;
        for _ in 0..20 {
            sleep(Duration::from_millis(300)).await;
            run_tasks(&store, 0, 0.0, 0.0).await;
        }
        assert_eq!(store.view().tasks().count(), 100);
    });
}
