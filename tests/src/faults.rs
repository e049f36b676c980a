//! Carries out the faults of a plan. What holds at a moment is all that has begun and not ended,
//! taken together: faults overlap, and none waits for another.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic,
    time::Duration,
};

use actors::{
    log::simulated::{Crash, Temper as DiskTemper},
    supervision::testing::doom,
};
use tokio::time::{Instant, sleep_until};

use crate::{
    cluster::{Cluster, FOUNDERS, MACHINES, start},
    fleet::{AGENTS, agent_id},
    member::Standing,
    membership,
    net::Temper as NetTemper,
    oracle::Oracle,
    plan::{Fault, Harm, Kind, Targets, Way},
};

/// What can be harmed in a cluster.
pub const TARGETS: Targets = Targets {
    members: FOUNDERS,
    machines: MACHINES,
    agents: 0,
    actors: &["core/raft", "core/store", "log/writer"],
    kinds: &[
        (Kind::Crash, 25),
        (Kind::PowerCut, 20),
        (Kind::Partition, 20),
        (Kind::Weather, 12),
        (Kind::SlowDisk, 15),
        (Kind::BrokenDisk, 8),
        (Kind::Death, 20),
        (Kind::Membership, 30),
        (Kind::Clock, 8),
    ],
};

/// How long a change of the group is tried.
const CHANGES_WITHIN: Duration = Duration::from_secs(15);

/// What can be harmed where leaders run their loops over a worker.
pub const TARGETS_WITH_LOOPS: Targets = Targets {
    members: FOUNDERS,
    machines: FOUNDERS,
    agents: AGENTS,
    actors: &[
        "core/raft",
        "core/store",
        "leadership",
        "leader/scheduler",
        "leader/replicated",
        "leader/restart",
        "leader/dispatcher",
    ],
    kinds: &[
        (Kind::Crash, 20),
        (Kind::Partition, 20),
        (Kind::Weather, 10),
        (Kind::SlowDisk, 20),
        (Kind::Death, 15),
        (Kind::Exits, 35),
        (Kind::Silence, 8),
    ],
};

/// What can be harmed where machines have certificates as well. Members come and go by what their
/// nodes are to be, which an operator says.
pub const TARGETS_WITH_IDENTITIES: Targets = Targets {
    members: MACHINES,
    machines: MACHINES,
    agents: AGENTS,
    actors: &[
        "core/raft",
        "core/store",
        "log/writer",
        "leadership",
        "leader/ca",
        "leader/roles",
        "leader/dispatcher",
    ],
    kinds: &[
        (Kind::Crash, 15),
        (Kind::PowerCut, 5),
        (Kind::Partition, 15),
        (Kind::Weather, 10),
        (Kind::SlowDisk, 10),
        (Kind::BrokenDisk, 5),
        (Kind::Death, 15),
        (Kind::Clock, 20),
        (Kind::Silence, 5),
    ],
};

/// Does all the harm of a plan, until `end`.
pub async fn inflict(cluster: Cluster, oracle: Oracle, plan: Vec<Fault>, end: Instant) {
    let began = Instant::now();
    let mut active = Active::default();
    let mut changes = Vec::new();
    for (when, edge, number) in edges(&plan) {
        let when = began + when;
        if when >= end {
            break;
        }
        sleep_until(when).await;
        let fault = &plan[number];
        match edge {
            Edge::End => {
                cluster.trace.note("fault", &fault.harm, "ends");
                active.end(&cluster, number);
                active.apply(&cluster);
                active.revive(&cluster).await;
            }
            Edge::Begin => {
                cluster.trace.note("fault", &fault.harm, "begins");
                if let Harm::Change(change) = fault.harm {
                    let (cluster, oracle) = (cluster.clone(), oracle.clone());
                    let end = end.min(when + CHANGES_WITHIN);
                    changes.push(spawn(async move {
                        membership::carry_out(&cluster, &oracle, change, end).await;
                    }));
                }
                active.begin(&cluster, number, fault);
                active.apply(&cluster);
            }
        }
    }
    for change in changes {
        if let Err(failed) = change.await {
            panic::resume_unwind(failed.into_panic());
        }
    }
}

