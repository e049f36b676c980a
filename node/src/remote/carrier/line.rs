//! The line to one member: connects, says one message after the other, and tells raft what became
//! of them.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actors::{
    raft::{Delivery, Removed, Report},
    supervision::Recipient,
};
use futures_util::{
    future::{BoxFuture, OptionFuture},
    stream,
};
use protocol::{
    raftpb::{self, MessageType},
    wire::{ProcessRaftMessageRequest, ResolveAddressRequest, raft_client::RaftClient},
};
use rand::{Rng, rngs::OsRng};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Request, Status, metadata::AsciiMetadataValue, transport::Channel};

use super::{ADDRESS, Way, joined::joined, parts::parts};
use crate::remote::{Connection, DialError, Name, described, dial};

/// How long one part may take.
const PART_WITHIN: Duration = Duration::from_secs(2);

/// How long a member may take to read a snapshot that it has.
const READ_WITHIN: Duration = Duration::from_secs(120);

/// How long to wait before a member is called again that cannot be reached: at first, and at most.
const CALL_AGAIN_AFTER: Duration = Duration::from_millis(50);
const CALL_AGAIN_AFTER_MAX: Duration = Duration::from_secs(1);

/// After so many failures in a row a member is missed.
const MISSED_AFTER: u32 = 3;

/// A leader that has gone is called this often, in milliseconds: whether somebody listens there
/// again is asked of the machine, which says so at once.
const HINT_EVERY: std::ops::Range<u64> = 60..90;

/// A process that ends may close its connections before its port: so often, and so long after each
/// other, a leader is called whose machine has taken the call and dropped it.
const DROPPED_MAX: u32 = 5;
const DROPPED_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// A line that nobody uses is given up.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The line to one member.
pub(super) struct Line {
    to: u64,
    way: Way,
    /// Where this manager listens, as calls say it; none if that cannot be said.
    address: Option<AsciiMetadataValue>,
    raft: Recipient<Report>,
    waiting: mpsc::Receiver<raftpb::Message>,
    /// How often the member could not be reached in a row.
    failures: u32,
    /// Whether the log says that it cannot be reached.
    is_missed: bool,
}

/// How a conversation ended.
enum End {
    /// The other end closed the connection, or it broke: what was said did not arrive.
    Closed,
    /// The member has moved, or this node has another certificate: connect anew.
    Again,
    /// Nobody has anything to say.
    Idle,
}

/// What became of one message.
type Outcome = Result<(), Status>;

/// A message on its way.
type Sending = BoxFuture<'static, (raftpb::Message, Outcome)>;

impl Line {
    pub(super) fn new(
        to: u64,
        way: Way,
        raft: Recipient<Report>,
        waiting: mpsc::Receiver<raftpb::Message>,
    ) -> Self {
        let address = AsciiMetadataValue::try_from(&way.address).ok();
        Self { to, way, address, raft, waiting, failures: 0, is_missed: false }
    }

    /// Carries messages until nobody has any. Returns whose line it was.
    pub(super) async fn run(mut self) -> u64 {
        while let Ok(Some(first)) = timeout(IDLE_MAX, self.waiting.recv()).await {
            match self.connect().await {
                Ok((address, connection)) => {
                    self.reached();
                    match self.talk(&address, connection, Some(first)).await {
                        End::Closed => self.hint().await,
                        End::Again => {}
                        End::Idle => break,
                    }
                }
                Err(error) => {
                    self.missed(&error);
                    self.lost(&first).await;
                    if self.is_missed {
                        let found = self.resolve().await;
                        self.way.directory.doubt(self.to, found);
                    }
                    self.give_up().await;
                }
            }
        }
        self.close().await;
        self.to
    }

    /// Takes nothing more. What came meanwhile is lost, and nobody else would say so.
    async fn close(&mut self) {
        self.waiting.close();
        while let Some(message) = self.waiting.recv().await {
            self.lost(&message).await;
        }
    }

    /// Says `first` and what waits until the conversation ends, and then what was lost by that. Raft sends a
    /// member nothing while it believes that a snapshot is on its way there.
    async fn talk(
        &mut self,
        address: &str,
        connection: Connection,
        mut first: Option<raftpb::Message>,
    ) -> End {
        let mut snapshot = None;
        let end = self.converse(address, connection, &mut first, &mut snapshot).await;
        if snapshot.is_some() {
            self.tell(Delivery::SnapshotLost).await;
        }
        if let Some(unsaid) = first {
            self.lost(&unsaid).await;
        }
        end
    }

