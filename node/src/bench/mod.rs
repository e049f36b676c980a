//! `swarmd bench`: puts the load of thousands of nodes on a cluster, and measures what it does.
//!
//! The nodes are simulated, everything else is real: each has a certificate that it asked for with
//! a join token, and connections of its own. Nothing but the published protocol is spoken, so any
//! manager can be measured that speaks it.

mod agent;
mod cluster;
mod events;
mod fleet;
mod histogram;
mod logic;
mod process;
mod record;
mod report;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::{pending, ready},
    io::Write,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, value_parser};
use futures_util::{TryStreamExt, stream};
use protocol::{
    duration::nanoseconds,
    token::JoinToken,
    wire::{
        Annotations, ContainerSpec, Placement, ReplicatedService, ServiceSpec, TaskSpec,
        service_spec::Mode, task_spec::Runtime,
    },
};
use rand::{Rng, rngs::OsRng};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{interval, sleep},
};
use tonic::Status;

use self::{
    cluster::{Cluster, is_ready},
    events::{Events, Run, WAITING_MAX},
    fleet::Fleet,
    record::{Event, Record},
    report::{Cost, Phase},
};
use crate::{
    clock::SystemClock,
    executor,
    joining::{self, Invitation},
};

/// Files that are open beside the agents' connections, of which each has two.
const OTHER_FILES: u64 = 256;

/// How long nothing may happen before a phase is given up.
const STALLED_AFTER: Duration = Duration::from_secs(120);

/// How many nodes are removed at one time.
const REMOVED_AT_ONCE: usize = 16;

/// The number of the service with many tasks; those of single tasks come after it.
const MANY: usize = 0;

/// What is measured, and on whom.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Where managers listen for nodes, as host:port; all that the cluster shows when none is given
    #[arg(long = "manager")]
    managers: Vec<String>,
    /// What lets the agents in; when it is left out, the cluster is asked for it
    #[arg(long)]
    worker_token: Option<JoinToken>,
    /// Control socket of a manager; of more than one, the next is used where one does not answer,
    /// and the processes of all are measured
    #[arg(long = "socket")]
    sockets: Vec<PathBuf>,
    /// Folder with the certificate of a manager, to control the cluster by its port for nodes
    #[arg(long, conflicts_with = "sockets", requires = "managers")]
    certificates: Option<PathBuf>,
    /// Process of a manager on this machine, to be measured
    #[arg(long = "pid")]
    pids: Vec<i32>,
    /// How many agents there are
    #[arg(long, default_value_t = 1000, value_parser = value_parser!(u32).range(1..=100_000))]
    agents: u32,
    /// How many tasks are created at once
    #[arg(long, default_value_t = 10_000)]
    tasks: u64,
    /// How many tasks are created before that, one after the other
    #[arg(long, default_value_t = 20)]
    singles: u32,
    /// How long to wait between joining and creating tasks
    #[arg(long, default_value = "5s", value_parser = time)]
    settle: Duration,
    /// How long to watch heartbeats once everything runs
    #[arg(long, default_value = "30s", value_parser = time)]
    heartbeats: Duration,
    /// How long a task takes from its assignment until it runs
    #[arg(long, default_value = "0s", value_parser = time)]
    start_delay: Duration,
    /// Leave the service and the nodes of the agents in the cluster
    #[arg(long)]
    keep: bool,
}

fn time(text: &str) -> Result<Duration, String> {
    let nanos = nanoseconds(text).and_then(|nanos| u64::try_from(nanos).ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| "it must be a time, as in 30s".to_owned())
}

/// Measures, prints what it finds, and removes what it made, also after `shutdown`.
pub async fn run(options: Options, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
    raise_open_files(options.agents)?;
    let mut bench = Bench::begin(options).await?;
    let measured = tokio::select! {
        biased;
        () = shutdown => Err(anyhow::anyhow!("ended before everything was measured, as asked")),
        measured = Box::pin(bench.measure()) => measured,
    };
    if bench.options.keep {
        return measured;
    }
    let cleared = Box::pin(bench.clear()).await;
    measured.and(cleared)
}

fn raise_open_files(agents: u32) -> Result<()> {
    let limit = executor::raise_open_files().context("open files cannot be counted")?;
    let needed = 2 * u64::from(agents) + OTHER_FILES;
    ensure!(
        limit.hard >= needed,
        "{agents} agents need {needed} open files, and this process may have {}: raise its limit, \
         or take fewer --agents",
        limit.hard
    );
    Ok(())
}