/// Ends every fault; what has crashed comes back.
pub async fn heal(cluster: &Cluster) {
    cluster.trace.note("fault", "everything", "ends");
    let none = Active::default();
    none.apply(cluster);
    none.revive(cluster).await;
}

/// Starts whoever has ended since: of a write that failed while its disk was broken, a member may
/// hear only when it writes again.
pub async fn start_ended(cluster: &Cluster) {
    Active::default().revive(cluster).await;
}

/// A disk in a good hour.
pub fn good_disk() -> DiskTemper {
    let sync_time = Duration::from_micros(200)..Duration::from_millis(2);
    DiskTemper { sync_time, ..DiskTemper::default() }
}

/// At one moment, ends come before beginnings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    End,
    Begin,
}

/// When each fault begins and ends, in order. What lasts no time only begins.
fn edges(plan: &[Fault]) -> Vec<(Duration, Edge, usize)> {
    let mut edges: Vec<_> = plan
        .iter()
        .enumerate()
        .flat_map(|(number, fault)| {
            let end =
                (!fault.lasts.is_zero()).then_some((fault.at + fault.lasts, Edge::End, number));
            [(fault.at, Edge::Begin, number)].into_iter().chain(end)
        })
        .collect();
    edges.sort();
    edges
}

/// The faults that have begun and not ended.
#[derive(Default)]
struct Active {
    faults: BTreeMap<usize, Fault>,
    /// At which change of its disk a machine loses power.
    power_cuts: BTreeMap<usize, u64>,
}

impl Active {
    fn begin(&mut self, cluster: &Cluster, number: usize, fault: &Fault) {
        self.faults.insert(number, fault.clone());
        match &fault.harm {
            Harm::Crash { members, crash } => {
                for member in members {
                    cluster.member(*member).borrow_mut().crash(*crash);
                }
            }
            Harm::Death { member, actor, when } => {
                let member = cluster.member(*member).borrow();
                if member.is_alive() {
                    doom(&member.path(actor), *when);
                }
            }
            Harm::PowerCut { member, changes } => {
                let changed = cluster.member(*member).borrow().disk_changes();
                self.power_cuts.insert(number, changed + changes);
            }
            Harm::Partition { way: Way::Both, .. } => cluster.counts.count("fault: partition"),
            Harm::Partition { way: Way::In | Way::Out, .. } => {
                cluster.counts.count("fault: partition in one direction");
            }
            Harm::SlowDisk { .. } => cluster.counts.count("fault: slow disk"),
            Harm::Silence { .. } => cluster.counts.count("fault: agents fall silent"),
            Harm::Weather(_) | Harm::BrokenDisk { .. } | Harm::Change(_) => {}
            Harm::Clock { members, seconds } => {
                cluster.set_clocks(members, *seconds);
                cluster.counts.count("fault: clock set");
            }
            Harm::Exits { tasks, code } => {
                let worker = cluster.worker().expect("no tasks run here");
                for task in worker.running().iter().take(*tasks) {
                    worker.exit(task, *code);
                    cluster.counts.count("fault: task ended by itself");
                }
            }
        }
    }

    fn end(&mut self, cluster: &Cluster, number: usize) {
        let fault = self.faults.remove(&number).expect("it has begun");
        if let Harm::PowerCut { member, .. } = fault.harm {
            let mut member = cluster.member(member).borrow_mut();
            if self.power_cuts.get(&number).is_some_and(|at| member.disk_changes() >= *at) {
                member.crash(Crash::Power);
            }
        }
    }

    fn harms(&self) -> impl Iterator<Item = &Harm> {
        self.faults.values().map(|fault| &fault.harm)
    }

