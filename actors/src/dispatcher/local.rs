//! The dispatcher for the agent of its own process: no connection, the same calls.

use std::{net::Ipv4Addr, sync::Arc};

use arc_swap::ArcSwapOption;
use futures_util::{FutureExt, StreamExt, future::LocalBoxFuture, stream};
use protocol::{
    id::{NodeId, SessionId, TaskId},
    wire,
};
use tokio::sync::mpsc;

use super::{Dispatcher, Error, Heartbeat, OpenAssignments, OpenSession, UpdateTaskStatus};
use crate::{
    agent::port::{Answer, Manager, ManagerError, Managers, Messages},
    supervision::{Address, Closed},
};

/// Where the dispatcher of this process is while the process leads. Clones are the same seat.
#[derive(Clone, Default)]
pub struct Seat(Arc<ArcSwapOption<Address<Dispatcher>>>);

impl Seat {
    /// A dispatcher has begun.
    pub fn take(&self, dispatcher: Address<Dispatcher>) {
        self.0.store(Some(Arc::new(dispatcher)));
    }

    /// It is about to end.
    pub fn leave(&self) {
        self.0.store(None);
    }

    fn dispatcher(&self) -> Option<Address<Dispatcher>> {
        self.0.load_full().map(|dispatcher| Address::clone(&dispatcher))
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
}

impl Managers for LocalManagers {
    fn choose(&self) -> Answer<Arc<dyn Manager>> {
        let chosen = self.seat.dispatcher().map(|dispatcher| {
            Arc::new(LocalManager { node: self.node.clone(), dispatcher }) as Arc<dyn Manager>
        });
        let failed = || ManagerError::Failed("no manager leads".to_owned());
        Box::pin(async move { chosen.ok_or_else(failed) })
    }
}

struct LocalManager {
    node: NodeId,
    dispatcher: Address<Dispatcher>,
}

impl Manager for LocalManager {
    fn session(&self, request: wire::SessionRequest) -> Messages<wire::SessionMessage> {
        let (node, addr) = (self.node.clone(), Some(Ipv4Addr::LOCALHOST.into()));
        messages(self.dispatcher.send(OpenSession { node, addr, request }))
    }

    fn heartbeat(&self, request: wire::HeartbeatRequest) -> Answer<wire::HeartbeatResponse> {
        let (node, session) = (self.node.clone(), SessionId::from(request.session_id));
        let heard = self.dispatcher.send(Heartbeat { node, session });
        Box::pin(async move {
            let period = answered(heard.await)?;
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
        let (node, session) = (self.node.clone(), SessionId::from(request.session_id));
        let updates = request.updates.into_iter();
        let updates = updates
            .map(|update| (TaskId::from(update.task_id), update.status.unwrap_or_default()))
            .collect();
        let taken = self.dispatcher.send(UpdateTaskStatus { node, session, updates });
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
