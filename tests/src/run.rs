//! One run: a time of faults under watch, then everything heals and all promises are kept.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    fmt,
    panic::{self, AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Once,
    time::{Duration, Instant as WallInstant},
};

use actors::supervision::testing::{WISH, listen, pardon, take_deaths};
use tokio::{
    runtime::Builder,
    task::LocalSet,
    time::{Instant, sleep},
};

use crate::{
    checkers::{Checkers, identities, removed, replicas},
    cluster::{Cluster, FOUNDERS, MACHINES},
    faults,
    fleet::{AGENTS, agent_id},
    identity::{life::live, steward::attend},
    membership,
    operator::operate,
    oracle::{Oracle, Told},
    plan::{self, Fault, Kind},
    trace::{Event, Filter, Trace},
    worker::Worker,
    workload,
};

/// How many clients there are.
const CLIENTS: u64 = 3;

/// How long a healed cluster may take to serve and to be of one mind.
const CONVERGE_WITHIN: Duration = Duration::from_secs(60);

/// One of so many runs with agents ends with a silence of most of them, which lasts so long: under
/// other faults, no leader leads long enough to have to doubt itself.
const DOUBTED_EVERY: u64 = 4;
const SILENT_FOR: Duration = Duration::from_secs(22);

/// How long a cluster that runs all that it should is looked at.
const QUIET_FOR: Duration = Duration::from_secs(10);

/// What makes a run: the same run comes of the same story, in any build.
#[derive(Clone, Debug)]
pub struct Story {
    /// What everything but the faults is drawn from.
    pub seed: u64,
    /// How long clients write and faults come and go, in virtual time.
    pub time: Duration,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Who takes part.
    pub family: Family,
}

/// Who takes part in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Members and clients.
    Members,
    /// Members of which the leader runs its loops, over agents that run tasks.
    Loops,
    /// The same, of machines that have certificates: one to three found the cluster, others join by
    /// token, and what their nodes are to be says who is a member.
    Swarm,
}

impl Family {
    /// How many found the cluster.
    pub fn founders(self, seed: u64) -> u64 {
        match self {
            Self::Members | Self::Loops => FOUNDERS,
            Self::Swarm => 1 + seed % 3,
        }
    }

    /// Whether this kind of fault comes up here.
    pub fn knows(self, kind: Kind) -> bool {
        self.targets().kinds.iter().any(|(known, _)| *known == kind)
    }

    fn targets(self) -> &'static plan::Targets {
        match self {
            Self::Members => &faults::TARGETS,
            Self::Loops => &faults::TARGETS_WITH_LOOPS,
            Self::Swarm => &faults::TARGETS_WITH_IDENTITIES,
        }
    }
}

/// What came of a run that kept its promises.
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
    /// How much virtual time passed.
    pub lasted: Duration,
    /// How long it took in real time.
    pub took: Duration,
    /// What happened last.
    pub last_events: Vec<Event>,
}

/// A promise that was broken.
#[derive(Debug)]
pub struct Failure {
    /// Which checker found it.
    pub checker: String,
    /// What it found.
    pub text: String,
    /// When, in virtual time.
    pub at: Duration,
    /// What happened before.
    pub events: Vec<Event>,
}

impl Story {
    /// What a seed draws: of these kinds of faults, or of all.
    pub fn drawn(family: Family, seed: u64, time: Duration, kinds: &[Kind]) -> Self {
        let faults = plan::draw(seed, time, family.targets(), kinds);
        Self { seed, time, faults, family }
    }

    /// Runs it.
    pub fn attempt(&self, filter: &Filter) -> Result<Report, Box<Failure>> {
        let began = wall_clock();
        let trace = Rc::new(RefCell::new(None));
        let caught = catch_quietly(|| {
            simulate(async || {
                let cluster = Cluster::new(
                    self.seed,
                    self.family.founders(self.seed),
                    Trace::new(filter.clone()),
                );
                *trace.borrow_mut() = Some(cluster.trace.clone());
                tokio::select! {
                    biased;
                    () = torment_and_heal(&cluster, self) => {}
                    () = cluster.trace.stands_still() => panic!("stuck: no time passes any more"),
                }
                let deaths = take_deaths();
                cluster.counts.add("fault: actor died before handling", deaths.before_handling);
                cluster.counts.add("fault: actor died after handling", deaths.after_handling);
                for member in cluster.machines() {
                    member.borrow_mut().crash(plan::Crash::Process);
                }
                Report {
                    seed: self.seed,
                    hash: cluster.trace.hash(),
                    events: cluster.trace.count(),
                    counts: cluster.counts.take(),
                    lasted: cluster.trace.elapsed(),
                    took: began.elapsed(),
                    last_events: cluster.trace.events(),
                }
            })
        });
        let trace = trace.take();
        let events = || trace.map_or_else(Vec::new, |trace: Trace| trace.events());
        caught.map_err(|text| Failure::new(&text, events()).into())
    }

