//! `service create` and `service update`: done, planned, or done and waited for.

use std::{io::IsTerminal, time::Duration};

use clap::Args;
use protocol::{
    swarm::PlanRequest,
    wire::{CreateServiceRequest, ServiceSpec, UpdateServiceRequest, Version},
};
use serde_json::json;

use super::flags::{Changes, References};
use crate::{
    advice,
    connect::Client,
    convergence::{self, Wait},
    error::Error,
    output::{Format, json},
    overtaken::persist,
    text,
    value::{self, Invalid},
};

/// What both verbs can do beside what they say.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// Only show what would change and where tasks would go
    #[arg(long)]
    dry_run: bool,
    /// How the outcome is shown: table or json
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Wait until all tasks run and stay up, or until it is clear that they will not; where both
    /// outputs are a terminal that is so unless it is false
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    wait: Option<bool>,
    /// How long to wait at most (10m unless given); 0 is without end. Waits where there is no
    /// terminal, too
    #[arg(long, allow_hyphen_values = true, value_parser = wait_timeout)]
    wait_timeout: Option<Duration>,
}

/// How long a wait lasts at most unless it is said: longer than a slow start takes, and short enough
/// for a script that nobody looks at.
const WAIT_MAX: Duration = Duration::from_secs(600);

fn wait_timeout(text: &str) -> Result<Duration, Invalid> {
    let duration = value::duration(text)?;
    Duration::try_from(duration).map_err(|_| Invalid::new("the time must not be negative"))
}

impl Manner {
    /// Whether somebody asked to wait, wherever that is.
    pub(super) fn must_wait(self) -> bool {
        self.wait.unwrap_or(self.wait_timeout.is_some())
    }

    /// How long to wait at most, if at all.
    pub(super) fn wait(self, is_terminal: bool) -> Option<Duration> {
        let waits = self.must_wait() || self.wait.is_none() && is_terminal;
        let limit = match self.wait_timeout {
            Some(Duration::ZERO) => Duration::MAX,
            Some(limit) => limit,
            None => WAIT_MAX,
        };
        waits.then_some(limit)
    }

    /// Says which service it is, and waits for it if that is wanted; `written` is the version of
    /// its spec that was just written, if one was.
    async fn conclude(
        self,
        client: &mut Client,
        id: &str,
        name: &str,
        written: Option<Version>,
    ) -> Result<(), Error> {
        match self.format {
            Format::Table => text::print(&format!("{id}\n"))?,
            Format::Json => json::print(&json!({ "id": id }))?,
        }
        // Whoever reads the id from a pipe waits for the end of it, and sees no bars.
        let is_terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        let Some(limit) = self.wait(is_terminal) else { return Ok(()) };
        let written = written.map(|version| version.index);
        Box::pin(convergence::wait(client, Wait { id, name, written, limit })).await
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
    let service = client.control.create_service(request).await?.into_inner().service;
    let service = service.unwrap_or_default();
    manner.conclude(client, &service.id, super::name(&service), service.spec_version).await
}

pub(super) async fn update(
    client: &mut Client,
    name: &str,
    changes: &Changes,
    references: &References,
    manner: Manner,
) -> Result<(), Error> {
    let changed = async || Box::pin(change(client, name, changes, references, manner)).await;
    match persist(changed).await? {
        Changed::Planned => Ok(()),
        Changed::Service { id, written } => manner.conclude(client, &id, name, written).await,
    }
}

/// What has become of a change.
enum Changed {
    /// It was shown what it would do.
    Planned,
    /// The service, and the version of its spec if one was written.
    Service { id: String, written: Option<Version> },
}

async fn change(
    client: &mut Client,
    name: &str,
    changes: &Changes,
    references: &References,
    manner: Manner,
) -> Result<Changed, Error> {
    let service = client.service(name).await?;
    let before = service.spec.unwrap_or_default();
    let mut spec = before.clone();
    changes.apply(&mut spec)?;
    references.apply(client, &mut spec).await?;
    if spec == before {
        if manner.must_wait() && !manner.dry_run {
            return Ok(Changed::Service { id: service.id, written: None });
        }
        return Err(Error::usage("no changes detected"));
    }
    let service_version = service.meta.and_then(|meta| meta.version);
    if manner.dry_run {
        let request = PlanRequest { spec: Some(spec), service_id: service.id, service_version };
        advice::plan(client, &before, request, manner.format).await?;
        return Ok(Changed::Planned);
    }
    let request = UpdateServiceRequest {
        service_id: service.id.clone(),
        service_version,
        spec: Some(spec),
        ..Default::default()
    };
    let after = client.control.update_service(request).await?.into_inner().service;
    let written = after.and_then(|service| service.spec_version);
    Ok(Changed::Service { id: service.id, written })
}
