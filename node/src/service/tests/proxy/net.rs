//! Managers that speak HTTP/2 to each other in memory, and can be taken away.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actors::ca::logic::access::{Denied, Unfit};
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use protocol::id::NodeId;
use rustls::ClientConfig;
use tokio::{
    io::{DuplexStream, duplex},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};
use tonic::{Status, body::Body, transport::Channel};
use tower::{Service, ServiceExt};

use crate::remote::{Connection, Dial, DialError, Shown, speak};

/// Where nobody says anything.
pub(super) const SILENT: &str = "silent:1";

/// The one message of a request or an answer, as gRPC frames it.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("a small message");
    [&[0][..], &length.to_be_bytes(), message].concat().into()
}

/// All connections, and who listens where.
#[derive(Default)]
pub(super) struct Net {
    doors: Arc<ArcSwap<BTreeMap<String, mpsc::UnboundedSender<DuplexStream>>>>,
    servers: JoinSet<()>,
    /// As whom others are called, where that matters.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl Net {
    /// Serves at an address until the server is aborted, which closes its connections.
    pub(super) fn listen<S>(&mut self, address: &str, service: S) -> AbortHandle
    where
        S: Service<Request<Incoming>, Response = Response<Body>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let mut incoming = self.open(address);
        self.servers.spawn(async move {
            let mut connections = JoinSet::new();
            while let Some(stream) = incoming.recv().await {
                let service = TowerToHyperService::new(service.clone());
                connections.spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new()).http2_only();
                    server.serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        })
    }

    /// Takes what connects to an address.
    pub(super) fn open(&mut self, address: &str) -> mpsc::UnboundedReceiver<DuplexStream> {
        let (door, incoming) = mpsc::unbounded_channel();
        self.doors.rcu(|doors| {
            let mut doors = BTreeMap::clone(doors);
            doors.insert(address.to_owned(), door.clone());
            doors
        });
        incoming
    }

    /// Runs something beside a test.
    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.servers.spawn(task);
    }

    /// How managers find each other here. Whoever is silent takes no connection and refuses none.
    pub(super) fn dial(&self) -> Dial {
        let (doors, tls) = (self.doors.clone(), self.tls.clone());
        Arc::new(move |address| {
            let shown = tls.as_ref().map(Shown::now).unwrap_or_default();
            let door = doors.load().get(&address).cloned();
            async move {
                if address == SILENT {
                    return std::future::pending().await;
                }
                let (ours, theirs) = duplex(1 << 20);
                if door.is_none_or(|door| door.send(theirs).is_err()) {
                    return Err(DialError::Refused { address });
                }
                let uri = format!("http://{address}").parse().expect("an address");
                let connection = speak(&address, uri, ours).await?;
                Ok(Connection { shown, ..connection })
            }
            .boxed()
        })
    }
}

/// What leaders have been asked, in order, and what has become of their streams.
#[derive(Clone)]
pub(super) struct Leader {
    pub(super) name: &'static str,
    /// Path and headers of each call.
    asked: mpsc::UnboundedSender<(String, HeaderMap)>,
    /// A message for each stream that is dropped.
    dropped: mpsc::UnboundedSender<&'static str>,
    /// How many calls are to be refused before one is answered.
    pub(super) refusals: Arc<AtomicUsize>,
}

/// What tests hear of leaders.
pub(super) struct Heard {
    pub(super) asked: mpsc::UnboundedReceiver<(String, HeaderMap)>,
    pub(super) dropped: mpsc::UnboundedReceiver<&'static str>,
}

