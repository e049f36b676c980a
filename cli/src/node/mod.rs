//! `swarmctl node` (cli.md §2).

mod change;
mod page;
#[cfg(test)]
mod tests;

use clap::Subcommand;
use protocol::{
    swarm::{Actor, ListActorsRequest},
    wire::{ListNodesRequest, ListTasksRequest, Node, RemoveNodeRequest, UpdateNodeRequest},
};
use serde_json::Map;

use self::change::Change;
use crate::{
    arguments::Connection,
    connect::Client,
    error::Error,
    output::{self, Format, Listing, Output, json},
    overtaken::persist,
    task,
    text::{
        self, human,
        table::{Layout, Table},
    },
    value::List,
};

/// The verbs.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Let a node take tasks
    Activate {
        /// Node ID or name
        node: String,
    },
    /// Make a manager a worker
    Demote {
        /// Node ID or name
        node: String,
    },
    /// Take all tasks from a node and give it no more
    Drain {
        /// Node ID or name
        node: String,
    },
    /// Inspect a node
    Inspect {
        /// Node ID or name
        #[arg(required_unless_present = "actors")]
        node: Option<String>,
        /// Show all tasks, also those that should not run any more
        #[arg(short, long)]
        all: bool,
        /// Show the supervised actors of the daemon behind the socket
        #[arg(long)]
        actors: bool,
        #[command(flatten)]
        output: Output,
    },
    /// List nodes
    Ls(Listing),
    /// Give a node no more tasks
    Pause {
        /// Node ID or name
        node: String,
    },
    /// Make a worker a manager
    Promote {
        /// Node ID or name
        node: String,
    },
    /// Remove a node
    #[command(visible_alias = "rm")]
    Remove {
        /// Node ID or name
        node: String,
        /// Remove it even if it is not down
        #[arg(short, long)]
        force: bool,
    },
    /// Update a node
    Update {
        /// Node ID or name
        node: String,
        /// Node labels (key=value), instead of those there are
        #[arg(long, allow_hyphen_values = true)]
        label: Option<Vec<List>>,
    },
}

/// Checks the flags, then asks a manager.
pub(crate) async fn run(command: Command, connection: &Connection) -> Result<(), Error> {
    let client = Client::open(connection);
    let (node, change) = match command {
        Command::Activate { node } => (node, Change::Activate),
        Command::Demote { node } => (node, Change::Demote),
        Command::Drain { node } => (node, Change::Drain),
        Command::Pause { node } => (node, Change::Pause),
        Command::Promote { node } => (node, Change::Promote),
        Command::Update { node, label } => (node, Change::labels(label.as_deref())?),
        Command::Inspect { node, all, actors, output } => {
            return inspect(&mut client.await?, node.as_deref(), all, actors, &output).await;
        }
        Command::Ls(listing) => {
            let filters = Some(output::nodes(&listing.output.filter)?);
            return ls(&mut client.await?, &listing, ListNodesRequest { filters }).await;
        }
        Command::Remove { node, force } => {
            let mut client = client.await?;
            let node_id = client.node(&node).await?.id;
            client.control.remove_node(RemoveNodeRequest { node_id, force }).await?;
            return Ok(());
        }
    };
    let mut client = client.await?;
    persist(async || update(&mut client, &node, &change).await).await
}

async fn ls(
    client: &mut Client,
    listing: &Listing,
    request: ListNodesRequest,
) -> Result<(), Error> {
    let nodes = client.control.list_nodes(request).await?.into_inner().nodes;
    match listing.output.format {
        Format::Json if !listing.quiet => json::print(&json::all("Node", &nodes)),
        Format::Json | Format::Table => text::print(&page::listing(&nodes, listing.quiet)),
    }
}

async fn update(client: &mut Client, name: &str, change: &Change) -> Result<(), Error> {
    let node = client.node(name).await?;
    let mut spec = node.spec.unwrap_or_default();
    change.apply(name, &mut spec)?;
    let request = UpdateNodeRequest {
        node_id: node.id,
        node_version: node.meta.and_then(|meta| meta.version),
        spec: Some(spec),
    };
    client.control.update_node(request).await?;
    Ok(())
}

/// Shows a node with its tasks, the actors of the daemon behind the socket, or both.
async fn inspect(
    client: &mut Client,
    name: Option<&str>,
    all: bool,
    actors: bool,
    output: &Output,
) -> Result<(), Error> {
    let mut shown = Map::new();
    if let Some(name) = name {
        let node = client.node(name).await?;
        let mut filters = output::tasks(client, &output.filter).await?;
        filters.node_ids = vec![node.id.clone()];
        let request = ListTasksRequest { filters: Some(filters) };
        let mut tasks = client.control.list_tasks(request).await?.into_inner().tasks;
        match output.format {
            Format::Json => {
                tasks.retain(|one| all || task::wanted(one));
                shown.insert("node".to_owned(), json::of("Node", &node));
                shown.insert("tasks".to_owned(), json::all("Task", &tasks));
            }
            Format::Table => {
                text::print(&page::page(&node))?;
                task::print_below(client, tasks, all).await?;
            }
        }
    }
    if actors {
        let answer = client.diagnostics.list_actors(ListActorsRequest {}).await?.into_inner();
        match output.format {
            Format::Json => {
                let actors = answer.actors.iter().map(|actor| json::ours("Actor", actor));
                shown.insert("actors".to_owned(), actors.collect());
            }
            Format::Table => text::print(&actor_table(&answer.actors))?,
        }
    }
    match output.format {
        Format::Json => json::print(&shown.into()),
        Format::Table => Ok(()),
    }
}

/// The name that a node is shown with: its own, else the host's.
pub(crate) fn name(node: &Node) -> &str {
    let annotations = node.spec.as_ref().and_then(|spec| spec.annotations.as_ref());
    match annotations.map_or("", |annotations| &annotations.name) {
        "" => hostname(node),
        name => name,
    }
}

fn hostname(node: &Node) -> &str {
    node.description.as_ref().map_or("", |description| &description.hostname)
}

fn actor_table(actors: &[Actor]) -> String {
    let head = ["Actor", "State", "Restarts", "Mailbox", "Handled", "Longest", "Last Failure"];
    let mut table = Table::new(&head);
    for actor in actors {
        let longest = actor.longest_poll.unwrap_or_default();
        table.row(&[
            &actor.path,
            actor.state().as_str_name(),
            &actor.restarts.to_string(),
            &format!("{}/{}", actor.mailbox_depth, actor.mailbox_capacity),
            &actor.messages_handled.to_string(),
            &human::duration(&longest),
            &actor.last_failure,
        ]);
    }
    table.align(Layout::LIST)
}
