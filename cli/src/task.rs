//! `swarmctl task`, and the table of tasks that other pages end with (cli.md §4).

use std::{cmp::Reverse, fmt::Write};

use clap::Subcommand;
use protocol::wire::{
    GetTaskRequest, ListTasksRequest, PortConfig, RemoveTaskRequest, Task, TaskState, TaskStatus,
    list_tasks_request, task_spec::Runtime, task_status::RuntimeStatus,
};
use serde_json::json;

use crate::{
    advice,
    arguments::Connection,
    connect::Client,
    error::Error,
    output::{self, Format, Listing, Output, json},
    resolve::Names,
    service::page::{container_lines, reference_lines},
    text::{
        self, human,
        table::{Layout, Table},
    },
};

/// The verbs.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List tasks
    Ls {
        /// Display all tasks, also those that should not run any more
        #[arg(short, long)]
        all: bool,
        #[command(flatten)]
        listing: Listing,
    },
    /// Say why a task does not run, and what would change that
    Explain {
        /// Task ID
        task: String,
        /// One of table, json
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Inspect a task
    Inspect {
        /// Task ID
        task: String,
        #[command(flatten)]
        output: Output,
    },
    /// Remove a task
    #[command(visible_alias = "rm")]
    Remove {
        /// Task ID
        task: String,
    },
}

pub(crate) async fn run(command: Command, connection: &Connection) -> Result<(), Error> {
    let mut client = Client::open(connection).await?;
    match command {
        Command::Ls { all, listing: Listing { quiet, output } } => {
            let filters = Some(listed(output::tasks(&mut client, &output.filter).await?, all));
            let answer = client.control.list_tasks(ListTasksRequest { filters }).await?;
            let tasks = answer.into_inner().tasks;
            match output.format {
                Format::Json if !quiet => json::print(&json::all("Task", &tasks))?,
                Format::Json | Format::Table => {
                    text::print(&listing(&mut client, &tasks, quiet).await)?;
                }
            }
        }
        Command::Explain { task, format } => {
            advice::explain_task(&mut client, &task, format).await?;
        }
        Command::Inspect { task, output } => inspect(&mut client, task, &output).await?,
        Command::Remove { task } => {
            client.control.remove_task(RemoveTaskRequest { task_id: task.clone() }).await?;
            text::print(&format!("{task}\n"))?;
        }
    }
    Ok(())
}

/// The tasks that a listing asks for: those that should (still) run, unless other states are asked
/// for. The rest is the larger part where much has happened, so the manager leaves it out.
pub(crate) fn listed(
    mut filters: list_tasks_request::Filters,
    all: bool,
) -> list_tasks_request::Filters {
    if !all && filters.desired_states.is_empty() {
        filters.desired_states = states(|state| state <= TaskState::Running);
    }
    filters
}

/// The desired states that fit, as filters ask for them.
pub(crate) fn states(fits: impl Fn(TaskState) -> bool) -> Vec<i32> {
    let every =
        (0..=TaskState::Orphaned as i32).filter_map(|state| TaskState::try_from(state).ok());
    every.filter(|state| fits(*state)).map(i32::from).collect()
}

/// Whether a task should (still) run; pages leave the others out.
pub(crate) fn wanted(task: &Task) -> bool {
    task.desired_state <= TaskState::Running as i32
}

/// When a task reached its state, with the state.
fn last_state(task: &Task) -> String {
    let status = task.status.clone().unwrap_or_default();
    let state = status.state().as_str_name();
    match &status.timestamp {
        Some(timestamp) => format!("{state} {}", human::relative(timestamp, &text::now())),
        None => state.to_owned(),
    }
}

fn image(task: &Task) -> &str {
    match task.spec.as_ref().and_then(|spec| spec.runtime.as_ref()) {
        Some(Runtime::Container(container)) => &container.image,
        Some(Runtime::Attachment(_) | Runtime::Generic(_)) | None => "",
    }
}

async fn listing(client: &mut Client, tasks: &[Task], quiet: bool) -> String {
    if quiet {
        return tasks.iter().map(|task| format!("{}\n", task.id)).collect();
    }
    let mut names = Names::default();
    let mut table = Table::new(&["ID", "Service", "Desired State", "Last State", "Node"]);
    for task in tasks {
        let service = names.service(client, &task.service_id).await;
        let node = names.node(client, &task.node_id).await;
        table.row(&[
            &task.id,
            &format!("{service}.{}", task.slot),
            task.desired_state().as_str_name(),
            &last_state(task),
            &node,
        ]);
    }
    table.align(Layout::LIST)
}

