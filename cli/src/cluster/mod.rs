//! `swarmctl cluster` (cli.md §6).

mod flags;
mod page;
#[cfg(test)]
mod tests;

use clap::Subcommand;
use protocol::{
    unlock_key::UnlockKey,
    wire::{GetUnlockKeyRequest, ListClustersRequest, UpdateClusterRequest, list_clusters_request},
};

use serde_json::json;

use self::flags::{Changes, Update};
use crate::{
    connect::Client,
    error::Error,
    output::{self, Format, Listing, json},
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

/// A command whose flags were checked before any manager is asked.
#[allow(clippy::large_enum_variant, reason = "one value, used once")]
pub(crate) enum Prepared {
    Inspect { cluster: String, format: Format },
    Ls { listing: Listing, filters: list_clusters_request::Filters },
    UnlockKey,
    Update { cluster: String, changes: Changes },
}

/// Checks the flags.
pub(crate) fn prepare(command: Command) -> Result<Prepared, Error> {
    Ok(match command {
        Command::Inspect { cluster, format } => Prepared::Inspect { cluster, format },
        Command::Ls(listing) => {
            let filters = output::clusters(&listing.output.filter)?;
            Prepared::Ls { listing, filters }
        }
        // A socket leads to one cluster; which one was named has never mattered.
        Command::UnlockKey { .. } => Prepared::UnlockKey,
        Command::Update(update) => {
            let (cluster, changes) = update.changes()?;
            Prepared::Update { cluster, changes }
        }
    })
}

pub(crate) async fn run(command: Prepared, mut client: Client) -> Result<(), Error> {
    match command {
        Prepared::Ls { listing: Listing { quiet, output }, filters } => {
            let request = ListClustersRequest { filters: Some(filters) };
            let clusters = client.control.list_clusters(request).await?.into_inner().clusters;
            match output.format {
                Format::Json if !quiet => json::print(&json::all("Cluster", &clusters)),
                Format::Json | Format::Table => text::print(&page::listing(&clusters, quiet)),
            }
        }
        Prepared::Inspect { cluster, format } => {
            let cluster = client.cluster(&cluster).await?;
            match format {
                Format::Json => json::print(&json!({ "cluster": json::of("Cluster", &cluster) })),
                Format::Table => text::print(&page::page(&cluster)),
            }
        }
        Prepared::UnlockKey => text::print(&unlock_key(&mut client).await?),
        Prepared::Update { cluster, changes } => update(&mut client, &cluster, &changes).await,
    }
}

async fn update(client: &mut Client, name: &str, changes: &Changes) -> Result<(), Error> {
    let cluster = client.cluster(name).await?;
    let mut spec = cluster.spec.unwrap_or_default();
    changes.apply(&mut spec);
    let request = UpdateClusterRequest {
        cluster_id: cluster.id.clone(),
        cluster_version: cluster.meta.and_then(|meta| meta.version),
        spec: Some(spec),
        rotation: Some(changes.rotation),
    };
    client.control.update_cluster(request).await?;
    text::print(&format!("{}\n", cluster.id))?;
    if changes.rotation.manager_unlock_key {
        text::print(&unlock_key(client).await?)?;
    }
    Ok(())
}

async fn unlock_key(client: &mut Client) -> Result<String, Error> {
    let answer = client.authority.get_unlock_key(GetUnlockKeyRequest {}).await?.into_inner();
    if answer.unlock_key.is_empty() {
        return Ok("Managers not auto-locked\n".to_owned());
    }
    let key = <[u8; 32]>::try_from(&answer.unlock_key[..]).map(UnlockKey).map_err(|_| {
        Error::Failed(format!("an unlock key has 32 bytes, not {}", answer.unlock_key.len()))
    })?;
    Ok(format!("Managers auto-locked.  Unlock key: {key}\n"))
}
