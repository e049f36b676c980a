//! What this node tells Prometheus of itself: a page of text, made anew for whoever asks.
//!
//! Names and labels are SwarmKit's where it has them. Nothing here holds up an actor: the store is
//! read by its published view, actors by their census, and raft and the dispatcher are each asked one
//! question, which they may leave open.

mod counts;
mod page;
mod process;
mod server;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use actors::{
    dispatcher::Seat,
    raft::{GetStatus, Status},
    store::Store,
    supervision::{Census, Recipient},
};
use arc_swap::ArcSwapOption;
use protocol::id::{ClusterId, NodeId};
use tokio::{task::spawn_blocking, time::timeout};

use self::{
    counts::Counter,
    page::{ManagerMoment, Moment},
    process::Process,
};
pub use self::{
    counts::Counts,
    server::{Error, Server},
};

/// How long raft and the dispatcher may take to answer. What they would have said is left out of a
/// page that they let wait for longer: the rest of it tells why.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What a page is made of.
#[derive(Clone)]
pub struct Sources {
    /// Who this node is.
    pub node_id: NodeId,
    /// Whose it is.
    pub cluster_id: ClusterId,
    /// The actors of this process.
    pub census: Census,
    /// What there is while this node is a manager.
    pub manager: Arc<ArcSwapOption<Manager>>,
}

/// What a manager is asked.
pub struct Manager {
    store: Store,
    status: Recipient<GetStatus>,
    seat: Seat,
    counter: Counter,
}

impl Manager {
    /// Asks these parts of a manager.
    pub fn new(store: Store, status: Recipient<GetStatus>, seat: Seat) -> Self {
        Self { store, status, seat, counter: Counter::default() }
    }

    async fn moment(&self) -> ManagerMoment {
        let sessions = timeout(ANSWER_WITHIN, self.seat.count_sessions());
        let (status, sessions, counts) =
            tokio::join!(self.status(), sessions, self.counter.count(&self.store));
        ManagerMoment { status, sessions: sessions.ok().flatten(), counts }
    }

    async fn status(&self) -> Option<Status> {
        timeout(ANSWER_WITHIN, self.status.send(GetStatus)).await.ok()?.ok()?
    }
}

impl Sources {
    /// The page of this moment.
    pub async fn page(&self) -> String {
        let manager = match self.manager.load_full() {
            Some(manager) => Some(manager.moment().await),
            None => None,
        };
        let process = spawn_blocking(Process::read).await.unwrap_or_default();
        let (node_id, cluster_id) = (self.node_id.clone(), self.cluster_id.clone());
        let actors = self.census.report();
        page::text(&Moment { node_id, cluster_id, actors, process, manager })
    }
}