/// The table below a page: by slot, then the newest first.
pub(crate) async fn table(client: &mut Client, mut tasks: Vec<Task>, all: bool) -> String {
    tasks.retain(|task| all || wanted(task));
    let created = |task: &Task| {
        let created = task.meta.and_then(|meta| meta.created_at).unwrap_or_default();
        (created.seconds, created.nanos)
    };
    tasks.sort_by_key(|task| (task.slot, Reverse(created(task))));
    let mut names = Names::default();
    let head = ["Task ID", "Service", "Slot", "Image", "Desired State", "Last State", "Node"];
    let mut table = Table::new(&head);
    for task in &tasks {
        let service = task.service_annotations.as_ref().map_or("", |service| &service.name);
        let node = names.node(client, &task.node_id).await;
        table.row(&[
            &task.id,
            service,
            &task.slot.to_string(),
            image(task),
            task.desired_state().as_str_name(),
            &last_state(task),
            &node,
        ]);
    }
    table.align(Layout::TASKS)
}

/// Writes the table below a page, if there is anything in it.
pub(crate) async fn print_below(
    client: &mut Client,
    tasks: Vec<Task>,
    all: bool,
) -> Result<(), Error> {
    if tasks.is_empty() {
        return Ok(());
    }
    let table = table(client, tasks, all).await;
    text::print(&format!("\n{table}"))
}

async fn inspect(client: &mut Client, task_id: String, output: &Output) -> Result<(), Error> {
    let answer = client.control.get_task(GetTaskRequest { task_id: task_id.clone() }).await?;
    let Some(task) = answer.into_inner().task else {
        return Err(Error::usage(format!("task {task_id} not found")));
    };
    let mut filters = output::tasks(client, &output.filter).await?;
    filters.service_ids = vec![task.service_id.clone()];
    let request = ListTasksRequest { filters: Some(filters) };
    let mut parents = client.control.list_tasks(request).await?.into_inner().tasks;
    parents.retain(|other| other.slot == task.slot);
    if output.format == Format::Json {
        return json::print(&json!({
            "task": json::of("Task", &task),
            "parents": json::all("Task", &parents),
        }));
    }
    let mut names = Names::default();
    let service = names.service(client, &task.service_id).await;
    let node = names.node(client, &task.node_id).await;
    text::print(&page(&task, &service, &node))?;
    let table = table(client, parents, true).await;
    text::print(&format!("\n===> Task Parents\n{table}"))
}

fn page(task: &Task, service: &str, node: &str) -> String {
    let mut page = format!("ID\t: {}\n", task.id);
    let _ = writeln!(page, "Slot\t: {}", task.slot);
    let _ = writeln!(page, "Service\t: {service}");
    page.push_str(&status_lines(task));
    if !node.is_empty() {
        let _ = writeln!(page, "Node\t: {node}");
    }
    page.push_str("Spec\t\n");
    if let Some(Runtime::Container(container)) = task.spec.as_ref().and_then(|s| s.runtime.as_ref())
    {
        page.push_str(&container_lines(container, "  "));
        page.push_str(&reference_lines(container, false));
    }
    Layout::PAGE.align(&page)
}

fn status_lines(task: &Task) -> String {
    let status = task.status.clone().unwrap_or_default();
    let mut lines = "Status\t\n".to_owned();
    let mut line = |label: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(lines, "  {label}\t: {value}");
        }
    };
    line("Desired State", task.desired_state().as_str_name());
    line("Last State", status.state().as_str_name());
    line("Timestamp", &status.timestamp.as_ref().map(human::absolute).unwrap_or_default());
    line("Message", &status.message);
    line("Error", &status.err);
    if let Some(RuntimeStatus::Container(container)) = &status.runtime_status {
        line("ContainerID:", &container.container_id);
        if container.pid != 0 {
            line("Pid", &container.pid.to_string());
        }
        if status.state > TaskState::Running as i32 {
            line("ExitCode", &container.exit_code.to_string());
        }
    }
    let ports = ports(&status);
    if !ports.is_empty() {
        let _ = writeln!(lines, "Ports\t: {ports}");
    }
    lines
}

fn ports(status: &TaskStatus) -> String {
    let ports = status.port_status.iter().flat_map(|status| &status.ports);
    let text = |port: &PortConfig| {
        let protocol = port.protocol().as_str_name().to_lowercase();
        format!("0.0.0.0:{}->{}/{protocol}", port.published_port, port.target_port)
    };
    ports.map(text).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_asks_for_tasks_that_should_run_unless_it_is_told_otherwise() {
        let states = |asked: &[TaskState], all| {
            let desired_states = asked.iter().map(|state| *state as i32).collect();
            let filters = list_tasks_request::Filters { desired_states, ..Default::default() };
            let asked = listed(filters, all).desired_states.into_iter();
            asked.map(|state| TaskState::try_from(state).unwrap()).collect::<Vec<_>>()
        };
        let wanted = states(&[], false);
        for state in [TaskState::New, TaskState::Ready, TaskState::Running] {
            assert!(wanted.contains(&state), "{state:?}");
        }
        for state in [TaskState::Complete, TaskState::Shutdown, TaskState::Remove] {
            assert!(!wanted.contains(&state), "{state:?}");
        }
        assert_eq!(states(&[], true), []);
        assert_eq!(states(&[TaskState::Shutdown], false), [TaskState::Shutdown]);
    }
}
