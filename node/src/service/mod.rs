//! The gRPC services of a manager: they unpack requests, wait for the store and for raft, and assign
//! codes. What a call means is decided in `actors::control`.

mod access;
mod advisor;
mod certificates;
mod control;
mod diagnostics;
mod dispatcher;
mod doubt;
mod front;
mod health;
mod held;
mod leadership;
mod membership;
mod not_offered;
mod proxy;
mod raft;
mod status;
#[cfg(test)]
mod tests;
mod watch;

use std::{sync::Arc, time::Duration};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use protocol::{
    swarm::{
        advisor_server::AdvisorServer, diagnostics_server::DiagnosticsServer,
        doubt_server::DoubtServer,
    },
    wire::{
        ca_server::CaServer, control_server::ControlServer, dispatcher_server::DispatcherServer,
        health_server::HealthServer, node_ca_server::NodeCaServer,
        raft_membership_server::RaftMembershipServer, raft_server::RaftServer,
        watch_server::WatchServer,
    },
};
use rustls::ServerConfig;
use tokio::{sync::oneshot, time::sleep};
use tonic::{
    service::Routes,
    transport::{Error, Server},
};

use self::held::held;
pub use self::{
    access::{Access, CallerAddress},
    advisor::Advisor,
    certificates::Certificates,
    control::Control,
    diagnostics::Diagnostics,
    dispatcher::Dispatcher,
    front::Front,
    health::Health,
    leadership::Leadership,
    membership::Membership,
    proxy::Proxy,
    raft::Raft,
    watch::Watch,
};
use crate::{
    remote::{Guests, RemoteListener},
    socket::ControlSocket,
};

/// The largest request, encoded; what SwarmKit takes.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// The largest request for what is open to anybody: a signing request of 64 KiB and its token.
const OPEN_BYTES_MAX: usize = 72 << 10;

/// The largest answer, encoded. Lists grow with the cluster, and SwarmKit's clients set no limit.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Gives a service the limit of its requests.
macro_rules! limited {
    ($service:expr) => {
        $service.max_decoding_message_size(REQUEST_BYTES_MAX)
    };
}

/// Calls at one time on one connection of the control socket; more wait.
const CALLS_PER_CONNECTION_MAX: u32 = 64;

/// How long calls that have begun may take after the end was asked for.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// The same on the port for other nodes, where one connection may carry the calls of everybody who
/// asks another manager: two streams that never end for each agent that it has.
const CALLS_PER_NODE_MAX: u32 = 65_536;

/// How often another node is asked whether it is still there, and how long it may take to say so.
/// One that lost its power would hold its place, and what it had half said, for ever.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEP_ALIVE_WITHIN: Duration = Duration::from_secs(10);

/// What may be on the way to this manager unread, over all calls of a connection and for one.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
const STREAM_WINDOW: u32 = 128 << 10;

/// Resolves when the daemon ends. Calls that wait for something to happen end then.
pub type End = Shared<BoxFuture<'static, ()>>;

/// What a manager serves. Clones are the same services.
#[derive(Clone)]
pub struct Services {
    /// The calls about the cluster.
    pub control: Control,
    /// Who leads, for whoever asks whether this manager is ready.
    pub leadership: Leadership,
    /// What changes.
    pub watch: Watch,
    /// Roots and certificates.
    pub certificates: Certificates,
    /// Why things are as they are, and what would be.
    pub advisor: Advisor,
    /// What this daemon does inside.
    pub diagnostics: Diagnostics,
    /// Messages of other managers.
    pub raft: Raft,
    /// Managers that join and leave.
    pub membership: Membership,
    /// What agents say and hear.
    pub dispatcher: Dispatcher,
}

impl Services {
    /// What the control socket serves.
    pub fn on_socket(&self) -> Routes {
        self.on_both()
            .add_service(limited!(HealthServer::new(Health::Control(self.leadership.clone()))))
    }

    /// What the port for other nodes serves.
    pub fn on_port(&self) -> Routes {
        self.on_both()
            .add_service(limited!(HealthServer::new(Health::Raft)))
            .add_service(limited!(RaftServer::new(self.raft.clone())))
            .add_service(limited!(RaftMembershipServer::new(self.membership.clone())))
    }

