//! The way to the leader, over HTTP/2 in memory on the paused clock.

mod faults;
mod joining;
mod net;
mod passing;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actors::{
    ca::logic::access::Door,
    environment::testing::environment,
    raft::{Founder, Standing},
    store::View,
};
use futures_util::FutureExt;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use protocol::wire::NodeRole;
use tokio::{sync::oneshot, task::AbortHandle};
use tonic::{Status, body::Body, transport::Channel};
use tower::{Layer, ServiceBuilder, service_fn};

use self::net::{Heard, Leader, Net, SILENT};
use super::{Access, Front, access, subject};
use crate::{
    remote::{Directory, Lines, Peer},
    service::{End, Proxy},
};

const WRITE: &str = "/docker.swarmkit.v1.Control/CreateService";
const READ: &str = "/docker.swarmkit.v1.Control/ListServices";
const HEARTBEAT: &str = "/docker.swarmkit.v1.Dispatcher/Heartbeat";
const SESSION: &str = "/docker.swarmkit.v1.Dispatcher/Session";
const UPLOAD: &str = "/docker.swarmkit.v1.LogBroker/PublishLogs";
const RENEW: &str = "/docker.swarmkit.v1.NodeCA/IssueNodeCertificate";
const WATCH: &str = "/docker.swarmkit.v1.Watch/Watch";

/// The raft id of the manager that is asked, of the one that leads, of a third, and of one that
/// does not answer.
const OWN: u64 = 1;
const LEADER: u64 = 2;
const THIRD: u64 = 3;
const MUTE: u64 = 4;

/// A manager that does not lead, and others that may.
struct World {
    net: Net,
    standing: Standing,
    heard: Heard,
    leader: Leader,
    /// How often the manager that is asked says itself that nobody leads.
    own_refusals: Arc<AtomicUsize>,
    serving: AbortHandle,
    /// Ends the manager that is asked.
    stop: Option<oneshot::Sender<()>>,
    end: End,
}

impl World {
    /// A leader, and a manager that knows it.
    fn new() -> Self {
        let mut net = Net::default();
        let (leader, heard) = Leader::new("leader");
        let serving = listen(&mut net, "host2:1", &leader);
        let standing = Standing::default();
        let (stop, stopped) = oneshot::channel();
        let (stop, end) = (Some(stop), stopped.map(drop).boxed().shared());
        let own_refusals = Arc::default();
        let world = Self { net, standing, heard, leader, own_refusals, serving, stop, end };
        world.elect(Some(LEADER));
        world
    }

    /// Lets the manager that is asked see who leads.
    fn elect(&self, leader: Option<u64>) {
        let member = |raft_id| {
            let address =
                if raft_id == MUTE { SILENT.to_owned() } else { format!("host{raft_id}:1") };
            Founder { raft_id, node_id: format!("m{raft_id}"), address }
        };
        self.standing.pretend(OWN, leader, [OWN, LEADER, THIRD, MUTE].map(member).into());
    }

    /// Connects to the manager that does not lead, as `peer` or through its socket.
    async fn client(&mut self, peer: Option<Peer>) -> Channel {
        let door = if peer.is_some() { Door::Network } else { Door::Socket };
        let access = Access {
            door,
            own: subject("m1", NodeRole::Manager),
            view: Arc::new(View::default),
            clock: environment().clock,
        };
        let (directory, lines) =
            (Directory::new(self.standing.clone()), Lines::new(self.net.dial()));
        let proxy = Proxy::new(directory, lines, PATIENCE, self.end.clone());
        let refusals = self.own_refusals.clone();
        let here = service_fn(move |request: Request<Body>| {
            let declines = refusals.load(Ordering::Relaxed) > 0;
            if declines {
                refusals.fetch_sub(1, Ordering::Relaxed);
            }
            async move {
                let mut response = Status::ok("").into_http::<Body>();
                *response.body_mut() = request.into_body();
                if declines {
                    response = Status::unavailable("raft: no elected cluster leader").into_http();
                }
                response.headers_mut().insert("answered-by", HeaderValue::from_static("here"));
                Ok::<_, Infallible>(response)
            }
        });
        let services = ServiceBuilder::new()
            .map_request(move |request: Request<Incoming>| {
                let mut request = request.map(Body::new);
                if let Some(peer) = &peer {
                    request.extensions_mut().insert(peer.clone());
                }
                request
            })
            .service(Front::new(access, Some(proxy)).layer(here));
        self.net.listen("host1:1", services);
        (self.net.dial())("host1:1".to_owned()).await.expect("it listens").channel
    }

    /// How often leaders have been asked since this was last looked at.
    fn times_asked(&mut self) -> usize {
        std::iter::from_fn(|| self.heard.asked.try_recv().ok()).count()
    }
}

fn listen(net: &mut Net, address: &str, leader: &Leader) -> AbortHandle {
    let leader = leader.clone();
    net.listen(address, service_fn(move |request| leader.clone().answer(request)))
}

fn manager() -> Peer {
    access::peer(Some(("m3", NodeRole::Manager, access::VALID)))
}

/// A call with one message that asks the leader for something.
fn request(path: &str, what: &'static str, body: Body) -> Request<Body> {
    let mut request = Request::post(path).body(body).expect("a request");
    request.headers_mut().insert("do", HeaderValue::from_static(what));
    request
}

/// What a caller sends who never says anything.
fn endless() -> Body {
    let nothing = tokio_stream::pending::<Result<http_body::Frame<bytes::Bytes>, Status>>();
    Body::new(http_body_util::StreamBody::new(nothing))
}

fn message(path: &str, what: &'static str) -> Request<Body> {
    request(path, what, Body::new(http_body_util::Full::new(net::framed(b"message"))))
}

/// How long calls wait for a leader here.
const PATIENCE: Duration = Duration::from_secs(3);

const A_MOMENT: Duration = Duration::from_millis(400);