    /// Runs it and says what was seen.
    ///
    /// # Panics
    ///
    /// When a promise is broken; the last events and the command that replays them are printed
    /// before.
    #[expect(clippy::print_stderr, reason = "the tests have nowhere else to say it")]
    pub fn hold(&self) -> Report {
        self.attempt(&Filter::default()).unwrap_or_else(|failure| {
            eprintln!("{failure}");
            eprintln!(
                "replay it with `just sim {0}`, shorten it with `just shrink {0}`",
                self.seed
            );
            panic!("seed {}: {}", self.seed, failure.text)
        })
    }
}

/// Runs one seed for `virtual_time` of all kinds of faults, and then until everything is well.
///
/// # Panics
///
/// As [`Story::hold`].
pub fn run(seed: u64, virtual_time: Duration) -> Report {
    Story::drawn(Family::Members, seed, virtual_time, &[]).hold()
}

/// Runs a story on one thread in virtual time.
pub fn simulate<T>(story: impl AsyncFnOnce() -> T) -> T {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime needs nothing"), story())
}

async fn torment_and_heal(cluster: &Cluster, story: &Story) {
    let (oracle, mut checkers) = (Oracle::default(), Checkers::default());
    for member in cluster.machines() {
        member.borrow_mut().set_disk(faults::good_disk());
    }
    let worker = (story.family != Family::Members).then(|| Worker::start(cluster));
    let agents = if worker.is_some() { AGENTS } else { 0 };
    let agents = cluster.fleet().start(cluster, agents, story.seed);
    let lives =
        if story.family == Family::Swarm { begin_lives(cluster, story.seed) } else { Vec::new() };
    cluster.start_all().await;
    let end = Instant::now() + story.time;
    let mut clients = match story.family {
        Family::Loops | Family::Swarm => {
            vec![spawn(operate(cluster.clone(), oracle.clone(), story.seed, end))]
        }
        Family::Members => (1..=CLIENTS)
            .map(|number| {
                workload::client(cluster.clone(), oracle.clone(), number, story.seed, end)
            })
            .map(spawn)
            .collect(),
    };
    if story.family == Family::Swarm {
        clients.push(spawn(attend(cluster.clone(), oracle.clone(), story.seed, end)));
    }
    let torment =
        spawn(faults::inflict(cluster.clone(), oracle.clone(), story.faults.clone(), end));
    checkers.watch(cluster, &oracle, end).await;
    for task in clients.into_iter().chain([torment]) {
        if let Err(failed) = task.await {
            panic::resume_unwind(failed.into_panic());
        }
    }
    faults::heal(cluster).await;
    converge(cluster, &oracle, &mut checkers).await;
    stay_quiet(cluster, &oracle, &mut checkers).await;
    if story.family == Family::Loops && story.seed.is_multiple_of(DOUBTED_EVERY) {
        fall_silent(cluster, &oracle, &mut checkers).await;
        converge(cluster, &oracle, &mut checkers).await;
    }
    checkers.finish(cluster, &oracle).await;
    lives.into_iter().chain(agents).for_each(|life| life.abort());
    if let Some(worker) = worker {
        worker.end();
    }
}

/// What holds in the quiet state goes on to hold.
pub(crate) async fn stay_quiet(cluster: &Cluster, oracle: &Oracle, checkers: &mut Checkers) {
    if cluster.worker().is_none() {
        return;
    }
    let end = Instant::now() + QUIET_FOR;
    while Instant::now() < end {
        sleep(Duration::from_millis(200)).await;
        checkers.look(cluster, oracle).await;
        let unfit = replicas::unfit(cluster);
        assert_eq!(unfit, None, "replicas: a quiet cluster does not go on to run what it should");
        let unfit = identities::unfit(cluster);
        assert_eq!(unfit, None, "identities: a machine in a quiet cluster becomes another");
    }
    cluster.counts.count("check: a quiet cluster stays quiet");
}

/// All agents but one fall silent for a while, and nothing else goes wrong.
async fn fall_silent(cluster: &Cluster, oracle: &Oracle, checkers: &mut Checkers) {
    cluster.trace.note("fault", "all agents but one fall silent", "begins");
    cluster.fleet().silence(&(1..AGENTS).map(agent_id).collect());
    checkers.watch(cluster, oracle, Instant::now() + SILENT_FOR).await;
    cluster.trace.note("fault", "all agents but one fall silent", "ends");
    cluster.fleet().silence(&BTreeSet::new());
}

