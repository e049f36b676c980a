//! Carries raft messages to other managers, each on a line of its own.

mod joined;
mod line;
mod parts;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use actors::{
    raft::{Report, Transport},
    supervision::Recipient,
};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use protocol::raftpb::{self, MessageType};
use rustls::ClientConfig;
use tokio::sync::mpsc::{self, error::TrySendError};

use self::line::{Line, lost};
pub use self::parts::{Assembly, Unfit};
use super::{Book, Directory};

/// Messages for all members that no line has taken yet.
const ON_THE_WAY_MAX: usize = 4096;

/// Snapshots that no line has taken yet. Raft sends a member none while one is on its way, so there
/// are never more than members.
const SNAPSHOTS_ON_THE_WAY_MAX: usize = 256;

/// Messages for one member; what is more is lost, and raft told so.
const WAITING_MAX: usize = 4096;

/// Metadata of a call with messages: where the manager that calls listens. SwarmKit's know nothing of
/// it.
pub(crate) const ADDRESS: &str = "raft-address";

/// Takes messages from raft; a [`Post`] carries them.
pub struct Carrier {
    messages: mpsc::Sender<raftpb::Message>,
    /// Raft waits for what becomes of a snapshot, so there is always room for it.
    snapshots: mpsc::Sender<raftpb::Message>,
}

/// Carries what its carrier has taken, as long as it runs.
pub struct Post {
    messages: mpsc::Receiver<raftpb::Message>,
    snapshots: mpsc::Receiver<raftpb::Message>,
    lines: BTreeMap<u64, mpsc::Sender<raftpb::Message>>,
    running: FuturesUnordered<BoxFuture<'static, u64>>,
    way: Way,
}

/// How members are called.
#[derive(Clone)]
pub struct Way {
    /// Where they are.
    pub directory: Directory,
    /// Where managers were that the log may not know: they may know where a member is.
    pub book: Book,
    /// As whom.
    pub tls: Arc<ClientConfig>,
    /// Where this manager listens itself.
    pub address: String,
}

impl Carrier {
    /// Carries to members, and finds them in some way.
    pub fn new(way: Way) -> (Arc<Self>, Post) {
        let (give, messages) = mpsc::channel(ON_THE_WAY_MAX);
        let (give_snapshot, snapshots) = mpsc::channel(SNAPSHOTS_ON_THE_WAY_MAX);
        let (lines, running) = (BTreeMap::new(), FuturesUnordered::new());
        let carrier = Self { messages: give, snapshots: give_snapshot };
        (Arc::new(carrier), Post { messages, snapshots, lines, running, way })
    }
}

impl Transport for Carrier {
    fn send(&self, message: raftpb::Message) {
        let way =
            if message.r#type() == MessageType::MsgSnap { &self.snapshots } else { &self.messages };
        // What does not fit is lost, as on any network; raft says it again.
        way.try_send(message).ok();
    }
}

impl Post {
    /// Carries messages until the carrier is dropped. What becomes of them is told to `raft`.
    pub async fn run(mut self, raft: Recipient<Report>) {
        loop {
            tokio::select! {
                biased;
                Some(ended) = self.running.next() => drop(self.lines.remove(&ended)),
                Some(snapshot) = self.snapshots.recv() => self.take(snapshot, &raft).await,
                message = self.messages.recv() => match message {
                    Some(message) => self.take(message, &raft).await,
                    None => return,
                },
            }
        }
    }

    async fn take(&mut self, message: raftpb::Message, raft: &Recipient<Report>) {
        let to = message.to.unwrap_or_default();
        let line = self.lines.entry(to).or_insert_with(|| {
            let (line, waiting) = mpsc::channel(WAITING_MAX);
            let reports = raft.clone();
            self.running.push(Box::pin(Line::new(to, self.way.clone(), reports, waiting).run()));
            line
        });
        if let Err(TrySendError::Full(message) | TrySendError::Closed(message)) =
            line.try_send(message)
        {
            lost(raft, &message).await;
        }
    }
}
