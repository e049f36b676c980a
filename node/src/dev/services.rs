//! The services of a throw-away swarm: made at its beginning, taken down at its end.

use std::time::Duration;

use anyhow::{Result, anyhow};
use protocol::wire::{
    CreateServiceRequest, ListServicesRequest, ListTasksRequest, RemoveServiceRequest, ServiceSpec,
    control_client::ControlClient,
};
use tokio::time::sleep;
use tonic::transport::Channel;

/// How long a node may take until it takes writes, and the tasks until they are gone.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Speaks to the swarm as `swarmctl` would.
pub(super) struct Services {
    control: ControlClient<Channel>,
}

impl Services {
    pub(super) fn new(channel: Channel) -> Self {
        Self { control: ControlClient::new(channel) }
    }

    /// Creates a service as soon as the node leads.
    pub(super) async fn create(&mut self, spec: ServiceSpec) -> Result<()> {
        let request = CreateServiceRequest { spec: Some(spec) };
        let mut refused = None;
        for _ in 0..attempts() {
            match self.control.create_service(request.clone()).await {
                Ok(_) => return Ok(()),
                Err(status) if status.code() == tonic::Code::Unavailable => refused = Some(status),
                Err(status) => return Err(anyhow!("the sample is refused: {}", status.message())),
            }
            sleep(LOOK_EVERY).await;
        }
        let reason = refused.map(|status| status.message().to_owned()).unwrap_or_default();
        Err(anyhow!("the swarm takes no writes: {reason}"))
    }

    /// Removes every service, and waits until their tasks are gone from this machine.
    pub(super) async fn take_down(&mut self) -> Result<()> {
        let services = self.control.list_services(ListServicesRequest::default()).await;
        for service in services.map_err(refused)?.into_inner().services {
            let request = RemoveServiceRequest { service_id: service.id };
            self.control.remove_service(request).await.map_err(refused)?;
        }
        for _ in 0..attempts() {
            let tasks = self.control.list_tasks(ListTasksRequest::default()).await;
            if tasks.map_err(refused)?.into_inner().tasks.is_empty() {
                return Ok(());
            }
            sleep(LOOK_EVERY).await;
        }
        Err(anyhow!("some tasks did not end within {} seconds", PATIENCE.as_secs()))
    }
}

fn refused(status: tonic::Status) -> anyhow::Error {
    anyhow!("the swarm cannot be taken down: {}", status.message())
}

fn attempts() -> u128 {
    PATIENCE.as_millis() / LOOK_EVERY.as_millis()
}
