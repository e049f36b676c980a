//! The dispatcher for the agent of its own process: no connection, the same calls.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use futures_util::{FutureExt, StreamExt, future::LocalBoxFuture, stream};
use prost_types::Timestamp;
use protocol::{
    id::{NodeId, SessionId},
    wire,
};
use tokio::sync::mpsc;

use super::{
    CountSessions, Dispatcher, Error, OpenAssignments, OpenSession, UpdateTaskStatus, now,
    sessions::Sessions,
};
use crate::{
    agent::port::{Answer, Manager, ManagerError, Managers, Messages, News},
    raft::Standing,
    supervision::{Address, Closed},
};

/// Where the dispatcher of this process and what is around it meet: it is there while the process
/// leads. Clones are the same seat.
#[derive(Clone, Default)]
pub struct Seat {
    dispatcher: Arc<ArcSwapOption<Address<Dispatcher>>>,
    standing: Standing,
    doubt: Arc<ArcSwapOption<Doubt>>,
    pub(super) sessions: Sessions,
}

/// A leader believes that it is deaf itself, because so many nodes fell silent together. Nothing of
/// theirs is replaced until half of the nodes are back, an operator says so
/// ([`super::BelieveSilence`]), or ten minutes have passed.
#[derive(Clone, Debug, PartialEq)]
pub struct Doubt {
    /// Since when.
    pub since: Timestamp,
    /// How many nodes were ready before.
    pub ready: usize,
    /// How many of them are there now.
    pub present: usize,
}

impl Seat {
    /// A seat whose dispatcher finds there who the managers are.
    pub fn new(standing: Standing) -> Self {
        Self { standing, ..Self::default() }
    }

    /// Returns where the dispatcher finds who the managers are.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// A dispatcher has begun.
    pub fn take(&self, dispatcher: Address<Dispatcher>) {
        self.dispatcher.store(Some(Arc::new(dispatcher)));
    }

    /// It is about to end.
    pub fn leave(&self) {
        self.dispatcher.store(None);
        self.doubt.store(None);
        self.sessions.close();
    }

    /// How many nodes have a session with the leader in this process; none without one. Not known
    /// when the dispatcher does not answer.
    pub async fn count_sessions(&self) -> Option<usize> {
        match self.dispatcher() {
            Some(dispatcher) => dispatcher.send(CountSessions).await.ok(),
            None => Some(0),
        }
    }

    /// Returns the dispatcher, while this process leads.
    pub fn dispatcher(&self) -> Option<Address<Dispatcher>> {
        self.dispatcher.load_full().map(|dispatcher| Address::clone(&dispatcher))
    }

    /// Notes that a node lives. Returns the time until it must be heard again.
    ///
    /// Any thread may call it, and is answered at once, however busy the dispatcher is; what is
    /// answered counts when the dispatcher judges.
    pub fn heartbeat(&self, node: &NodeId, session: &SessionId) -> Result<Duration, Error> {
        if self.dispatcher.load().is_none() {
            return Err(Error::Stopped);
        }
        self.sessions.hear(node, session, now())
    }

    /// Returns what the leader in this process doubts, if it does.
    pub fn doubt(&self) -> Option<Arc<Doubt>> {
        self.doubt.load_full()
    }

    pub(super) fn show_doubt(&self, doubt: Option<Doubt>) {
        self.doubt.store(doubt.map(Arc::new));
    }
}

/// The manager in this process, when it leads.
pub struct LocalManagers {
    node: NodeId,
    seat: Seat,
}

impl LocalManagers {
    /// For the agent of `node`.
    pub fn new(node: NodeId, seat: Seat) -> Self {
        Self { node, seat }
    }

    /// Returns the manager, while it leads.
    pub fn leading(&self) -> Option<Arc<dyn Manager>> {
        let dispatcher = self.seat.dispatcher()?;
        let (node, seat) = (self.node.clone(), self.seat.clone());
        Some(Arc::new(LocalManager { node, seat, dispatcher }))
    }
}

impl Managers for LocalManagers {
    fn choose(&self) -> Answer<Arc<dyn Manager>> {
        let failed = || ManagerError::Failed("no manager leads".to_owned());
        let chosen = self.leading().ok_or_else(failed);
        Box::pin(async move { chosen })
    }

    /// A manager knows all that by itself.
    fn hear(&self, _: News) {}
}

struct LocalManager {
    node: NodeId,
    seat: Seat,
    dispatcher: Address<Dispatcher>,
}

impl Manager for LocalManager {
    fn session(&self, request: wire::SessionRequest) -> Messages<wire::SessionMessage> {
        let (node, addr) = (self.node.clone(), Some(Ipv4Addr::LOCALHOST.into()));
        messages(self.dispatcher.send(OpenSession { node, addr, request }))
    }

    fn heartbeat(&self, request: wire::HeartbeatRequest) -> Answer<wire::HeartbeatResponse> {
        let (node, seat) = (self.node.clone(), self.seat.clone());
        Box::pin(async move {
            let period = seat.heartbeat(&node, &request.session_id.into());
            let period = period.map_err(|error| ManagerError::Failed(error.to_string()))?;
            let period = prost_types::Duration::try_from(period).ok();
            Ok(wire::HeartbeatResponse { period })
        })
    }

    fn assignments(&self, request: wire::AssignmentsRequest) -> Messages<wire::AssignmentsMessage> {
        let (node, session) = (self.node.clone(), SessionId::from(request.session_id));
        messages(self.dispatcher.send(OpenAssignments { node, session }))
    }

    fn update_task_status(
        &self,
        request: wire::UpdateTaskStatusRequest,
    ) -> Answer<wire::UpdateTaskStatusResponse> {
        let taken = self.dispatcher.send(UpdateTaskStatus::new(self.node.clone(), request));
        Box::pin(async move {
            answered(taken.await)?;
            Ok(wire::UpdateTaskStatusResponse {})
        })
    }
}

/// What an agent makes of an answer: whatever is refused, it begins a new session.
fn answered<T>(answer: Result<Result<T, Error>, Closed>) -> Result<T, ManagerError> {
    let answer = answer.map_err(|Closed| Error::Stopped).and_then(|answer| answer);
    answer.map_err(|error| ManagerError::Failed(error.to_string()))
}

/// The messages of a stream that is being opened.
fn messages<T: 'static>(
    opened: impl Future<Output = Result<Result<mpsc::Receiver<T>, Error>, Closed>> + 'static,
) -> Messages<T> {
    let opened: LocalBoxFuture<'static, _> = opened.map(answered).boxed_local();
    let flowing = opened.map(|opened| match opened {
        Ok(receiver) => stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|message| (Ok(message), receiver))
        })
        .boxed_local(),
        Err(error) => stream::iter([Err(error)]).boxed_local(),
    });
    flowing.flatten_stream().boxed_local()
}
