//! `swarmctl cluster` (cli.md §6).

mod flags;
mod page;
#[cfg(test)]
mod tests;

use clap::Subcommand;
use protocol::{
    swarm::{EndDoubtRequest, GetDoubtRequest, GetDoubtResponse},
    unlock_key::UnlockKey,
    wire::{GetUnlockKeyRequest, ListClustersRequest},
};

use serde_json::json;

use self::flags::{Changes, Update};
use crate::{
    arguments::Connection,
    connect::Client,
    error::Error,
    output::{self, Format, Listing, json},
    overtaken::persist,
    text,
};

/// The verbs.
#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "one value, read once from the command line")]
pub(crate) enum Command {
    /// Inspect a cluster
    Inspect {
        /// Cluster ID or name
        cluster: String,
        /// One of table, json
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// List clusters
    Ls(Listing),
    /// Show the key that unlocks managers after a start
    UnlockKey {
        /// Cluster ID or name
        cluster: String,
    },
    /// Update a cluster
    Update(Update),
}

/// Checks the flags, then asks a manager.
pub(crate) async fn run(command: Command, connection: &Connection) -> Result<(), Error> {
    let client = Client::open(connection);
    match command {
        Command::Ls(Listing { quiet, output }) => {
            let filters = Some(output::clusters(&output.filter)?);
            let request = ListClustersRequest { filters };
            let answer = client.await?.control.list_clusters(request).await?;
            let clusters = answer.into_inner().clusters;
            match output.format {
                Format::Json if !quiet => json::print(&page::json(clusters)),
                Format::Json | Format::Table => text::print(&page::listing(&clusters, quiet)),
            }
        }
        Command::Inspect { cluster, format } => {
            let mut client = client.await?;
            let cluster = client.cluster(&cluster).await?;
            let doubt = doubt(&mut client).await;
            match format {
                Format::Json => {
                    let mut shown = json!({ "cluster": json::of("Cluster", &cluster) });
                    if let Some(doubt) = doubt {
                        shown["doubt"] = json::ours("GetDoubtResponse", &doubt);
                    }
                    json::print(&shown)
                }
                Format::Table => text::print(&page::page(&cluster, doubt)),
            }
        }
        // A socket leads to one cluster; which one was named has never mattered.
        Command::UnlockKey { .. } => text::print(&unlock_key(&mut client.await?).await?),
        Command::Update(flags) => {
            let (cluster, changes) = flags.changes()?;
            update(&mut client.await?, &cluster, &changes).await
        }
    }
}

async fn update(client: &mut Client, name: &str, changes: &Changes) -> Result<(), Error> {
    let written = async || {
        let cluster = client.cluster(name).await?;
        let spec = cluster.spec.unwrap_or_default();
        let cluster_version = cluster.meta.and_then(|meta| meta.version);
        if let Some(request) = changes.request(&cluster.id, cluster_version, spec) {
            client.control.update_cluster(request).await?;
        }
        Ok(cluster.id)
    };
    let id = persist(written).await?;
    if changes.replace_silent {
        let ended = client.doubt.end_doubt(EndDoubtRequest {}).await;
        ended.map_err(|status| Error::of_call("doubts of the leader", status))?;
    }
    text::print(&format!("{id}\n"))?;
    if changes.rotation.manager_unlock_key {
        text::print(&unlock_key(client).await?)?;
    }
    Ok(())
}

/// What the leader doubts, if it does; a manager that cannot say so is no reason to show nothing else.
async fn doubt(client: &mut Client) -> Option<GetDoubtResponse> {
    let answer = client.doubt.get_doubt(GetDoubtRequest {}).await.ok()?.into_inner();
    answer.since.is_some().then_some(answer)
}

async fn unlock_key(client: &mut Client) -> Result<String, Error> {
    let answer = client.authority.get_unlock_key(GetUnlockKeyRequest {}).await;
    let answer = answer.map_err(|status| Error::of_call("unlock keys", status))?.into_inner();
    if answer.unlock_key.is_empty() {
        return Ok("Managers not auto-locked\n".to_owned());
    }
    let key = <[u8; 32]>::try_from(&answer.unlock_key[..]).map(UnlockKey).map_err(|_| {
        Error::Failed(format!("an unlock key has 32 bytes, not {}", answer.unlock_key.len()))
    })?;
    Ok(format!("Managers auto-locked.  Unlock key: {key}\n"))
}
