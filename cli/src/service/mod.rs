//! `swarmctl service` (cli.md §3).

mod flags;
pub(crate) mod page;

#[cfg(test)]
mod tests;

use clap::Subcommand;
use protocol::wire::{
    CreateServiceRequest, ListNodesRequest, ListServicesRequest, ListTasksRequest, NodeStatus,
    RemoveServiceRequest, Service, ServiceSpec, Task, TaskState, UpdateServiceRequest,
    list_tasks_request, node_status::State, service_spec::Mode,
};

use crate::{
    connect::Client,
    error::Error,
    service::flags::{Changes, Create, Update},
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
    /// List services
    Ls {
        /// Only display IDs
        #[arg(short, long)]
        quiet: bool,
    },
    /// Inspect a service
    Inspect {
        /// Service ID or name
        service: String,
        /// Show all tasks, also those that should not run any more
        #[arg(short, long)]
        all: bool,
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

/// A command whose flags were checked before any manager is asked.
#[allow(clippy::large_enum_variant, reason = "one value, used once")]
pub(crate) enum Prepared {
    Create(ServiceSpec),
    Ls { quiet: bool },
    Inspect { service: String, all: bool },
    Update { service: String, changes: Changes },
    Remove { service: String },
}

/// Checks the flags.
pub(crate) fn prepare(command: Command) -> Result<Prepared, Error> {
    Ok(match command {
        Command::Create(create) => Prepared::Create(create.spec()?),
        Command::Ls { quiet } => Prepared::Ls { quiet },
        Command::Inspect { service, all } => Prepared::Inspect { service, all },
        Command::Update(update) => {
            let (service, changes) = update.changes()?;
            Prepared::Update { service, changes }
        }
        Command::Remove { service } => Prepared::Remove { service },
    })
}

pub(crate) async fn run(command: Prepared, mut client: Client) -> Result<(), Error> {
    match command {
        Prepared::Create(spec) => {
            let request = CreateServiceRequest { spec: Some(spec) };
            let answer = client.control.create_service(request).await?;
            let service = answer.into_inner().service.unwrap_or_default();
            text::print(&format!("{}\n", service.id))?;
        }
        Prepared::Ls { quiet } => ls(&mut client, quiet).await?,
        Prepared::Inspect { service, all } => inspect(&mut client, &service, all).await?,
        Prepared::Update { service, changes } => {
            Box::pin(update(&mut client, &service, &changes)).await?;
        }
        Prepared::Remove { service } => {
            let service_id = client.service(&service).await?.id;
            client.control.remove_service(RemoveServiceRequest { service_id }).await?;
            text::print(&format!("{service}\n"))?;
        }
    }
    Ok(())
}

/// The name of a service.
pub(crate) fn name(service: &Service) -> &str {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.annotations.as_ref()).map_or("", |annotations| &annotations.name)
}

async fn update(client: &mut Client, name: &str, changes: &Changes) -> Result<(), Error> {
    let service = client.service(name).await?;
    let before = service.spec.clone().unwrap_or_default();
    let mut spec = before.clone();
    changes.apply(&mut spec)?;
    if spec == before {
        return Err(Error::usage("no changes detected"));
    }
    let request = UpdateServiceRequest {
        service_id: service.id.clone(),
        service_version: service.meta.and_then(|meta| meta.version),
        spec: Some(spec),
        ..Default::default()
    };
    client.control.update_service(request).await?;
    text::print(&format!("{}\n", service.id))
}

async fn ls(client: &mut Client, quiet: bool) -> Result<(), Error> {
    let answer = client.control.list_services(ListServicesRequest::default()).await?;
    let services = answer.into_inner().services;
    if quiet {
        let ids: String = services.iter().map(|service| format!("{}\n", service.id)).collect();
        return text::print(&ids);
    }
    let tasks = client.control.list_tasks(ListTasksRequest::default()).await?.into_inner().tasks;
    let nodes = client.control.list_nodes(ListNodesRequest::default()).await?.into_inner().nodes;
    let down = |status: Option<&NodeStatus>| status.is_some_and(|s| s.state() == State::Down);
    let down: Vec<_> = nodes
        .iter()
        .filter(|node| down(node.status.as_ref()))
        .map(|node| node.id.as_str())
        .collect();
    let mut table = Table::new(&["ID", "Name", "Image", "Replicas"]);
    for service in &services {
        let running = tasks
            .iter()
            .filter(|task| task.service_id == service.id && !down.contains(&&*task.node_id));
        let replicas = replicas(service, count_running(running));
        table.row(&[&service.id, name(service), page::image(service), &replicas]);
    }
    text::print(&table.align(Layout::LIST))
}

fn count_running<'a>(tasks: impl Iterator<Item = &'a Task>) -> usize {
    let running = TaskState::Running as i32;
    tasks.filter(|task| task.status.as_ref().is_some_and(|status| status.state == running)).count()
}

/// How many tasks run of how many that should.
fn replicas(service: &Service, running: usize) -> String {
    match service.spec.as_ref().and_then(|spec| spec.mode.as_ref()) {
        Some(Mode::Replicated(mode)) => format!("{running}/{}", mode.replicas),
        Some(Mode::Global(_)) => "global".to_owned(),
        Some(Mode::ReplicatedJob(_) | Mode::GlobalJob(_)) | None => String::new(),
    }
}

async fn inspect(client: &mut Client, name: &str, all: bool) -> Result<(), Error> {
    let service = client.service(name).await?;
    let service_ids = vec![service.id.clone()];
    let filters = Some(list_tasks_request::Filters { service_ids, ..Default::default() });
    let answer = client.control.list_tasks(ListTasksRequest { filters }).await?;
    let tasks = answer.into_inner().tasks;
    let replicas = replicas(&service, count_running(tasks.iter()));
    text::print(&page::page(&service, &replicas))?;
    if !tasks.is_empty() {
        let table = task::table(client, tasks, all).await;
        text::print(&format!("\n{table}"))?;
    }
    Ok(())
}
