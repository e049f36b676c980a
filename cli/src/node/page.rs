//! What is shown of nodes (cli.md §2).

use std::fmt::Write;

use protocol::wire::{GenericResource, Node, NodeRole, Resources, generic_resource::Resource};

use super::{hostname, name};
use crate::text::{
    human,
    table::{Layout, Table},
};

fn manager_status(node: &Node) -> String {
    let desired = node.spec.as_ref().map(|spec| spec.desired_role());
    match &node.manager_status {
        Some(status) if status.leader => format!("{} *", status.reachability().as_str_name()),
        Some(status) => status.reachability().as_str_name().to_owned(),
        None if desired == Some(NodeRole::Manager) => "UNKNOWN".to_owned(),
        None => String::new(),
    }
}

pub(super) fn listing(nodes: &[Node], quiet: bool) -> String {
    if quiet {
        return nodes.iter().map(|node| format!("{}\n", node.id)).collect();
    }
    let head = ["ID", "Name", "Membership", "Status", "Availability", "Manager Status"];
    let mut table = Table::new(&head);
    for node in nodes {
        let spec = node.spec.clone().unwrap_or_default();
        let status = node.status.clone().unwrap_or_default();
        table.row(&[
            &node.id,
            name(node),
            spec.membership().as_str_name(),
            status.state().as_str_name(),
            spec.availability().as_str_name(),
            &manager_status(node),
        ]);
    }
    table.align(Layout::LIST)
}

pub(super) fn page(node: &Node) -> String {
    let spec = node.spec.clone().unwrap_or_default();
    let status = node.status.clone().unwrap_or_default();
    let mut page = format!("ID\t: {}\n", node.id);
    let mut line = |label: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(page, "{label}\t: {value}");
        }
    };
    line("Hostname", hostname(node));
    let labels = spec.annotations.as_ref().map(|annotations| pairs(&annotations.labels));
    line("Node Labels", &labels.unwrap_or_default());
    page.push_str("Status:\t\n");
    let mut line = |label: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(page, "  {label}\t: {value}");
        }
    };
    line("State", status.state().as_str_name());
    line("Message", &status.message);
    line("Availability", spec.availability().as_str_name());
    line("Address", &status.addr);
    if let Some(manager) = &node.manager_status {
        page.push_str("Manager status:\t\n");
        let leader = if manager.leader { "yes" } else { "no" };
        let _ = writeln!(page, "  Address\t: {}", manager.addr);
        let _ = writeln!(page, "  Raft status\t: {}", manager.reachability().as_str_name());
        let _ = writeln!(page, "  Leader\t: {leader}");
    }
    describe(node, &mut page);
    Layout::PAGE.align(&page)
}

fn describe(node: &Node, page: &mut String) {
    let Some(description) = &node.description else { return };
    if let Some(platform) = &description.platform {
        page.push_str("Platform:\t\n");
        let _ = writeln!(page, "  Operating System\t: {}", platform.os);
        let _ = writeln!(page, "  Architecture\t: {}", platform.architecture);
    }
    if let Some(resources) = &description.resources {
        describe_resources(resources, page);
    }
    let Some(engine) = &description.engine else { return };
    page.push_str("Plugins:\t\n");
    let mut kinds: Vec<_> = engine.plugins.iter().map(|plugin| &plugin.r#type).collect();
    kinds.sort();
    kinds.dedup();
    for kind in kinds {
        let of_kind = engine.plugins.iter().filter(|plugin| plugin.r#type == *kind);
        let names: Vec<_> = of_kind.map(|plugin| plugin.name.as_str()).collect();
        let _ = writeln!(page, "  {kind}\t: [{}]", names.join(" "));
    }
    if !engine.engine_version.is_empty() {
        let _ = writeln!(page, "Engine Version\t: {}", engine.engine_version);
    }
    if !engine.labels.is_empty() {
        let _ = writeln!(page, "Engine Labels\t: {}", pairs(&engine.labels));
    }
}

fn describe_resources(resources: &Resources, page: &mut String) {
    page.push_str("Resources:\t\n");
    let _ = writeln!(page, "  CPUs\t: {}", resources.nano_cpus / 1_000_000_000);
    let _ = writeln!(page, "  Memory\t: {}", human::bytes(resources.memory_bytes));
    if !resources.generic.is_empty() {
        page.push_str("  Generic Resources:\t\n");
    }
    for GenericResource { resource } in &resources.generic {
        let _ = match resource {
            Some(Resource::NamedResourceSpec(named)) => {
                writeln!(page, "    {}\t: {}", named.kind, named.value)
            }
            Some(Resource::DiscreteResourceSpec(counted)) => {
                writeln!(page, "    {}\t: {}", counted.kind, counted.value)
            }
            None => Ok(()),
        };
    }
}

fn pairs(labels: &std::collections::BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}
