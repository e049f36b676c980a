//! `docker.swarmkit.v1.Dispatcher`: the agents of other nodes, on their way to the dispatcher of this
//! manager, which is there while the manager leads.

mod listing;
mod placing;

use std::net::IpAddr;

use actix::Message;
use actors::{
    dispatcher::{self, CheckSession, Error, OpenAssignments, OpenSession, Seat, UpdateTaskStatus},
    supervision::{Address, Closed},
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use prost::Message as _;
use protocol::{
    id::{NodeId, SessionId},
    wire::{
        AssignmentsMessage, AssignmentsRequest, HeartbeatRequest, HeartbeatResponse,
        SessionMessage, SessionRequest, TasksMessage, TasksRequest, UpdateTaskStatusRequest,
        UpdateTaskStatusResponse, UpdateVolumeStatusRequest, UpdateVolumeStatusResponse,
        dispatcher_server,
    },
};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use self::{listing::Listing, placing::Places};
use super::{
    CallerAddress, End,
    access::{self, ReachedAt},
    status::not_offered,
};
use crate::remote::Directory;

/// The most that a node may say of its machine, encoded. It is written with the node, and sent with
/// it to whoever lists nodes.
const DESCRIPTION_BYTES_MAX: usize = 256 << 10;

/// How a session ends with the dispatcher, or with the manager.
const DISCONNECT: &str = "node must disconnect";

/// Hands what agents say to the dispatcher.
#[derive(Clone)]
pub struct Dispatcher {
    pub(super) seat: Seat,
    places: Places,
    /// Resolves when the daemon ends: a session would never end by itself.
    end: End,
}

/// A stream to an agent.
type Stream<T> = BoxStream<'static, Result<T, Status>>;

impl Dispatcher {
    /// Answers while there is a dispatcher at `seat`, of which this node is the manager. Others are found
    /// in `directory`. All streams end with `end`.
    pub fn new(seat: Seat, own: NodeId, directory: Directory, end: End) -> Self {
        Self { seat, places: Places::new(own, directory), end }
    }

    pub(super) fn present(&self) -> Result<Address<dispatcher::Dispatcher>, Status> {
        self.seat.dispatcher().ok_or_else(|| refused(&Error::Stopped))
    }

    /// A stream of the dispatcher's, and why it ended.
    fn stream<T: Send + 'static>(
        &self,
        dispatcher: Address<dispatcher::Dispatcher>,
        of: CheckSession,
        messages: mpsc::Receiver<T>,
    ) -> Stream<T> {
        let messages = stream::unfold(messages, |mut messages| async move {
            messages.recv().await.map(|message| (Ok(message), messages))
        });
        let why = async move {
            Err(match dispatcher.send(of).await {
                Ok(Err(error)) => refused(&error),
                // The dispatcher is gone, or the node has opened the stream once more.
                Ok(Ok(())) | Err(Closed) => Status::aborted(DISCONNECT),
            })
        };
        let all = messages.chain(stream::once(why)).take_until(self.end.clone());
        all.chain(stream::once(async { Err(Status::aborted(DISCONNECT)) })).boxed()
    }

    async fn assigned(
        &self,
        node: NodeId,
        session: SessionId,
    ) -> Result<Stream<AssignmentsMessage>, Status> {
        let dispatcher = self.present()?;
        let of = CheckSession { node: node.clone(), session: session.clone() };
        let messages = ask(&dispatcher, OpenAssignments { node, session }).await?;
        Ok(self.stream(dispatcher, of, messages))
    }
}

async fn ask<M, T>(dispatcher: &Address<dispatcher::Dispatcher>, message: M) -> Result<T, Status>
where
    dispatcher::Dispatcher: actix::Handler<M>,
    M: Message<Result = Result<T, Error>> + Send + 'static,
    T: Send + 'static,
{
    let answer = dispatcher.send(message).await.unwrap_or(Err(Error::Stopped));
    answer.map_err(|error| refused(&error))
}

