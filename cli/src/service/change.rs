//! `service create` and `service update`: done, planned, or done and waited for.

use std::io::IsTerminal;

use clap::Args;
use protocol::{
    swarm::PlanRequest,
    wire::{CreateServiceRequest, ServiceSpec, UpdateServiceRequest},
};

use super::flags::{Changes, References};
use crate::{advice, connect::Client, convergence, error::Error, output::Format, text};

/// What both verbs can do beside what they say.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// Only show what would change and where tasks would go
    #[arg(long)]
    dry_run: bool,
    /// How a dry run is shown: table or json
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Wait until all tasks run, or until it is clear that they will not; on a terminal that is
    /// so unless it is false
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    wait: Option<bool>,
}

impl Manner {
    async fn conclude(self, client: &mut Client, id: &str) -> Result<(), Error> {
        text::print(&format!("{id}\n"))?;
        if self.wait.unwrap_or_else(|| std::io::stderr().is_terminal()) {
            Box::pin(convergence::wait(client, id)).await?;
        }
        Ok(())
    }
}

pub(super) async fn create(
    client: &mut Client,
    mut spec: ServiceSpec,
    references: &References,
    manner: Manner,
) -> Result<(), Error> {
    references.apply(client, &mut spec).await?;
    if manner.dry_run {
        let request = PlanRequest { spec: Some(spec), ..PlanRequest::default() };
        return advice::plan(client, &ServiceSpec::default(), request, manner.format).await;
    }
    let request = CreateServiceRequest { spec: Some(spec) };
    let answer = client.control.create_service(request).await?.into_inner();
    manner.conclude(client, &answer.service.unwrap_or_default().id).await
}

pub(super) async fn update(
    client: &mut Client,
    name: &str,
    changes: &Changes,
    references: &References,
    manner: Manner,
) -> Result<(), Error> {
    let service = client.service(name).await?;
    let before = service.spec.unwrap_or_default();
    let mut spec = before.clone();
    changes.apply(&mut spec)?;
    references.apply(client, &mut spec).await?;
    if spec == before {
        return Err(Error::usage("no changes detected"));
    }
    let service_version = service.meta.and_then(|meta| meta.version);
    if manner.dry_run {
        let request = PlanRequest { spec: Some(spec), service_id: service.id, service_version };
        return advice::plan(client, &before, request, manner.format).await;
    }
    let request = UpdateServiceRequest {
        service_id: service.id.clone(),
        service_version,
        spec: Some(spec),
        ..Default::default()
    };
    client.control.update_service(request).await?;
    manner.conclude(client, &service.id).await
}
