//! Templates in a container spec: text with placeholders in double braces (validation.md §10).
//!
//! A small part of the language that users know from Go: fields, indices, text literals,
//! pipelines, `if`, and the functions of `lexer::Function`. There are no loops, no definitions
//! and no variables but `$`, so an expansion always ends.

mod error;
mod evaluate;
mod lexer;
mod parser;
mod spec;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;

pub use error::Error;
pub use spec::{InvalidSpec, expand_container};

use crate::wire;

/// How long an expanded text may become, and all those of a spec together, in bytes: few texts can
/// mean very much, and what comes out becomes an environment or a path.
const EXPANDED_BYTES_MAX: usize = 1024 * 1024;

/// What placeholders stand for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Context {
    /// `.Service.ID`.
    pub service_id: String,
    /// `.Service.Name`.
    pub service_name: String,
    /// `.Service.Labels`.
    pub service_labels: BTreeMap<String, String>,
    /// `.Node.ID`.
    pub node_id: String,
    /// `.Node.Hostname`.
    pub node_hostname: String,
    /// `.Node.Platform.Architecture`.
    pub node_architecture: String,
    /// `.Node.Platform.OS`.
    pub node_os: String,
    /// `.Task.ID`.
    pub task_id: String,
    /// `.Task.Name`.
    pub task_name: String,
    /// `.Task.Slot`.
    pub task_slot: String,
}

impl Context {
    /// What placeholders stand for in a task, on the node that runs it.
    pub fn of_task(task: &wire::Task, node: &wire::NodeDescription) -> Self {
        let service = task.service_annotations.clone().unwrap_or_default();
        let platform = node.platform.clone().unwrap_or_default();
        // A task without a slot is one of a kind on its node.
        let slot = if task.slot == 0 { task.node_id.clone() } else { task.slot.to_string() };
        let own_name = task.annotations.as_ref().map_or("", |own| &own.name);
        let task_name = if own_name.is_empty() {
            format!("{}.{slot}.{}", service.name, task.id)
        } else {
            own_name.to_owned()
        };
        Self {
            service_id: task.service_id.clone(),
            service_name: service.name,
            service_labels: service.labels,
            node_id: task.node_id.clone(),
            node_hostname: node.hostname.clone(),
            node_architecture: platform.architecture,
            node_os: platform.os,
            task_id: task.id.clone(),
            task_name,
            task_slot: slot,
        }
    }
}

/// Returns a text with its placeholders filled in.
pub fn expand(text: &str, context: &Context) -> Result<String, Error> {
    if !is_template(text) {
        return Ok(text.to_owned());
    }
    let nodes = parser::parse(text)?;
    evaluate::evaluate(&nodes, text, context)
}

/// Whether there is anything to expand.
fn is_template(text: &str) -> bool {
    text.contains(lexer::BEGIN)
}
