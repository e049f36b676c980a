//! The scheduler with a store that commits at once, each on a thread of its own as in the daemon.

use std::{thread::sleep, time::Duration};

use actors::{
    environment::testing::environment,
    scheduler::Scheduler,
    store::{Store, View, testing},
    supervision::{Budget, Census, Tree},
};
use node::thread::ActorThread;
use protocol::{id::TaskId, objects::TaskState};

use crate::{Figures, busy, now, peak, shape::Shape};

/// How often the view is looked at.
const LOOK: Duration = Duration::from_millis(1);

const BUDGET: Budget = Budget { restarts: 0, within: Duration::from_secs(1) };

/// A tree that must not give up.
pub(crate) fn tree(name: &str, census: &Census) -> Tree {
    Tree::root(name, BUDGET, census.clone(), |lost| panic!("{lost}"))
}

/// Starts the scheduler, and waits until all tasks have a node.
pub(crate) fn run(shape: Shape) -> Figures {
    let view = shape.view();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let census = Census::default();
    runtime.block_on(async {
        let for_core = census.clone();
        let (core, store) = ActorThread::start("core", async move || {
            let tree = tree("core", &for_core);
            let store = testing::start(&tree, view);
            testing::until_leading(&store).await;
            (tree, store)
        })
        .await
        .expect("a thread starts");
        let (figures, loops) = until_placed(&store, &census).await;
        loops.stop().await;
        core.stop().await;
        figures
    })
}

/// Starts the scheduler on a thread of its own.
pub(crate) async fn until_placed(store: &Store, census: &Census) -> (Figures, ActorThread) {
    let (for_loops, for_scheduler) = (census.clone(), store.clone());
    let ids: Vec<_> = store.view().tasks().map(|task| task.id.clone()).collect();
    let (began, core, log) = (now(), busy("core"), busy("log"));
    let started = ActorThread::start("loops", async move || {
        let tree = tree("loops", &for_loops);
        tree.child_with_address("scheduler", move |life, own| {
            Scheduler::new(for_scheduler.clone(), environment(), life, own)
        });
        (tree, ())
    });
    let (loops, ()) = started.await.expect("a thread starts");
    let mut waiting = &ids[..];
    while !waiting.is_empty() {
        sleep(LOOK);
        waiting = still_waiting(&store.view(), waiting);
    }
    let placed = began.elapsed();
    let mut figures = Figures::from([
        ("a all assigned", placed.as_secs_f64()),
        ("d core busy", (busy("core") - core).as_secs_f64()),
        ("e loops busy", busy("loops").as_secs_f64()),
        ("f log busy", (busy("log") - log).as_secs_f64()),
        ("z peak MiB", peak()),
    ]);
    for report in census.report() {
        for (ending, name) in [("/store", "b longest of store"), ("/scheduler", "c of scheduler")] {
            if report.path.ends_with(ending) {
                figures.insert(name, report.longest_poll.as_secs_f64());
            }
        }
    }
    (figures, loops)
}

/// From the first task on that is not assigned.
fn still_waiting<'t>(view: &View, tasks: &'t [TaskId]) -> &'t [TaskId] {
    let is_assigned =
        |id| view.task(id).is_some_and(|task| task.status.state >= TaskState::ASSIGNED);
    let waiting = tasks.iter().position(|id| !is_assigned(id));
    waiting.map_or(&[], |first| &tasks[first..])
}