    /// Says one message after the other, those together that can be one; a snapshot goes beside the
    /// rest, and is left in `snapshot` when the conversation ends before it has arrived, as the next
    /// message is in `first`.
    async fn converse(
        &mut self,
        address: &str,
        connection: Connection,
        first: &mut Option<raftpb::Message>,
        snapshot: &mut Option<Sending>,
    ) -> End {
        let Connection { channel, mut ended, shown, .. } = connection;
        loop {
            let arrived: OptionFuture<_> = snapshot.as_mut().into();
            let waiting = async {
                match first.take() {
                    Some(first) => Some(first),
                    None => timeout(IDLE_MAX, self.waiting.recv()).await.unwrap_or_default(),
                }
            };
            let message = tokio::select! {
                biased;
                _ = &mut ended => return End::Closed,
                Some((message, outcome)) = arrived => {
                    *snapshot = None;
                    if !self.told(&message, outcome).await {
                        return End::Closed;
                    }
                    continue;
                }
                message = waiting => message,
            };
            let Some(message) = message else { return End::Idle };
            let has_moved = self.way.directory.address(self.to).is_some_and(|now| now != address);
            // The member goes by the certificate that the connection was made with.
            if has_moved || snapshot.is_none() && shown.is_outdated() {
                self.lost(&message).await;
                return End::Again;
            }
            if message.r#type() == MessageType::MsgSnap {
                if snapshot.is_some() {
                    self.tell(Delivery::SnapshotLost).await;
                } else {
                    *snapshot =
                        Some(Box::pin(sent(channel.clone(), message, self.address.clone())));
                }
                continue;
            }
            let (message, next) = joined(message, || self.waiting.try_recv().ok());
            *first = next;
            let address = self.address.clone();
            let (message, outcome) = sent(channel.clone(), message, address).await;
            if !self.told(&message, outcome).await {
                return End::Closed;
            }
        }
    }

    /// Tells raft what became of a message. Returns whether the line can go on.
    async fn told(&mut self, message: &raftpb::Message, outcome: Outcome) -> bool {
        match outcome {
            Ok(()) => {
                if message.r#type() == MessageType::MsgSnap {
                    self.tell(Delivery::SnapshotArrived).await;
                }
                true
            }
            Err(status) if is_removal(&status) => {
                self.tell(Delivery::RefusedAsRemoved).await;
                true
            }
            Err(status) => {
                tracing::debug!(to = self.to, error = status.message(), "a message got lost");
                self.lost(message).await;
                false
            }
        }
    }

    /// A message did not arrive.
    async fn lost(&self, message: &raftpb::Message) {
        lost(&self.raft, message).await;
    }

    async fn tell(&self, delivery: Delivery) {
        self.raft.send(Report { to: self.to, delivery }).await.ok();
    }

    /// Says in the log when a member is back.
    fn reached(&mut self) {
        self.failures = 0;
        if std::mem::take(&mut self.is_missed) {
            tracing::info!(raft_id = self.to, "a manager is back");
        }
    }

    /// Says in the log when a member has gone. One that is just starting is given a moment.
    fn missed(&mut self, error: &DialError) {
        self.failures = self.failures.saturating_add(1);
        let (raft_id, error) = (self.to, described(error));
        if self.failures == MISSED_AFTER {
            self.is_missed = true;
            tracing::warn!(raft_id, error, "a manager cannot be reached");
        } else {
            tracing::debug!(raft_id, error, "a manager cannot be reached");
        }
    }

    /// Waits before the member is called again. What was to be said meanwhile is old then.
    async fn give_up(&mut self) {
        let pause = CALL_AGAIN_AFTER * (1 << self.failures.min(8));
        let pause = pause.min(CALL_AGAIN_AFTER_MAX);
        let until = Instant::now() + pause;
        let mut waited = pin!(tokio::time::sleep_until(until));
        loop {
            tokio::select! {
                biased;
                () = &mut waited => return,
                message = self.waiting.recv() => match message {
                    Some(message) => self.lost(&message).await,
                    None => return,
                },
            }
        }
    }

    /// The connection to the leader is over. As long as its machine says that nobody listens there any
    /// more, and no other leads, raft need not wait for the leader (architecture §8). Raft forgets a
    /// leader that it hears this of, and may hear an old message of its.
    async fn hint(&self) {
        let leads = |leader| leader == self.to;
        if !self.leader().is_some_and(leads) {
            return;
        }
        let mut dropped = 0;
        while self.leader().is_none_or(leads) {
            match self.connect().await {
                Err(DialError::Refused { .. }) => {
                    self.tell(Delivery::Refused).await;
                    sleep(Duration::from_millis(OsRng.gen_range(HINT_EVERY))).await;
                }
                Err(DialError::Handshake { .. }) if dropped < DROPPED_MAX => {
                    dropped += 1;
                    sleep(DROPPED_AGAIN_AFTER * dropped).await;
                }
                Ok(_) | Err(_) => return,
            }
        }
    }

    fn leader(&self) -> Option<u64> {
        self.way.directory.standing().group().leader
    }

    async fn connect(&self) -> Result<(String, Connection), DialError> {
        let address = match self.way.directory.address(self.to) {
            Some(address) => address,
            None => self.resolve().await.unwrap_or_default(),
        };
        let connection = dial(&address, Name::Manager, self.way.tls.clone()).await?;
        let expected = self.way.directory.node_id(self.to);
        if connection.node_id.is_none() || connection.node_id != expected {
            return Err(DialError::Foreign { address });
        }
        Ok((address, connection))
    }

    /// Asks other managers where this one is; one of those that are remembered may be this one.
    async fn resolve(&self) -> Option<String> {
        let known = self.way.directory.others();
        let remembered = self.way.book.addresses().into_iter();
        let remembered: Vec<_> = remembered.filter(|other| !known.contains(other)).collect();
        for other in known.into_iter().chain(remembered) {
            let Ok(connection) = dial(&other, Name::Manager, self.way.tls.clone()).await else {
                continue;
            };
            let asked = ResolveAddressRequest { raft_id: self.to };
            let mut other = RaftClient::new(connection.channel);
            if let Ok(Ok(found)) = timeout(PART_WITHIN, other.resolve_address(asked)).await {
                return Some(found.into_inner().addr);
            }
        }
        None
    }
}

