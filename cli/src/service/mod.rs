//! `swarmctl service` (cli.md §3).

mod change;
mod flags;
mod logs;
pub(crate) mod page;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use clap::Subcommand;
use protocol::wire::{
    ListNodesRequest, ListServiceStatusesRequest, ListServicesRequest, ListTasksRequest, Node,
    RemoveServiceRequest, Service, Task, TaskState, list_tasks_request, node_status::State,
    service_spec::Mode,
};
use serde_json::json;
use tonic::Code;

use crate::{
    advice,
    arguments::Connection,
    connect::Client,
    error::Error,
    output::{self, Format, Listing, Output, json},
    service::flags::{Create, Update},
    task,
    text::{
        self,
        table::{Layout, Table},
    },
};

/// The verbs.
#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "one value, read once from the command line")]
pub(crate) enum Command {
    /// Create a service
    Create(Create),
    /// Say why tasks of a service do not run, and what would change that
    Explain {
        /// Service ID or name
        service: String,
        /// One of table, json
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Show what the tasks of services write
    #[command(visible_alias = "log")]
    Logs {
        /// Service IDs or names
        #[arg(required = true)]
        services: Vec<String>,
        /// Go on with what is still to be written
        #[arg(short, long)]
        follow: bool,
    },
    /// List services
    Ls(Listing),
    /// Inspect a service
    Inspect {
        /// Service ID or name
        service: String,
        /// Show all tasks, also those that should not run any more
        #[arg(short, long)]
        all: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Update a service
    Update(Update),
    /// Remove a service
    #[command(visible_alias = "rm")]
    Remove {
        /// Service ID or name
        service: String,
    },
}

/// Checks the flags, then asks a manager.
pub(crate) async fn run(command: Command, connection: &Connection) -> Result<(), Error> {
    let client = Client::open(connection);
    match command {
        Command::Create(flags) => {
            let manner = flags.manner;
            let (spec, references) = flags.spec()?;
            Box::pin(change::create(&mut client.await?, spec, &references, manner)).await
        }
        Command::Explain { service, format } => {
            advice::explain_service(&mut client.await?, &service, format).await
        }
        Command::Logs { services, follow } => {
            Box::pin(logs::print(&mut client.await?, &services, follow)).await
        }
        Command::Ls(listing) => {
            let filters = Some(output::services(&listing.output.filter)?);
            ls(&mut client.await?, &listing, ListServicesRequest { filters }).await
        }
        Command::Inspect { service, all, output } => {
            inspect(&mut client.await?, &service, all, &output).await
        }
        Command::Update(flags) => {
            let manner = flags.manner;
            let (service, changes, references) = flags.changes()?;
            let mut client = client.await?;
            let outcome = change::update(&mut client, &service, &changes, &references, manner);
            Box::pin(outcome).await
        }
        Command::Remove { service } => {
            let mut client = client.await?;
            let service_id = client.service(&service).await?.id;
            client.control.remove_service(RemoveServiceRequest { service_id }).await?;
            text::print(&format!("{service}\n"))
        }
    }
}

/// The name of a service.
pub(crate) fn name(service: &Service) -> &str {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.annotations.as_ref()).map_or("", |annotations| &annotations.name)
}

async fn ls(
    client: &mut Client,
    listing: &Listing,
    request: ListServicesRequest,
) -> Result<(), Error> {
    let services = client.control.list_services(request).await?.into_inner().services;
    if listing.quiet {
        let ids: String = services.iter().map(|service| format!("{}\n", service.id)).collect();
        return text::print(&ids);
    }
    if listing.output.format == Format::Json {
        return json::print(&json::all("Service", &services));
    }
    let running = running(client, &services).await?;
    let mut table = Table::new(&["ID", "Name", "Image", "Replicas"]);
    for service in &services {
        let running = running.get(&service.id).copied().unwrap_or_default();
        table.row(&[&service.id, name(service), page::image(service), &replicas(service, running)]);
    }
    text::print(&table.align(Layout::LIST))
}

/// How many tasks of each service run. The manager counts them, so that it need not send them all.
async fn running(
    client: &mut Client,
    services: &[Service],
) -> Result<BTreeMap<String, u64>, Error> {
    let services = services.iter().map(|service| service.id.clone()).collect();
    let request = ListServiceStatusesRequest { services };
    let statuses = client.control.list_service_statuses(request).await?.into_inner().statuses;
    let nodes = client.control.list_nodes(ListNodesRequest::default()).await?.into_inner().nodes;
    let down = |node: &Node| node.status.as_ref().is_some_and(|s| s.state() == State::Down);
    let running = statuses.into_iter().map(|status| (status.service_id, status.running_tasks));
    let mut running = running.collect();
    for node in nodes.into_iter().filter(down) {
        let filters = list_tasks_request::Filters { node_ids: vec![node.id], ..Default::default() };
        without_lost(&mut running, tasks(client, filters).await)?;
    }
    Ok(running)
}

/// Takes the tasks on a node that is down out of what the manager counts: nobody knows of these. It
/// may have more than an answer holds; then what the manager counts is better than nothing.
fn without_lost(
    running: &mut BTreeMap<String, u64>,
    lost: Result<Vec<Task>, Error>,
) -> Result<(), Error> {
    let lost = match lost {
        Err(Error::Status(status)) if status.code() == Code::ResourceExhausted => return Ok(()),
        lost => lost?,
    };
    for task in lost.iter().filter(|task| is_running(task)) {
        if let Some(running) = running.get_mut(&task.service_id) {
            *running = running.saturating_sub(1);
        }
    }
    Ok(())
}

fn is_running(task: &Task) -> bool {
    task.status.as_ref().is_some_and(|status| status.state() == TaskState::Running)
}

/// How many tasks run of how many that should.
fn replicas(service: &Service, running: u64) -> String {
    match service.spec.as_ref().and_then(|spec| spec.mode.as_ref()) {
        Some(Mode::Replicated(mode)) => format!("{running}/{}", mode.replicas),
        Some(Mode::Global(_)) => "global".to_owned(),
        Some(Mode::ReplicatedJob(_) | Mode::GlobalJob(_)) | None => String::new(),
    }
}

async fn inspect(client: &mut Client, name: &str, all: bool, output: &Output) -> Result<(), Error> {
    let service = client.service(name).await?;
    let mut filters = output::tasks(client, &output.filter).await?;
    filters.service_ids = vec![service.id.clone()];
    let mut tasks = tasks(client, task::listed(filters, all)).await?;
    if output.format == Format::Json {
        tasks.retain(|one| all || task::wanted(one));
        return json::print(&json!({
            "service": json::of("Service", &service),
            "tasks": json::all("Task", &tasks),
        }));
    }
    let request = ListServiceStatusesRequest { services: vec![service.id.clone()] };
    let statuses = client.control.list_service_statuses(request).await?.into_inner().statuses;
    let running = statuses.first().map_or(0, |status| status.running_tasks);
    text::print(&page::page(&service, &replicas(&service, running)))?;
    task::print_below(client, tasks, all).await
}

async fn tasks(
    client: &mut Client,
    filters: list_tasks_request::Filters,
) -> Result<Vec<Task>, Error> {
    let request = ListTasksRequest { filters: Some(filters) };
    Ok(client.control.list_tasks(request).await?.into_inner().tasks)
}
