//! The gRPC services of the control socket: they unpack requests, wait for the store and for raft,
//! and assign codes. What a call means is decided in `actors::control`.

mod advisor;
mod certificates;
mod control;
mod diagnostics;
mod health;
mod leadership;
mod not_offered;
mod status;
#[cfg(test)]
mod tests;
mod watch;

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use protocol::{
    swarm::{advisor_server::AdvisorServer, diagnostics_server::DiagnosticsServer},
    wire::{
        ca_server::CaServer, control_server::ControlServer, health_server::HealthServer,
        node_ca_server::NodeCaServer, watch_server::WatchServer,
    },
};
use rustls::ServerConfig;
use tokio::{sync::oneshot, time::sleep};
use tonic::transport::{Error, Server};

pub use self::{
    advisor::Advisor, certificates::Certificates, control::Control, diagnostics::Diagnostics,
    health::Health, leadership::Leadership, watch::Watch,
};
use crate::socket::ControlSocket;

/// The largest request, encoded; what SwarmKit takes.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// The largest answer, encoded. Lists grow with the cluster, and SwarmKit's clients set no limit.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Calls at one time on one connection; more wait.
const CALLS_PER_CONNECTION_MAX: u32 = 64;

/// How long calls that have begun may take after the end was asked for.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// What the control socket serves.
pub struct Services {
    /// The calls about the cluster.
    pub control: Control,
    /// Whether those are served.
    pub health: Health,
    /// What changes.
    pub watch: Watch,
    /// Roots and certificates.
    pub certificates: Certificates,
    /// Why things are as they are, and what would be.
    pub advisor: Advisor,
    /// What this daemon does inside.
    pub diagnostics: Diagnostics,
}

/// Serves until `shutdown`, then lets the calls that have begun finish for a few seconds.
pub async fn serve(
    socket: ControlSocket,
    tls: Arc<ServerConfig>,
    services: Services,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let Services { control, health, watch, certificates, advisor, diagnostics } = services;
    let (end, ended) = oneshot::channel::<()>();
    let ended = ended.map(drop).shared();
    let certificates = certificates.until(ended.clone());
    let server = Server::builder()
        .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
        .add_service(
            ControlServer::new(control)
                .max_decoding_message_size(REQUEST_BYTES_MAX)
                .max_encoding_message_size(ANSWER_BYTES_MAX),
        )
        .add_service(HealthServer::new(health).max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(
            WatchServer::new(watch.until(ended)).max_decoding_message_size(REQUEST_BYTES_MAX),
        )
        .add_service(
            CaServer::new(certificates.clone()).max_decoding_message_size(REQUEST_BYTES_MAX),
        )
        .add_service(NodeCaServer::new(certificates).max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(
            AdvisorServer::new(advisor)
                .max_decoding_message_size(REQUEST_BYTES_MAX)
                .max_encoding_message_size(ANSWER_BYTES_MAX),
        )
        .add_service(
            DiagnosticsServer::new(diagnostics).max_decoding_message_size(REQUEST_BYTES_MAX),
        );
    let (stop, stopped) = oneshot::channel();
    let serving = server.serve_with_incoming_shutdown(socket.incoming(tls), stopped.map(drop));
    let deadline = async {
        shutdown.await;
        drop(end);
        stop.send(()).ok();
        sleep(DRAIN_WITHIN).await;
    };
    tokio::select! {
        biased;
        served = serving => served,
        () = deadline => {
            tracing::warn!("calls on the control socket did not end in time");
            Ok(())
        }
    }
}
