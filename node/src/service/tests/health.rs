//! What is ready, and from when on.

use actors::store::View;
use protocol::wire::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic::{Code, Status};

use super::{World, check, run};

async fn ask(world: &World, service: &str) -> Result<ServingStatus, Status> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(world.channel.clone()).check(request).await?;
    Ok(answer.into_inner().status())
}

#[test]
fn control_is_ready_while_there_is_a_leader() {
    run(&View::default(), async |world| {
        assert_eq!(ask(world, "").await.expect("known"), ServingStatus::Serving);
        assert_eq!(ask(world, "ControlAPI").await.expect("known"), ServingStatus::Serving);
        world.leads.set(false);
        assert_eq!(ask(world, "").await.expect("known"), ServingStatus::Serving);
        assert_eq!(ask(world, "ControlAPI").await.expect("known"), ServingStatus::NotServing);
        check(ask(world, "Raft").await, Code::NotFound, "unknown service");
    });
}