    /// Makes network and disks what the active faults say; of several of a kind, the newest.
    fn apply(&self, cluster: &Cluster) {
        if self.faults.len() > 1 {
            cluster.counts.count("fault: overlaps another");
        }
        let everybody: BTreeSet<_> = cluster.machines().map(|one| one.borrow().id).collect();
        let mut cut = BTreeSet::new();
        let mut weather = NetTemper::calm();
        let mut silent = BTreeSet::new();
        let mut disks = BTreeMap::new();
        for harm in self.harms() {
            match harm {
                Harm::Partition { members, way } => cut.extend(ways(members, &everybody, *way)),
                Harm::Weather(of) => weather = (*of).into(),
                Harm::SlowDisk { member, sync_millis } => {
                    let disk = disks.entry(*member).or_insert_with(good_disk);
                    let millis = Duration::from_millis;
                    disk.sync_time = millis(sync_millis.start)..millis(sync_millis.end);
                }
                Harm::BrokenDisk { member, operation } => {
                    disks.entry(*member).or_insert_with(good_disk).broken = Some(*operation);
                }
                Harm::PowerCut { .. }
                | Harm::Crash { .. }
                | Harm::Death { .. }
                | Harm::Change(_)
                | Harm::Clock { .. }
                | Harm::Exits { .. } => {}
                Harm::Silence { agents } => silent.extend(agents.iter().copied().map(agent_id)),
            }
        }
        cluster.fleet().silence(&silent);
        for (number, at) in &self.power_cuts {
            let harm = self.faults.get(number).map(|fault| &fault.harm);
            if let Some(Harm::PowerCut { member, .. }) = harm {
                let left = at.saturating_sub(cluster.member(*member).borrow().disk_changes());
                disks.entry(*member).or_insert_with(good_disk).changes_until_off = Some(left);
            }
        }
        cluster.network.set_cut(cut);
        cluster.network.set_temper(weather);
        for member in cluster.machines() {
            let id = member.borrow().id;
            member.borrow_mut().set_disk(disks.remove(&id).unwrap_or_else(good_disk));
        }
    }

    /// Starts whoever is held down by nothing any more.
    async fn revive(&self, cluster: &Cluster) {
        for member in cluster.members() {
            let id = member.borrow().id;
            let is_held = self.harms().any(|harm| match harm {
                Harm::Crash { members, .. } => members.contains(&id),
                Harm::BrokenDisk { member, .. } | Harm::PowerCut { member, .. } => *member == id,
                Harm::Partition { .. }
                | Harm::Weather(_)
                | Harm::SlowDisk { .. }
                | Harm::Death { .. }
                | Harm::Change(_)
                | Harm::Clock { .. }
                | Harm::Silence { .. }
                | Harm::Exits { .. } => false,
            });
            if is_held {
                continue;
            }
            if member.borrow().knows_removal() {
                member.borrow_mut().standing = Standing::Removed;
                continue;
            }
            // Its process has ended when its disk failed.
            if member.borrow().end().is_some() {
                cluster.counts.count("fault: disk failed");
                member.borrow_mut().crash(Crash::Process);
            }
            start(member).await;
        }
    }
}

/// The ways between two members on which nothing arrives, from and to.
pub fn ways(members: &BTreeSet<u64>, everybody: &BTreeSet<u64>, way: Way) -> BTreeSet<(u64, u64)> {
    let between = |(from, to): (u64, u64)| match way {
        Way::Both => vec![(from, to), (to, from)],
        Way::In => vec![(to, from)],
        Way::Out => vec![(from, to)],
    };
    let others = everybody.difference(members);
    let pairs = others.flat_map(|other| members.iter().map(|member| (*member, *other)));
    pairs.flat_map(between).collect()
}

#[expect(clippy::disallowed_methods, reason = "an operator is no actor")]
fn spawn(future: impl Future<Output = ()> + 'static) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_local(future)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::at;

    #[test]
    fn a_partition_cuts_the_ways_that_it_says() {
        let (members, everybody) = (BTreeSet::from([2]), BTreeSet::from([1, 2, 3]));
        assert_eq!(ways(&members, &everybody, Way::In), [(1, 2), (3, 2)].into());
        assert_eq!(ways(&members, &everybody, Way::Out), [(2, 1), (2, 3)].into());
        assert_eq!(ways(&members, &everybody, Way::Both).len(), 4);
    }

    #[test]
    fn faults_overlap_and_end_in_their_own_time() {
        let plan = [
            at(10).lasting(30).crash([1], Crash::Power),
            at(20).lasting(10).partition([2], Way::Both),
            at(30).death(3, "core/raft", actors::supervision::testing::When::BeforeHandling),
        ];
        let (begin, end, millis) = (Edge::Begin, Edge::End, Duration::from_millis);
        let expected = [
            (millis(10), begin, 0),
            (millis(20), begin, 1),
            (millis(30), end, 1),
            (millis(30), begin, 2),
            (millis(40), end, 0),
        ];
        assert!(edges(&plan) == expected);
    }
}
