//! A dry run of the templates in a container spec (validation.md §10): what no task could ever
//! expand is refused before there are tasks.

use std::borrow::Cow;

use protocol::{
    template::{Context, expand_container},
    wire::ContainerSpec,
};

use crate::control::Error;

/// Returns the spec as a task of no particular service would get it.
pub(super) fn check_templates(container: &ContainerSpec) -> Result<Cow<'_, ContainerSpec>, Error> {
    expand_container(container, &placeholders()).map_err(|error| Error::invalid(error.to_string()))
}

/// There are no labels: a template must not depend on one that somebody may take away.
fn placeholders() -> Context {
    Context {
        service_id: "serviceid".into(),
        service_name: "servicename".into(),
        service_labels: Default::default(),
        node_id: "nodeid".into(),
        node_hostname: "nodeHostname".into(),
        node_architecture: "architecture".into(),
        node_os: "os".into(),
        task_id: "taskid".into(),
        task_name: "taskname".into(),
        task_slot: "1".into(),
    }
}
