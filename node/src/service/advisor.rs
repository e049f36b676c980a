//! `swarm.v1.Advisor`: why tasks do not run, and what a spec would bring about. Reads what is
//! committed, away from the actors that decide in earnest.

use std::sync::Arc;

use actors::{
    control::{
        Error,
        logic::{explain, plan},
    },
    environment::Clock,
};
use protocol::swarm::{ExplainRequest, ExplainResponse, PlanRequest, PlanResponse, advisor_server};
use rand::rngs::OsRng;
use tonic::{Request, Response, Status};

use super::{
    Leadership,
    status::{leaderless, refused},
};

/// Answers as the leader, or not at all.
#[derive(Clone)]
pub struct Advisor {
    leadership: Leadership,
    clock: Arc<dyn Clock>,
}

impl Advisor {
    /// Tells of what this manager leads.
    pub fn new(leadership: Leadership, clock: Arc<dyn Clock>) -> Self {
        Self { leadership, clock }
    }
}

/// Thinks on a thread of its own: with many nodes that takes longer than other calls should wait.
async fn thought<T: Send + 'static>(
    think: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<Response<T>, Status> {
    let answer = tokio::task::spawn_blocking(think).await;
    let answer = answer.map_err(|_| Status::internal("this could not be thought through"))?;
    answer.map(Response::new).map_err(|error| refused(&error))
}

#[tonic::async_trait]
impl advisor_server::Advisor for Advisor {
    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        let view = self.leadership.current().await.map_err(leaderless)?;
        thought(move || explain::answer(&view, request.get_ref())).await
    }

    async fn plan(&self, request: Request<PlanRequest>) -> Result<Response<PlanResponse>, Status> {
        let view = self.leadership.current().await.map_err(leaderless)?;
        let instant = tokio::time::Instant::now().into_std();
        let now = plan::Moment { wall: self.clock.now(), instant };
        thought(move || plan::answer(&view, request.into_inner(), now, &mut OsRng)).await
    }
}
