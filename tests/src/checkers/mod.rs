//! One checker per promise. Each says how often it compared something, and panics with what it
//! found when a promise is broken.

pub mod acknowledged;
pub mod agents;
pub mod answers;
pub mod deaths;
pub mod identities;
pub mod leaders;
pub mod logs;
pub mod loops;
pub mod members;
pub mod messages;
pub mod objects;
pub mod permits;
pub mod placements;
pub mod reads;
pub mod removed;
pub mod replicas;
pub mod restarts;
pub mod slots;
pub mod states;
pub mod subscribers;
pub mod tokens;
pub mod views;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{cluster::Cluster, oracle::Oracle};

/// How often the machines are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Everything that is remembered between two looks.
#[derive(Default)]
pub struct Checkers {
    leaders: leaders::Leaders,
    logs: logs::Logs,
    members: members::Members,
    removed: removed::Removed,
    views: views::Views,
    loops: loops::Loops,
    agents: agents::Agents,
    states: states::States,
    identities: identities::Identities,
    placements: placements::Placements,
    restarts: restarts::Restarts,
    /// The newest view whose tasks were looked at.
    tasks_seen: u64,
}

impl Checkers {
    /// Looks at all machines until `end`.
    pub async fn watch(&mut self, cluster: &Cluster, oracle: &Oracle, end: Instant) {
        while Instant::now() < end {
            sleep(LOOK_EVERY).await;
            self.look(cluster, oracle).await;
        }
    }

    /// Looks at all machines once.
    pub async fn look(&mut self, cluster: &Cluster, oracle: &Oracle) {
        self.leaders.check(&cluster.claims.borrow(), &cluster.counts);
        self.logs.check(cluster).await;
        self.members.check(cluster).await;
        self.removed.check(cluster);
        self.views.check(cluster, oracle);
        subscribers::check(cluster);
        if cluster.worker().is_some() {
            self.look_at_tasks(cluster);
        }
        if cluster.has_identities() {
            self.identities.check(cluster);
        }
        if let Some(broken) = cluster.network.broken() {
            panic!("{broken}");
        }
        deaths::check(cluster);
    }

    fn look_at_tasks(&mut self, cluster: &Cluster) {
        self.loops.check(cluster);
        self.agents.check(cluster);
        let Some(view) = cluster.newest_view().filter(|view| view.index() > self.tasks_seen) else {
            return;
        };
        self.tasks_seen = view.index();
        slots::check(&view, &cluster.counts);
        self.states.check(&view, &cluster.counts);
        self.placements.check(&view, &cluster.counts);
        self.restarts.check(&view, cluster.clock_set(), &cluster.counts);
    }

    /// Holds what only shows in the quiet state.
    pub async fn finish(&self, cluster: &Cluster, oracle: &Oracle) {
        for member in cluster.members() {
            let store = member.borrow().store().expect("everybody lives");
            acknowledged::check(&store.view(), oracle, &cluster.counts);
            objects::check(member.borrow().id, &store.view());
        }
        self.removed.finish(cluster).await;
        replicas::finish(cluster);
        self.views.finish(cluster, oracle);
        subscribers::finish(cluster);
        answers::finish(oracle, &cluster.counts).await;
        permits::finish(cluster).await;
    }
}