/// Which code a refusal has.
fn refused(error: &Error) -> Status {
    let text = error.to_string();
    match error {
        Error::NotRegistered => Status::not_found(text),
        Error::SessionInvalid => Status::invalid_argument(text),
        Error::NodeNotFound => Status::unknown(text),
        Error::TooManyRegistrations(_) => Status::unavailable(text),
        Error::NotAssigned => Status::permission_denied(text),
        Error::Stopped => Status::aborted(text),
    }
}

/// Whose agent calls, and from where as far as that is known.
fn caller<T>(request: &Request<T>) -> Result<(NodeId, Option<IpAddr>), Status> {
    let unknown = || Status::permission_denied("Permission denied: no peer info");
    let node = access::caller(request)?.node().cloned().ok_or_else(unknown)?;
    let from = request.extensions().get::<CallerAddress>();
    Ok((node, from.map(|CallerAddress(address)| address.ip())))
}

#[tonic::async_trait]
impl dispatcher_server::Dispatcher for Dispatcher {
    type SessionStream = Stream<SessionMessage>;
    type AssignmentsStream = Stream<AssignmentsMessage>;
    type TasksStream = Stream<TasksMessage>;

    async fn session(
        &self,
        request: Request<SessionRequest>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (node, addr) = caller(&request)?;
        let here = request.extensions().get::<ReachedAt>().map(|ReachedAt(here)| *here);
        let request = request.into_inner();
        if request.description.as_ref().is_some_and(|it| it.encoded_len() > DESCRIPTION_BYTES_MAX) {
            let text = format!("a node's description has {DESCRIPTION_BYTES_MAX} bytes at most");
            return Err(Status::invalid_argument(text));
        }
        let dispatcher = self.present()?;
        let opened = OpenSession { node: node.clone(), addr, request };
        let mut messages = ask(&dispatcher, opened).await?;
        // It names the session, which is needed to find out why the stream ended.
        let first = messages.recv().await.ok_or_else(|| refused(&Error::SessionInvalid))?;
        let of = CheckSession { node, session: first.session_id.as_str().into() };
        let rest = self.stream(dispatcher, of, messages);
        let places = self.places.clone();
        let told = stream::once(async { Ok(first) }).chain(rest);
        let told = told.map(move |message| message.map(|message| places.put(message, here)));
        Ok(Response::new(told.boxed()))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        let (node, _) = caller(&request)?;
        let session = request.into_inner().session_id.into();
        let heard = self.seat.heartbeat(&node, &session);
        let period = heard.map_err(|error| refused(&error))?;
        let period = prost_types::Duration::try_from(period).ok();
        Ok(Response::new(HeartbeatResponse { period }))
    }

    async fn update_task_status(
        &self,
        request: Request<UpdateTaskStatusRequest>,
    ) -> Result<Response<UpdateTaskStatusResponse>, Status> {
        let (node, _) = caller(&request)?;
        let update = UpdateTaskStatus::new(node, request.into_inner());
        ask(&self.present()?, update).await?;
        Ok(Response::new(UpdateTaskStatusResponse {}))
    }

    /// No node of this version is given a volume, so none has anything to report.
    async fn update_volume_status(
        &self,
        request: Request<UpdateVolumeStatusRequest>,
    ) -> Result<Response<UpdateVolumeStatusResponse>, Status> {
        let (node, _) = caller(&request)?;
        let session = request.into_inner().session_id.into();
        ask(&self.present()?, CheckSession { node, session }).await?;
        Err(not_offered("volumes"))
    }

    async fn assignments(
        &self,
        request: Request<AssignmentsRequest>,
    ) -> Result<Response<Self::AssignmentsStream>, Status> {
        let (node, _) = caller(&request)?;
        let session = request.into_inner().session_id.into();
        self.assigned(node, session).await.map(Response::new)
    }

    async fn tasks(
        &self,
        request: Request<TasksRequest>,
    ) -> Result<Response<Self::TasksStream>, Status> {
        let (node, _) = caller(&request)?;
        let session = request.into_inner().session_id.into();
        let assigned = self.assigned(node, session).await?;
        let mut listing = Listing::default();
        let lists = assigned.map(move |message| message.map(|message| listing.take(message)));
        Ok(Response::new(lists.boxed()))
    }
}
