//! One manager over the network: a connection for streams, and one for what must not wait behind
//! them.

use std::sync::Arc;

use actors::agent::port::{Answer, Manager, ManagerError, Messages};
use futures_util::{
    FutureExt, StreamExt, TryStreamExt,
    future::{join, ready},
    stream,
};
use protocol::wire::{
    AssignmentsMessage, AssignmentsRequest, HeartbeatRequest, HeartbeatResponse, SessionMessage,
    SessionRequest, TasksRequest, UpdateTaskStatusRequest, UpdateTaskStatusResponse,
    dispatcher_client::DispatcherClient,
};
use rustls::ClientConfig;
use tonic::{Code, Response, Status, Streaming, transport::Channel};

use super::{Attempt, Lane, lists};
use crate::remote::{Connection, DialError, Name, Shown, described, dial};

/// The largest message that is taken of a manager: all tasks of a node may be in one.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A manager that this node is connected to.
pub(super) struct RemoteManager {
    attempt: Arc<Attempt>,
    /// Sessions and assignments.
    streams: DispatcherClient<Channel>,
    /// Heartbeats and statuses: nothing large comes this way.
    quick: DispatcherClient<Channel>,
    /// As whom the manager knows this node on either.
    shown: [Shown; 2],
    /// The connection for what is quick ends with it.
    _lane: Lane,
}

impl RemoteManager {
    /// Connects twice. The connection for heartbeats lives on the lane, whatever this thread does.
    pub(super) async fn connect(
        attempt: Attempt,
        tls: Arc<ClientConfig>,
        lane: Lane,
    ) -> Result<Self, ManagerError> {
        let address = attempt.address().to_owned();
        let again = tls.clone();
        let quick = lane
            .run(move || async move { dial(&address, Name::Manager, again).await }.boxed_local());
        let streams = dial(attempt.address(), Name::Manager, tls);
        let (streams, quick) = join(streams, quick).await;
        let gone = || ManagerError::Failed("the heartbeats' thread is gone".to_owned());
        let (streams, shown) = client(streams)?;
        let (quick, shown_too) = client(quick.ok_or_else(gone)?)?;
        let shown = [shown, shown_too];
        Ok(Self { attempt: Arc::new(attempt), streams, quick, shown, _lane: lane })
    }
}

fn client(
    connected: Result<Connection, DialError>,
) -> Result<(DispatcherClient<Channel>, Shown), ManagerError> {
    let Connection { channel, shown, .. } =
        connected.map_err(|error| ManagerError::Failed(described(&error)))?;
    let client = DispatcherClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Ok((client, shown))
}

/// What the agent makes of a refusal: what nobody knows it need not say again.
fn failed(status: Status) -> ManagerError {
    let text = status.message().to_owned();
    if status.code() == Code::NotFound {
        ManagerError::NotFound(text)
    } else {
        ManagerError::Failed(format!("{}: {text}", status.code()))
    }
}

/// The messages of a stream that is being opened.
fn messages<T: Send + 'static>(
    opened: impl Future<Output = Result<Response<Streaming<T>>, Status>> + 'static,
) -> Messages<T> {
    let flowing = opened.map(|opened| match opened {
        Ok(response) => response.into_inner().map(|message| message.map_err(failed)).left_stream(),
        Err(status) => stream::iter([Err(failed(status))]).right_stream(),
    });
    flowing.flatten_stream().boxed_local()
}

impl Manager for RemoteManager {
    fn is_outdated(&self) -> bool {
        self.shown.iter().any(Shown::is_outdated)
    }

    fn let_go(&self) {
        self.attempt.let_go();
    }

    fn session(&self, request: SessionRequest) -> Messages<SessionMessage> {
        let (mut client, attempt) = (self.streams.clone(), self.attempt.clone());
        let mut is_first = true;
        let messages = messages(async move { client.session(request).await });
        let noted = messages.inspect(move |message| {
            if std::mem::take(&mut is_first) && message.is_ok() {
                attempt.succeeded();
            }
        });
        noted.boxed_local()
    }

    fn heartbeat(&self, request: HeartbeatRequest) -> Answer<HeartbeatResponse> {
        let mut client = self.quick.clone();
        Box::pin(async move {
            client.heartbeat(request).await.map(Response::into_inner).map_err(failed)
        })
    }

    /// A manager that knows no assignments is asked for lists of tasks.
    fn assignments(&self, request: AssignmentsRequest) -> Messages<AssignmentsMessage> {
        let mut client = self.streams.clone();
        let flowing = async move {
            let session_id = request.session_id.clone();
            let opened = client.assignments(request).await;
            let unknown = |status: &Status| status.code() == Code::Unimplemented;
            if !opened.as_ref().is_err_and(unknown) {
                return messages(ready(opened));
            }
            let lists = async move { client.tasks(TasksRequest { session_id }).await };
            messages(lists).map_ok(lists::complete).boxed_local()
        };
        flowing.flatten_stream().boxed_local()
    }

    fn update_task_status(
        &self,
        request: UpdateTaskStatusRequest,
    ) -> Answer<UpdateTaskStatusResponse> {
        let mut client = self.quick.clone();
        Box::pin(async move {
            client.update_task_status(request).await.map(Response::into_inner).map_err(failed)
        })
    }
}
