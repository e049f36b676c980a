//! `swarm.v1.Doubt`: what the dispatcher of a leader doubts, for whoever can look after the network.

use actors::dispatcher::BelieveSilence;
use protocol::swarm::{
    EndDoubtRequest, EndDoubtResponse, GetDoubtRequest, GetDoubtResponse, doubt_server,
};
use tonic::{Request, Response, Status};

use super::Dispatcher;

#[tonic::async_trait]
impl doubt_server::Doubt for Dispatcher {
    async fn get_doubt(
        &self,
        _: Request<GetDoubtRequest>,
    ) -> Result<Response<GetDoubtResponse>, Status> {
        self.present()?;
        let doubt = self.seat.doubt();
        let told = doubt.map(|doubt| GetDoubtResponse {
            since: Some(doubt.since),
            ready_nodes: doubt.ready as u64,
            present_nodes: doubt.present as u64,
        });
        Ok(Response::new(told.unwrap_or_default()))
    }

    async fn end_doubt(
        &self,
        _: Request<EndDoubtRequest>,
    ) -> Result<Response<EndDoubtResponse>, Status> {
        let ended = self.present()?.send(BelieveSilence).await;
        ended.map_err(|_| Status::aborted("dispatcher is stopped"))?;
        tracing::info!("nodes that fell silent together are taken for lost");
        Ok(Response::new(EndDoubtResponse {}))
    }
}
