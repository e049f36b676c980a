//! `docker.swarmkit.v1.Health`: whether a service of this manager is ready.

use protocol::wire::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server,
};
use tonic::{Request, Response, Status};

use super::Leadership;

/// The name under which the calls about the cluster are asked for.
const CONTROL: &str = "ControlAPI";

/// Answers for the manager as a whole, and for the calls about the cluster.
pub struct Health(Leadership);

impl Health {
    /// The calls about the cluster are ready while raft is up.
    pub fn new(leadership: Leadership) -> Self {
        Self(leadership)
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let is_ready = match request.into_inner().service.as_str() {
            "" => true,
            CONTROL => self.0.is_up().await,
            _ => return Err(Status::not_found("unknown service")),
        };
        let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }
}
