//! `--filter key=value`: what it means for each kind. Several filters must all hold; of one that
//! is given several times any value is enough, except for labels.

use std::str::FromStr;

use protocol::wire::{
    NodeRole, TaskState, list_clusters_request, list_nodes_request, list_services_request,
    list_tasks_request, node_spec::Membership,
};

use crate::{connect::Client, error::Error, value::Invalid};

/// One filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    key: String,
    value: String,
}

impl FromStr for Filter {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            Some(_) | None => Err(Invalid::new("a filter has the form key=value")),
        }
    }
}

impl Filter {
    fn text(&self) -> String {
        self.value.clone()
    }

    /// A label that is wanted, with or without a value.
    fn label(&self) -> (String, String) {
        let (key, value) = self.value.split_once('=').unwrap_or((&self.value, ""));
        (key.to_owned(), value.to_owned())
    }

    fn unknown(&self, known: &str) -> Error {
        Error::usage(format!("unknown filter \"{}\": must be one of {known}", self.key))
    }

    fn wrong(&self, known: &str) -> Error {
        let Self { key, value } = self;
        Error::usage(format!("invalid value \"{value}\" for filter {key}: must be {known}"))
    }
}

/// What clusters are asked for.
pub(crate) fn clusters(filters: &[Filter]) -> Result<list_clusters_request::Filters, Error> {
    let mut wanted = list_clusters_request::Filters::default();
    for filter in filters {
        match filter.key.as_str() {
            "id" => wanted.id_prefixes.push(filter.text()),
            "label" => wanted.labels.extend([filter.label()]),
            "name" => wanted.names.push(filter.text()),
            _ => return Err(filter.unknown("id, label, name")),
        }
    }
    Ok(wanted)
}

/// What nodes are asked for.
pub(crate) fn nodes(filters: &[Filter]) -> Result<list_nodes_request::Filters, Error> {
    let mut wanted = list_nodes_request::Filters::default();
    for filter in filters {
        match filter.key.as_str() {
            "engine.label" => wanted.labels.extend([filter.label()]),
            "id" => wanted.id_prefixes.push(filter.text()),
            "label" | "node.label" => wanted.node_labels.extend([filter.label()]),
            "membership" => {
                let membership = Membership::from_str_name(&filter.value.to_uppercase());
                let known = || filter.wrong("accepted or pending");
                wanted.memberships.push(membership.ok_or_else(known)?.into());
            }
            "name" => wanted.names.push(filter.text()),
            "role" => {
                let role = NodeRole::from_str_name(&filter.value.to_uppercase());
                wanted.roles.push(role.ok_or_else(|| filter.wrong("manager or worker"))?.into());
            }
            _ => return Err(filter.unknown("engine.label, id, label, membership, name, role")),
        }
    }
    Ok(wanted)
}

/// What services are asked for.
pub(crate) fn services(filters: &[Filter]) -> Result<list_services_request::Filters, Error> {
    let mut wanted = list_services_request::Filters::default();
    for filter in filters {
        match filter.key.as_str() {
            "id" => wanted.id_prefixes.push(filter.text()),
            "label" => wanted.labels.extend([filter.label()]),
            "name" => wanted.names.push(filter.text()),
            "runtime" => wanted.runtimes.push(filter.text()),
            _ => return Err(filter.unknown("id, label, name, runtime")),
        }
    }
    Ok(wanted)
}

/// What tasks are asked for; services and nodes are looked up by their names.
pub(crate) async fn tasks(
    client: &mut Client,
    filters: &[Filter],
) -> Result<list_tasks_request::Filters, Error> {
    let mut wanted = list_tasks_request::Filters::default();
    for filter in filters {
        match filter.key.as_str() {
            "desired-state" => {
                let state = TaskState::from_str_name(&filter.value.to_uppercase());
                let known = || filter.wrong("a state of tasks, such as running or shutdown");
                wanted.desired_states.push(state.ok_or_else(known)?.into());
            }
            "id" => wanted.id_prefixes.push(filter.text()),
            "label" => wanted.labels.extend([filter.label()]),
            "name" => wanted.names.push(filter.text()),
            "node" => wanted.node_ids.push(client.node(&filter.value).await?.id),
            "runtime" => wanted.runtimes.push(filter.text()),
            "service" => wanted.service_ids.push(client.service(&filter.value).await?.id),
            "up-to-date" => {
                let is_true = filter.value == "true";
                wanted.up_to_date = is_true.then_some(true).ok_or_else(|| filter.wrong("true"))?;
            }
            _ => {
                let known = "desired-state, id, label, name, node, runtime, service, up-to-date";
                return Err(filter.unknown(known));
            }
        }
    }
    Ok(wanted)
}