    fn on_both(&self) -> Routes {
        let control = ControlServer::new(self.control.clone());
        let advisor = AdvisorServer::new(self.advisor.clone());
        Routes::new(limited!(control).max_encoding_message_size(ANSWER_BYTES_MAX))
            .add_service(limited!(WatchServer::new(self.watch.clone())))
            .add_service(
                CaServer::new(self.certificates.clone()).max_decoding_message_size(OPEN_BYTES_MAX),
            )
            .add_service(
                NodeCaServer::new(self.certificates.clone())
                    .max_decoding_message_size(OPEN_BYTES_MAX),
            )
            .add_service(limited!(advisor).max_encoding_message_size(ANSWER_BYTES_MAX))
            .add_service(limited!(DiagnosticsServer::new(self.diagnostics.clone())))
            .add_service(limited!(DoubtServer::new(self.dispatcher.clone())))
            .add_service(
                limited!(DispatcherServer::new(self.dispatcher.clone()))
                    .max_encoding_message_size(ANSWER_BYTES_MAX),
            )
    }
}

/// Serves the control socket until `end`, then lets the calls that have begun finish for a few
/// seconds.
pub async fn serve_socket(
    socket: ControlSocket,
    tls: Arc<ServerConfig>,
    front: Front,
    routes: Routes,
    end: End,
) -> Result<(), Error> {
    let server = Server::builder().max_concurrent_streams(CALLS_PER_CONNECTION_MAX);
    let ((stop, stopped), (cut, is_cut)) = (until_dropped(), until_dropped());
    let serving = server
        .layer(front)
        .add_routes(routes)
        .serve_with_incoming_shutdown(held(socket.incoming(tls), is_cut), stopped);
    drained("control socket", serving, end, [stop, cut]).await
}

/// Serves the port for other nodes in the same way.
pub async fn serve_port(
    listener: RemoteListener,
    tls: Arc<ServerConfig>,
    guests: Guests,
    front: Front,
    routes: Routes,
    end: End,
) -> Result<(), Error> {
    let ((stop, stopped), (cut, is_cut)) = (until_dropped(), until_dropped());
    let serving = for_nodes()
        .layer(front)
        .add_routes(routes)
        .serve_with_incoming_shutdown(held(listener.incoming(tls, guests), is_cut), stopped);
    drained("remote port", serving, end, [stop, cut]).await
}

/// Says on the port for other nodes that this one is ready to be a manager: the leader calls it
/// back before it lets it in. There is nothing yet that could judge who calls, nor anything to see.
pub async fn serve_joining(
    listener: RemoteListener,
    tls: Arc<ServerConfig>,
    end: End,
) -> Result<(), Error> {
    let ((stop, stopped), (cut, is_cut)) = (until_dropped(), until_dropped());
    let serving = for_nodes()
        .add_service(limited!(HealthServer::new(Health::Raft)))
        .serve_with_incoming_shutdown(
            held(listener.incoming(tls, Guests::default()), is_cut),
            stopped,
        );
    drained("remote port", serving, end, [stop, cut]).await
}

fn for_nodes() -> Server {
    Server::builder()
        .max_concurrent_streams(CALLS_PER_NODE_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_WITHIN))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
}

/// Returns what resolves when the other is dropped.
fn until_dropped() -> (oneshot::Sender<()>, End) {
    let (sender, dropped) = oneshot::channel();
    (sender, dropped.map(drop).boxed().shared())
}

/// Serves until `end`, stops, and cuts what has not ended after a while.
async fn drained(
    door: &str,
    serving: impl Future<Output = Result<(), Error>>,
    end: End,
    [stop, cut]: [oneshot::Sender<()>; 2],
) -> Result<(), Error> {
    let deadline = async {
        end.await;
        drop(stop);
        sleep(DRAIN_WITHIN).await;
    };
    let served = tokio::select! {
        biased;
        served = serving => served,
        () = deadline => {
            tracing::warn!("calls on the {door} did not end in time");
            Ok(())
        }
    };
    drop(cut);
    served
}