/// Tells raft that a message did not arrive.
pub(super) async fn lost(raft: &Recipient<Report>, message: &raftpb::Message) {
    let to = message.to.unwrap_or_default();
    if message.r#type() == MessageType::MsgSnap {
        raft.send(Report { to, delivery: Delivery::SnapshotLost }).await.ok();
    }
    raft.send(Report { to, delivery: Delivery::Unreachable }).await.ok();
}

fn is_removal(status: &Status) -> bool {
    status.code() == Code::NotFound && status.message() == Removed.to_string()
}

/// Says one message, and waits until the member has taken it.
async fn sent(
    channel: Channel,
    message: raftpb::Message,
    address: Option<AsciiMetadataValue>,
) -> (raftpb::Message, Outcome) {
    let outcome = match streamed(channel.clone(), message.clone(), address).await {
        Err(status) if status.code() == Code::Unimplemented => whole(channel, &message).await,
        outcome => outcome,
    };
    (message, outcome)
}

/// Says one message in as many parts as it needs. As long as parts go out, it is not given up.
async fn streamed(
    channel: Channel,
    message: raftpb::Message,
    address: Option<AsciiMetadataValue>,
) -> Outcome {
    let (is_snapshot, parts) = (message.r#type() == MessageType::MsgSnap, parts(message));
    let (all, gone) = (parts.len(), Arc::new(AtomicUsize::new(0)));
    let counter = gone.clone();
    let parts = stream::iter(parts.inspect(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    let mut member = RaftClient::new(channel);
    let mut request = Request::new(parts);
    if let Some(address) = address {
        request.metadata_mut().insert(ADDRESS, address);
    }
    let mut call = pin!(member.stream_raft_message(request));
    loop {
        let before = gone.load(Ordering::Relaxed);
        let within = if is_snapshot && before == all { READ_WITHIN } else { PART_WITHIN };
        match timeout(within, &mut call).await {
            Ok(answered) => return answered.map(drop),
            Err(_) if gone.load(Ordering::Relaxed) == before => return Err(late()),
            Err(_) => {}
        }
    }
}

/// Says one message to a member that does not take streams.
async fn whole(channel: Channel, message: &raftpb::Message) -> Outcome {
    let mut member = RaftClient::new(channel);
    let request = ProcessRaftMessageRequest { message: Some(message.clone()) };
    let answered = timeout(PART_WITHIN, member.process_raft_message(request)).await;
    answered.map_err(|_| late()).and_then(|answered| answered.map(drop))
}

fn late() -> Status {
    Status::deadline_exceeded("it took too long")
}