/// A run.
struct Bench {
    options: Options,
    run: Run,
    cluster: Cluster,
    invitations: Vec<Invitation>,
    pids: Vec<i32>,
    record: Record,
    events: Events,
    heard: mpsc::Receiver<Event>,
    /// All agents, once they were started.
    agents: JoinSet<Result<Infallible>>,
    /// Tells what comes to run.
    watch: JoinSet<Status>,
    /// When each service was created.
    created: BTreeMap<usize, Duration>,
}

impl Bench {
    async fn begin(options: Options) -> Result<Self> {
        let mut cluster = match (&options.certificates, options.managers.first()) {
            (Some(certificates), Some(manager)) => Cluster::with(certificates, manager).await?,
            (Some(_) | None, _) => {
                ensure!(
                    !options.sockets.is_empty(),
                    "the cluster has to be controlled: give a manager's control socket with \
                     --socket, or a manager's certificate with --certificates"
                );
                Cluster::at(&options.sockets).await?
            }
        };
        let token = match &options.worker_token {
            Some(token) => token.clone(),
            None => cluster.tokens().await?.worker.parse()?,
        };
        let managers = match options.managers.as_slice() {
            [] => cluster.managers().await?,
            given => given.to_vec(),
        };
        let invitation = |address| Invitation { address, token: token.clone(), availability: 0 };
        let mut pids = options.pids.clone();
        for socket in &options.sockets {
            pids.extend(process::owner(socket).await.filter(|pid| !pids.contains(pid)));
        }
        let (tell, heard) = mpsc::channel(WAITING_MAX);
        Ok(Self {
            invitations: managers.into_iter().map(invitation).collect(),
            options,
            run: Run::begin(OsRng.r#gen()),
            cluster,
            pids,
            record: Record::default(),
            events: Events(tell),
            heard,
            agents: JoinSet::new(),
            watch: JoinSet::new(),
            created: BTreeMap::new(),
        })
    }

    async fn measure(&mut self) -> Result<()> {
        let Options { agents, tasks, singles, settle, heartbeats, .. } = self.options;
        let agents = usize::try_from(agents)?;
        say(&self.join(agents).await?.text(&format!("{agents} agents joined")));
        self.watch.spawn(self.cluster.clone().follow(self.run, self.events.clone()));
        self.record.begin_to_listen();
        say(&self.rest(settle).await.text("settled"));
        say(&report::heartbeats(&self.record));
        if singles > 0 {
            let cost = Cost::begin(self.run, &self.pids);
            for single in 1..=usize::try_from(singles)? {
                Box::pin(self.create(MANY + single, 1)).await?;
            }
            say(&cost.end().text(&format!("{singles} tasks, one after the other")));
            say(&report::times(&self.record, &self.of(|service| service != MANY)));
        }
        if tasks > 0 {
            let cost = Cost::begin(self.run, &self.pids);
            Box::pin(self.create(MANY, tasks)).await?;
            say(&cost.end().text(&format!("{tasks} tasks at once")));
            say(&report::times(&self.record, &self.of(|service| service == MANY)));
        }
        self.record.begin_to_listen();
        say(&self.rest(heartbeats).await.text("all running"));
        say(&report::heartbeats(&self.record));
        let mut cluster = self.cluster.clone();
        let nodes = self.during(cluster.nodes()).await?;
        let own = nodes.iter().filter(|node| self.record.nodes.contains(&node.id));
        let away = own.filter(|node| !is_ready(node)).count();
        say(&format!("  nodes of agents that the cluster takes for lost: {away}\n"));
        say(&report::memory(&self.pids));
        Ok(())
    }

    /// When services were created.
    fn of(&self, which: impl Fn(usize) -> bool) -> BTreeMap<usize, Duration> {
        self.created.iter().filter(|(it, _)| which(**it)).map(|(it, at)| (*it, *at)).collect()
    }

    /// Starts the agents, and waits until each has a session.
    async fn join(&mut self, agents: usize) -> Result<Phase> {
        let Some(first) = self.invitations.first() else { bail!("there is no manager") };
        let fleet = Fleet {
            cluster: joining::Cluster::of(first, &SystemClock).await?,
            invitations: self.invitations.clone(),
            start_delay: self.options.start_delay,
            run: self.run,
            events: self.events.clone(),
        };
        let cost = Cost::begin(self.run, &self.pids);
        self.agents = fleet.start(agents);
        self.until("agents join", |record| record.registered() == agents).await?;
        Ok(cost.end())
    }

    /// Does nothing but listen.
    async fn rest(&mut self, how_long: Duration) -> Phase {
        let cost = Cost::begin(self.run, &self.pids);
        self.during(sleep(how_long)).await;
        cost.end()
    }

    /// Creates a service, and waits until all its tasks run.
    async fn create(&mut self, service: usize, tasks: u64) -> Result<()> {
        let spec = spec(self.run, service, tasks);
        self.created.insert(service, self.run.elapsed());
        let mut cluster = self.cluster.clone();
        self.during(Box::pin(cluster.create(spec))).await?;
        self.until("tasks come to run", |record| record.running(service) >= tasks).await
    }

    /// Counts what is told while something is done.
    async fn during<T>(&mut self, what: impl Future<Output = T>) -> T {
        let (heard, record) = (&mut self.heard, &mut self.record);
        let counted = async {
            while let Some(event) = heard.recv().await {
                record.take(event);
            }
            pending().await
        };
        tokio::select! {
            biased;
            done = what => done,
            never = counted => match never {},
        }
    }

    /// Counts what is told until a condition holds.
    async fn until(&mut self, what: &str, holds: impl Fn(&Record) -> bool) -> Result<()> {
        let mut progress = interval(STALLED_AFTER);
        progress.tick().await;
        let mut before = (0, 0);
        while !holds(&self.record) {
            tokio::select! {
                biased;
                Some(event) = self.heard.recv() => self.record.take(event),
                Some(ended) = self.agents.join_next() => match ended? {
                    Ok(never) => match never {},
                    Err(error) => return Err(error),
                },
                Some(ended) = self.watch.join_next() => {
                    let status = ended?;
                    bail!("the store cannot be watched: {}", status.message())
                }
                _ = progress.tick() => {
                    let now = self.record.progress_so_far();
                    ensure!(now != before, "{}", stalled(what, &self.record));
                    before = now;
                }
            }
        }
        Ok(())
    }

    /// Removes what the run has made.
    async fn clear(&mut self) -> Result<()> {
        let (mut cluster, run) = (self.cluster.clone(), self.run);
        let cleared = self.during(Box::pin(cluster.clear(run))).await;
        self.agents.shutdown().await;
        self.watch.shutdown().await;
        // What was told before they ended is known to be there.
        while let Ok(event) = self.heard.try_recv() {
            self.record.take(event);
        }
        let nodes = std::mem::take(&mut self.record.nodes);
        // One that cannot be removed is enough: the cluster may be gone, and each waits for it.
        let removals = nodes.into_iter().map(|node| Ok(self.cluster.clone().remove(node)));
        let removed = stream::iter(removals).try_buffer_unordered(REMOVED_AT_ONCE);
        let removed = removed.try_for_each(|()| ready(Ok(())));
        Box::pin(removed).await.and(cleared)
    }
}

fn stalled(what: &str, record: &Record) -> String {
    let mut text = format!("no more {what} within {} seconds", STALLED_AFTER.as_secs());
    if !record.last_loss.is_empty() {
        text = format!("{text}; a session ended by itself: {}", record.last_loss);
    }
    text
}

/// What a service of a run is: its tasks go to the run's own nodes.
fn spec(run: Run, service: usize, tasks: u64) -> ServiceSpec {
    let container = ContainerSpec {
        image: "host".to_owned(),
        command: vec!["true".to_owned()],
        ..ContainerSpec::default()
    };
    let own_nodes = format!("engine.labels.{} == {}", fleet::LABEL, run.label());
    ServiceSpec {
        annotations: Some(Annotations { name: run.name(service), ..Annotations::default() }),
        task: Some(TaskSpec {
            runtime: Some(Runtime::Container(container)),
            placement: Some(Placement { constraints: vec![own_nodes], ..Placement::default() }),
            ..TaskSpec::default()
        }),
        mode: Some(Mode::Replicated(ReplicatedService { replicas: tasks })),
        ..ServiceSpec::default()
    }
}

/// Whoever does not listen any more is no reason to stop.
fn say(text: &str) {
    let mut stdout = std::io::stdout();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).ok();
}
