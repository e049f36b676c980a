//! `swarm.v1.Diagnostics`: what the actors of this daemon do.

use actors::supervision::{ActorReport, ActorState, Census};
use protocol::swarm::{
    Actor, ListActorsRequest, ListActorsResponse, actor::State, diagnostics_server,
};
use tonic::{Request, Response, Status};

/// Answers from the census, without asking any actor: also when one of them hangs.
#[derive(Clone)]
pub struct Diagnostics(Census);

impl Diagnostics {
    /// Shows the actors of this census.
    pub fn new(census: Census) -> Self {
        Self(census)
    }
}

#[tonic::async_trait]
impl diagnostics_server::Diagnostics for Diagnostics {
    async fn list_actors(
        &self,
        _: Request<ListActorsRequest>,
    ) -> Result<Response<ListActorsResponse>, Status> {
        let actors = self.0.report().into_iter().map(shown).collect();
        Ok(Response::new(ListActorsResponse { actors }))
    }
}

fn shown(report: ActorReport) -> Actor {
    let state = match report.state {
        ActorState::Running => State::Running,
        ActorState::BackingOff => State::BackingOff,
        ActorState::Stopped => State::Stopped,
    };
    Actor {
        path: report.path,
        state: state.into(),
        restarts: report.restarts,
        last_failure: report.last_failure.unwrap_or_default(),
        mailbox_depth: report.mailbox_depth as u64,
        mailbox_capacity: report.mailbox_capacity as u64,
        messages_handled: report.messages_handled,
        longest_poll: report.longest_poll.try_into().ok(),
    }
}
