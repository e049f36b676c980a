//! What is shown of clusters (cli.md §6).

use std::fmt::Write;

use protocol::{swarm::GetDoubtResponse, wire::Cluster};
use serde_json::Value;

use crate::{
    output::json,
    text::{
        human,
        table::{Layout, Table},
    },
};

fn name(cluster: &Cluster) -> &str {
    let spec = cluster.spec.as_ref();
    spec.and_then(|spec| spec.annotations.as_ref()).map_or("", |annotations| &annotations.name)
}

pub(super) fn listing(clusters: &[Cluster], quiet: bool) -> String {
    if quiet {
        return clusters.iter().map(|cluster| format!("{}\n", cluster.id)).collect();
    }
    let mut table = Table::new(&["ID", "Name"]);
    for cluster in clusters {
        table.row(&[&cluster.id, name(cluster)]);
    }
    table.align(Layout::LIST)
}

/// The listing for programs. Like that for people it holds no join tokens.
pub(super) fn json(mut clusters: Vec<Cluster>) -> Value {
    for root in clusters.iter_mut().filter_map(|cluster| cluster.root_ca.as_mut()) {
        root.join_tokens = None;
    }
    json::all("Cluster", &clusters)
}

pub(super) fn page(cluster: &Cluster, doubt: Option<GetDoubtResponse>) -> String {
    let spec = cluster.spec.clone().unwrap_or_default();
    let mut page = String::new();
    let mut line = |text: String| {
        let _ = writeln!(page, "{text}");
    };
    line(format!("ID\t: {}", cluster.id));
    line(format!("Name\t: {}", name(cluster)));
    line("Orchestration settings:".to_owned());
    let history = spec.orchestration.map_or(0, |settings| settings.task_history_retention_limit);
    line(format!("  Task history entries: {history}"));
    line("Dispatcher settings:".to_owned());
    let period = spec.dispatcher.and_then(|settings| settings.heartbeat_period).unwrap_or_default();
    line(format!("  Dispatcher heartbeat period: {}", human::duration(&period)));
    if let Some(GetDoubtResponse { since, ready_nodes, present_nodes }) = doubt {
        let since = since.as_ref().map(human::absolute).unwrap_or_default();
        line(format!(
            "  Nodes that answer: {present_nodes} of {ready_nodes} since {since}; silent ones are not \
             replaced"
        ));
    }
    line("Certificate Authority settings:".to_owned());
    if let Some(settings) = &spec.ca_config {
        if let Some(expiry) = &settings.node_cert_expiry {
            line(format!("  Certificate Validity Duration: {}", human::duration(expiry)));
        }
        if !settings.external_cas.is_empty() {
            line("  External CAs:".to_owned());
        }
        for external in &settings.external_cas {
            line(format!("    {}: {}", external.protocol().as_str_name(), external.url));
        }
    }
    let tokens = cluster.root_ca.as_ref().and_then(|root| root.join_tokens.clone());
    let tokens = tokens.unwrap_or_default();
    line("  Join Tokens:".to_owned());
    line(format!("    Worker: {}", tokens.worker));
    line(format!("    Manager: {}", tokens.manager));
    if let Some(driver) = spec.task_defaults.and_then(|defaults| defaults.log_driver) {
        line(format!("Default Log Driver\t: {}", driver.name));
        for (key, value) in &driver.options {
            match value.as_str() {
                "" => line(format!("  {key}\t")),
                value => line(format!("  {key}\t: {value}")),
            }
        }
    }
    Layout::PAGE.align(&page)
}
