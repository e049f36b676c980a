//! `docker.swarmkit.v1.Health`: whether a service of this manager is ready.

use protocol::wire::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server,
};
use tonic::{Request, Response, Status};

use super::Leadership;

/// The name under which the calls about the cluster are asked for, on the control socket.
const CONTROL: &str = "ControlAPI";

/// The name under which other managers ask for this one, on the port for other nodes.
pub(super) const RAFT: &str = "Raft";

/// Answers for the manager as a whole, and for what a door is there for.
#[derive(Clone)]
pub enum Health {
    /// On the control socket: the calls about the cluster are ready while raft is up.
    Control(Leadership),
    /// On the port for other nodes: raft messages are taken. A manager that is about to join says
    /// so before it can, since the leader asks that first.
    Raft,
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let is_ready = match (request.into_inner().service.as_str(), self) {
            ("", _) | (RAFT, Self::Raft) => true,
            (CONTROL, Self::Control(leadership)) => leadership.is_up().await,
            _ => return Err(Status::not_found("unknown service")),
        };
        let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }
}