/// Every machine has a certificate, or may get one.
pub(crate) fn begin_lives(cluster: &Cluster, seed: u64) -> Vec<tokio::task::JoinHandle<()>> {
    cluster.show_certificates();
    (1..=MACHINES).map(|id| spawn(live(cluster.clone(), id, seed))).collect()
}

/// Waits until a write is taken, every member votes and shows it, and whoever is none knows so.
pub(crate) async fn converge(cluster: &Cluster, oracle: &Oracle, checkers: &mut Checkers) {
    let end = Instant::now() + CONVERGE_WITHIN;
    // Names that an earlier time of healing has taken stay taken.
    let first = (0..).find(|attempt| oracle.of(&format!("last-{attempt}")).is_none());
    for attempt in first.expect("one is free").. {
        if Instant::now() > end {
            let unfit = replicas::unfit(cluster);
            assert_eq!(unfit, None, "replicas: a healed cluster does not run what it should");
            let unfit = identities::unfit(cluster);
            assert_eq!(unfit, None, "identities: a healed machine is not what its node is");
            let unaware = removed::unaware(cluster).await;
            assert_eq!(unaware, None, "removed: a machine does not know that it was removed");
            let status = cluster.leader_status().await;
            let members = cluster.numbers();
            panic!(
                "convergence: a healed cluster does not come to one mind: {members:?} {status:?}"
            );
        }
        checkers.look(cluster, oracle).await;
        sleep(Duration::from_millis(200)).await;
        faults::start_ended(cluster).await;
        let Some(status) = cluster.leader_status().await else { continue };
        membership::settle(cluster, &status).await;
        let Some((store, _)) = cluster.leader() else { continue };
        let name = format!("last-{attempt}");
        workload::create(cluster, oracle, &store, name.clone()).await;
        if oracle.of(&name) != Some(Told::Acknowledged) {
            continue;
        }
        sleep(Duration::from_secs(2)).await;
        let indices: Vec<_> = cluster.members().map(|member| index(&member.borrow())).collect();
        let Some(status) = cluster.leader_status().await else { continue };
        let voters: Vec<_> = cluster.members().map(|member| member.borrow().raft_id()).collect();
        let is_whole = status.learners.is_empty() && status.voters.len() == voters.len();
        let is_whole = is_whole && removed::unaware(cluster).await.is_none();
        let is_whole = is_whole && replicas::unfit(cluster).is_none();
        let is_whole = is_whole && identities::unfit(cluster).is_none();
        if is_whole && indices.iter().all(|index| *index == indices[0]) {
            cluster.counts.count("check: every member votes in the end");
            return;
        }
    }
}

fn index(member: &crate::member::Member) -> u64 {
    member.store().map_or(0, |store| store.view().index())
}

impl Failure {
    /// The texts of checkers begin with their names.
    fn new(text: &str, events: Vec<Event>) -> Self {
        // What `assert_eq!` and `assert_ne!` say before.
        let text = text.split_once("right` failed: ").map_or(text, |(_, text)| text);
        let name = text.split_once(": ").map(|(name, _)| name);
        let is_word = |name: &&str| name.bytes().all(|byte| byte.is_ascii_lowercase());
        let checker = name.filter(is_word).unwrap_or("none").to_owned();
        let at = events.last().map_or(Duration::ZERO, |event| event.at);
        Self { checker, text: text.to_owned(), at, events }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.events {
            writeln!(formatter, "{event}")?;
        }
        write!(formatter, "{:>9.3}  {}", self.at.as_secs_f64(), self.text)
    }
}

thread_local! {
    /// Whether panics on this thread are caught by a run, which tells of them itself.
    static QUIET: Cell<bool> = const { Cell::new(false) };
    /// Where the first panic of the run came from that nobody wanted.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Returns what a panic says, and prints nothing. What an earlier run on this thread has left
/// behind is forgotten.
fn catch_quietly<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    hush_wanted_deaths();
    pardon("");
    take_deaths();
    QUIET.set(true);
    let caught = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    listen(None);
    caught.map_err(|panic| text_of(&*panic))
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    let text = text.unwrap_or_else(|| "a panic without a text".to_owned());
    match PLACE.take() {
        Some(place) => format!("{text} ({place})"),
        None => text,
    }
}

/// Lets the deaths that are part of a run go without a word.
pub fn hush_wanted_deaths() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<String>();
            if text.is_some_and(|text| text.starts_with(WISH)) {
                return;
            }
            if QUIET.get() {
                PLACE.set(info.location().map(ToString::to_string));
            } else {
                before(info);
            }
        }));
    });
}

#[expect(clippy::disallowed_methods, reason = "how long a run took in real time is only printed")]
fn wall_clock() -> WallInstant {
    WallInstant::now()
}

#[expect(clippy::disallowed_methods, reason = "clients are no actors")]
fn spawn(future: impl Future<Output = ()> + 'static) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_local(future)
}
