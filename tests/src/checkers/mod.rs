//! One checker per promise. Each says how often it compared something, and panics with what it
//! found when a promise is broken.

pub mod acknowledged;
pub mod deaths;
pub mod leaders;
pub mod logs;
pub mod reads;
pub mod views;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{cluster::Cluster, oracle::Oracle};

/// How often the members are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Everything that is remembered between two looks.
#[derive(Default)]
pub struct Checkers {
    leaders: leaders::Leaders,
    logs: logs::Logs,
    views: views::Views,
}

impl Checkers {
    /// Looks at all members until `end`.
    pub async fn watch(&mut self, cluster: &Cluster, oracle: &Oracle, end: Instant) {
        while Instant::now() < end {
            sleep(LOOK_EVERY).await;
            self.look(cluster, oracle).await;
        }
    }

    /// Looks at all members once.
    pub async fn look(&mut self, cluster: &Cluster, oracle: &Oracle) {
        self.leaders.check(&cluster.claims.borrow(), &cluster.counts);
        self.logs.check(cluster).await;
        self.views.check(cluster, oracle);
        deaths::check(cluster);
    }

    /// What was seen by anybody must still be there.
    pub fn finish(&self, cluster: &Cluster) {
        self.views.finish(cluster);
    }
}