impl Leader {
    pub(super) fn new(name: &'static str) -> (Self, Heard) {
        let ((asked, was_asked), (dropped, was_dropped)) =
            (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let leader = Self { name, asked, dropped, refusals: Arc::default() };
        (leader, Heard { asked: was_asked, dropped: was_dropped })
    }

    /// Answers as the header `do` says, and says who has answered.
    pub(super) async fn answer(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, h2::Error> {
        let (head, body) = request.into_parts();
        let what = head.headers.get("do").map(|what| what.to_str().expect("a text").to_owned());
        self.asked.send((head.uri.path().to_owned(), head.headers)).ok();
        let what = what.unwrap_or_default();
        let refuses = self.refusals.load(Ordering::Relaxed) > 0;
        if refuses {
            self.refusals.fetch_sub(1, Ordering::Relaxed);
        }
        let mut response = match what.as_str() {
            "refuse" if refuses => return Err(h2::Reason::REFUSED_STREAM.into()),
            "decline" if refuses => {
                let text = "raft: failed to process the request: node lost leader status";
                Status::unavailable(text).into_http()
            }
            "unknown" => Status::unimplemented("").into_http(),
            "decline twice" if refuses => {
                let text = "more than one redirect to leader from: [control-socket]";
                Status::resource_exhausted(text).into_http()
            }
            "refuse the peer" => denied(&Denied::Peer(demoted())).into_http(),
            "refuse the caller" => {
                let caller = Unfit::Demoted(NodeId::from("m3"));
                denied(&Denied::Peer(caller)).into_http()
            }
            "refuse the ended" => denied(&Denied::Expired(NodeId::from("m1"))).into_http(),
            "refuse the forwarder" => denied(&Denied::Forwarder(demoted())).into_http(),
            "fail" => return Err(h2::Reason::INTERNAL_ERROR.into()),
            "hang" => std::future::pending().await,
            "flood" => Response::new(self.flood()),
            "half" => {
                let first = stream::iter([Ok::<_, Infallible>(Frame::data(framed(b"half")))]);
                Response::new(Body::new(StreamBody::new(first.chain(stream::pending()))))
            }
            _ => {
                let trailers = async { Some(Ok(Frame::trailers(trailers()))) };
                let echo = body.into_data_stream().map(|data| data.map(Frame::data));
                let echo = echo.chain(stream::once(trailers).filter_map(std::future::ready));
                Response::new(Body::new(StreamBody::new(echo)))
            }
        };
        response.headers_mut().insert("answered-by", HeaderValue::from_static(self.name));
        Ok(response)
    }

    /// Says more and more, as long as somebody listens.
    fn flood(&self) -> Body {
        let guard = Guard(self.name, self.dropped.clone());
        let flood = stream::repeat_with(move || {
            let _ = &guard;
            Ok::<_, Infallible>(Frame::data(framed(&[7; 16 << 10])))
        });
        Body::new(StreamBody::new(flood))
    }
}

/// Says when it is dropped.
struct Guard(&'static str, mpsc::UnboundedSender<&'static str>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.1.send(self.0).ok();
    }
}

fn denied(denied: &Denied) -> Status {
    Status::permission_denied(denied.to_string())
}

/// What the leader knows of a manager that does not know it yet.
fn demoted() -> Unfit {
    Unfit::Demoted(NodeId::from("m1"))
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("of-the-leader", HeaderValue::from_static("kept"));
    trailers
}

/// What came back, and how it ended.
pub(super) struct Answer {
    pub(super) by: String,
    pub(super) bytes: Bytes,
    pub(super) trailers: HeaderMap,
}

impl Answer {
    /// The status, wherever it stands.
    pub(super) fn status(&self) -> Status {
        Status::from_header_map(&self.trailers).expect("every answer ends with a status")
    }
}

/// Makes a call and reads the answer to its end.
pub(super) async fn call(channel: &Channel, request: Request<Body>) -> Answer {
    let response = open(channel, request).await;
    let (head, body) = response.into_parts();
    let by = head.headers.get("answered-by").map(|by| by.to_str().expect("a text").to_owned());
    let body = body.collect().await.expect("no fault reaches a client");
    let trailers = body.trailers().cloned().unwrap_or(head.headers);
    Answer { by: by.unwrap_or_default(), bytes: body.to_bytes(), trailers }
}

/// Makes a call and leaves the answer where it begins.
pub(super) async fn open(channel: &Channel, request: Request<Body>) -> Response<Body> {
    channel.clone().oneshot(request).await.expect("a call is answered")
}
