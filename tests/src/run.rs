//! One seed: a time of faults under watch, then everything heals and all promises are kept.

use std::{
    collections::BTreeMap,
    panic,
    time::{Duration, Instant as WallInstant},
};

use actors::supervision::testing::{WISH, take_deaths};
use tokio::{
    runtime::Builder,
    task::LocalSet,
    time::{Instant, sleep},
};

use crate::{
    checkers::{Checkers, acknowledged},
    cluster::Cluster,
    faults,
    oracle::{Oracle, Told},
    workload,
};

/// How many clients there are.
const CLIENTS: u64 = 3;

/// How long a healed cluster may take to serve and to be of one mind.
const CONVERGE_WITHIN: Duration = Duration::from_secs(60);

/// What came of a seed.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Equal for equal runs.
    pub hash: u64,
    /// How much happened.
    pub events: u64,
    /// What happened how often.
    pub counts: BTreeMap<&'static str, u64>,
    /// How long it took in real time.
    pub took: Duration,
}

/// Runs one seed for `virtual_time` of faults, and then until everything is well.
///
/// # Panics
///
/// When a promise is broken; the last events and the command that replays them are printed before.
pub fn run(seed: u64, virtual_time: Duration) -> Report {
    let began = wall_clock();
    simulate(async || {
        let cluster = Cluster::new(seed);
        let _obituary = Obituary { seed, trace: cluster.trace.clone() };
        torment_and_heal(&cluster, seed, virtual_time).await;
        let deaths = take_deaths();
        cluster.counts.add("fault: actor died before handling", deaths.before_handling);
        cluster.counts.add("fault: actor died after handling", deaths.after_handling);
        for member in cluster.members() {
            member.borrow_mut().crash(actors::log::simulated::Crash::Process);
        }
        Report {
            seed,
            hash: cluster.trace.hash(),
            events: cluster.trace.events(),
            counts: cluster.counts.take(),
            took: began.elapsed(),
        }
    })
}

/// Runs a story on one thread in virtual time.
pub fn simulate<T>(story: impl AsyncFnOnce() -> T) -> T {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime needs nothing"), story())
}

async fn torment_and_heal(cluster: &Cluster, seed: u64, virtual_time: Duration) {
    let (oracle, mut checkers) = (Oracle::default(), Checkers::default());
    for member in cluster.members() {
        member.borrow().set_disk(faults::good_disk());
    }
    cluster.start_all().await;
    let end = Instant::now() + virtual_time;
    let clients = (1..=CLIENTS)
        .map(|number| workload::client(cluster.clone(), oracle.clone(), number, seed, end));
    let clients: Vec<_> = clients.map(spawn).collect();
    let torment = spawn(faults::torment(cluster.clone(), seed, end));
    checkers.watch(cluster, &oracle, end).await;
    for task in clients.into_iter().chain([torment]) {
        task.await.expect("it keeps its promises");
    }
    faults::heal(cluster).await;
    converge(cluster, &oracle, &mut checkers).await;
    for member in cluster.members() {
        let store = member.borrow().store().expect("everybody lives");
        acknowledged::check(&store.view(), &oracle, &cluster.counts);
    }
    checkers.finish(cluster);
}

/// Waits until a write is taken and every member shows it.
async fn converge(cluster: &Cluster, oracle: &Oracle, checkers: &mut Checkers) {
    let end = Instant::now() + CONVERGE_WITHIN;
    for attempt in 0.. {
        assert!(Instant::now() < end, "a healed cluster does not come to one mind");
        checkers.look(cluster, oracle).await;
        sleep(Duration::from_millis(200)).await;
        let Some((store, _)) = cluster.leader() else { continue };
        let name = format!("last-{attempt}");
        workload::create(cluster, oracle, &store, name.clone()).await;
        if oracle.of(&name) != Some(Told::Acknowledged) {
            continue;
        }
        sleep(Duration::from_secs(2)).await;
        let indices: Vec<_> = cluster.members().map(|member| index(&member.borrow())).collect();
        if indices.iter().all(|index| *index == indices[0]) {
            return;
        }
    }
}

fn index(member: &crate::member::Member) -> u64 {
    member.store().map_or(0, |store| store.view().index())
}

/// Says how to see a failed run again.
struct Obituary {
    seed: u64,
    trace: crate::trace::Trace,
}

impl Drop for Obituary {
    #[expect(clippy::print_stderr, reason = "the tests have nowhere else to say it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for line in self.trace.lines() {
                eprintln!("{line}");
            }
            eprintln!("seed {} has failed; replay it with `just sim {}`", self.seed, self.seed);
        }
    }
}

/// Lets the deaths that are part of a run go without a word.
pub fn hush_wanted_deaths() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>();
        if !text.is_some_and(|text| text.starts_with(WISH)) {
            before(info);
        }
    }));
}

#[expect(clippy::disallowed_methods, reason = "how long a run took in real time is only printed")]
fn wall_clock() -> WallInstant {
    WallInstant::now()
}

#[expect(clippy::disallowed_methods, reason = "clients are no actors")]
fn spawn(future: impl Future<Output = ()> + 'static) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_local(future)
}
