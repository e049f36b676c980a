//! In which form results are written, and which of them: what every listing and page offers.

mod filter;
pub(crate) mod json;
#[cfg(test)]
mod tests;

use clap::{Args, ValueEnum};

pub(crate) use self::filter::{Filter, clusters, nodes, services, tasks};

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: the messages of the protocol.
    Json,
}

/// The flags of a listing.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Listing {
    /// Only display IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// The flags of listings and pages.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Output {
    /// One of table, json
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
    /// Show only what fits (key=value); below a page, of its tasks
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) filter: Vec<Filter>,
}
