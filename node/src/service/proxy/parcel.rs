//! A request on its way to the leader, kept until it is known to have been received.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, request};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use protocol::rpc::Rpc;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tonic::{Status, body::Body};

use super::super::{OPEN_BYTES_MAX, REQUEST_BYTES_MAX, status::no_room};

/// How long a message may take to come in: the largest at 400 KiB a second.
const WITHIN: Duration = Duration::from_secs(10);

/// What messages may hold of memory together: sixty-four of the largest, of nodes, and as much of those
/// that call through the socket. Strangers have less, and
/// of their own: they fill no place of a node, and there is room for two hundred of their largest.
const NODES_BYTES_MAX: usize = 256 << 20;
const STRANGERS_BYTES_MAX: usize = 16 << 20;

/// What gRPC puts before a message: a flag and a length.
const PREFIX_BYTES: usize = 5;

/// A request that can be sent, and sent again if it is whole.
pub(super) struct Parcel {
    head: request::Parts,
    /// What is added for the leader.
    headers: HeaderMap,
    content: Content,
    /// What it holds of the room, until it is gone.
    _held: Option<OwnedSemaphorePermit>,
}

/// Room for messages, in bytes. Clones are the same room.
#[derive(Clone)]
pub(super) struct Room {
    /// For those who call through the socket: nobody else keeps them from it.
    pub(super) own: Arc<Semaphore>,
    /// For those who have shown a certificate.
    pub(super) nodes: Arc<Semaphore>,
    /// For those who have not.
    pub(super) strangers: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        let room = |bytes| Arc::new(Semaphore::new(bytes));
        let (own, nodes) = (room(NODES_BYTES_MAX), room(NODES_BYTES_MAX));
        Self { own, nodes, strangers: room(STRANGERS_BYTES_MAX) }
    }
}

enum Content {
    /// All of it.
    Whole(Bytes),
    /// A stream, until it has been sent.
    Stream(Option<Body>),
}

impl Parcel {
    /// Takes the message out of a request that has one; a stream of them stays one.
    pub(super) async fn pack(
        rpc: &Rpc,
        headers: HeaderMap,
        request: Request<Body>,
        room: &Arc<Semaphore>,
    ) -> Result<Self, Status> {
        let (head, body) = request.into_parts();
        if rpc.client_streaming {
            return Ok(Self { head, headers, content: Content::Stream(Some(body)), _held: None });
        }
        let bytes_max = if rpc.anybody { OPEN_BYTES_MAX } else { REQUEST_BYTES_MAX };
        let late = |_| {
            let text = format!("the request was not sent within {} seconds", WITHIN.as_secs());
            Err(Status::deadline_exceeded(text))
        };
        let message = timeout(WITHIN, message(body, bytes_max, room)).await;
        let (bytes, held) = message.unwrap_or_else(late)?;
        Ok(Self { head, headers, content: Content::Whole(bytes), _held: Some(held) })
    }

    /// Whether it can be sent once more.
    pub(super) fn is_whole(&self) -> bool {
        match &self.content {
            Content::Whole(_) => true,
            Content::Stream(body) => body.is_some(),
        }
    }

    /// Returns the request as the leader gets it; none of a stream that has been sent.
    pub(super) fn copy(&mut self) -> Option<Request<Body>> {
        let body = self.content.take()?;
        let mut request = Request::new(body);
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = self.head.uri.clone();
        *request.headers_mut() = self.head.headers.clone();
        request.headers_mut().extend(self.headers.clone());
        Some(request)
    }

    /// Returns the request as it came in, for this manager to answer; none of a stream that has been
    /// sent.
    pub(super) fn here(&mut self) -> Option<Request<Body>> {
        let body = self.content.take()?;
        Some(Request::from_parts(self.head.clone(), body))
    }
}

impl Content {
    fn take(&mut self) -> Option<Body> {
        match self {
            Self::Whole(bytes) => Some(Body::new(Full::new(bytes.clone()))),
            Self::Stream(body) => body.take(),
        }
    }
}

/// Collects a message, and takes room for it as it grows.
async fn message(
    body: Body,
    bytes_max: usize,
    room: &Arc<Semaphore>,
) -> Result<(Bytes, OwnedSemaphorePermit), Status> {
    let take = |bytes: usize| {
        let bytes = u32::try_from(bytes).expect("a message is smaller");
        Arc::clone(room).try_acquire_many_owned(bytes).map_err(|_| no_room())
    };
    let mut body = Limited::new(body, bytes_max + PREFIX_BYTES);
    let (mut message, mut held) = (BytesMut::new(), take(0)?);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if error.is::<LengthLimitError>() {
                let text = format!("the request has more than {bytes_max} bytes");
                return Status::out_of_range(text);
            }
            Status::cancelled("the request was not sent to its end")
        })?;
        if let Ok(data) = frame.into_data() {
            held.merge(take(data.len())?);
            message.extend_from_slice(&data);
        }
    }
    Ok((message.freeze(), held))
}

#[cfg(test)]
mod tests {
    use protocol::rpc;
    use tonic::Code;

    use super::*;

    async fn packed(bytes: usize, room: &Arc<Semaphore>) -> Result<Parcel, Code> {
        let rpc = rpc::find("/docker.swarmkit.v1.Control/CreateService").expect("a method");
        let request = Request::new(Body::new(Full::new(Bytes::from(vec![0; bytes]))));
        let packed = Parcel::pack(rpc, HeaderMap::new(), request, room).await;
        packed.map_err(|status| status.code())
    }

    #[tokio::test]
    async fn what_is_on_its_way_has_a_limit_together() {
        let room = Arc::new(Semaphore::new(20));
        let first = packed(12, &room).await.expect("there is room");
        assert_eq!(packed(12, &room).await.err(), Some(Code::Unavailable));
        assert!(packed(8, &room).await.is_ok(), "what is refused holds nothing");
        drop(first);
        assert!(packed(20, &room).await.is_ok(), "what is gone holds nothing");
    }
}
