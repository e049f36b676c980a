//! What a manager's advice looks like.

use std::fmt::Write;

use protocol::{
    swarm::{Lack, PlanResponse, TaskExplanation},
    wire::{Service, list_service_statuses_response::ServiceStatus},
};
use serde_json::Value;

use super::difference::Difference;
use crate::text::{
    self, human,
    table::{Layout, Table},
};

/// How far a service is.
pub(super) fn service(service: &Service, status: &ServiceStatus) -> String {
    let mut page = format!("ID\t: {}\n", service.id);
    let _ = writeln!(page, "Name\t: {}", crate::service::name(service));
    let _ = writeln!(page, "Running\t: {} of {}", status.running_tasks, status.desired_tasks);
    if let Some(update) = &service.update_status {
        let _ = writeln!(page, "Update\t: {}, {}", update.state().as_str_name(), update.message);
    }
    Layout::PAGE.align(&page)
}

/// Where one task stands, and what the nodes say to it.
pub(super) fn task(task: &TaskExplanation, node: &str, nearest: &str) -> String {
    let mut page = format!("Task\t: {}\n", task.task_id);
    let _ = writeln!(page, "Slot\t: {}", task.slot);
    let (state, desired) = (task.state().as_str_name(), task.desired_state().as_str_name());
    let _ = writeln!(page, "State\t: {state}, desired {desired}");
    if !node.is_empty() {
        let _ = writeln!(page, "Node\t: {node}");
    }
    if !task.reason.is_empty() {
        let _ = writeln!(page, "Reason\t: {}", task.reason);
    }
    if let Some(since) = &task.since {
        let _ = writeln!(page, "Since\t: {}", human::relative(since, &text::now()));
    }
    if task.suitable_nodes > 0 {
        let _ = writeln!(page, "Nodes that could run it\t: {}", task.suitable_nodes);
    }
    if !task.failed.is_empty() {
        page.push_str("Nodes that fail:\t\n");
    }
    for failed in &task.failed {
        let _ = writeln!(page, "  {}\t: {}", failed.filter, failed.nodes);
    }
    if let Some(miss) = &task.nearest {
        let _ = writeln!(page, "Nearest\t: {nearest}");
        for Lack { filter, text, remedy } in &miss.lacks {
            let _ = writeln!(page, "  {filter}\t: {text}; {remedy}");
        }
    }
    Layout::PAGE.align(&page)
}

/// What would change, and where each task would go.
pub(super) fn plan(changes: &[Difference], plan: &PlanResponse, nodes: &[String]) -> String {
    let mut page = "Changes:\n".to_owned();
    for Difference { field, before, after } in changes {
        let _ = match (before, after) {
            (Value::Null, after) => writeln!(page, "  {field}: {after}"),
            (before, Value::Null) => writeln!(page, "  {field}: {before} -> nothing"),
            (before, after) => writeln!(page, "  {field}: {before} -> {after}"),
        };
    }
    let _ = writeln!(page, "Tasks that stay: {}", plan.kept);
    if plan.tasks.is_empty() {
        return page;
    }
    page.push('\n');
    let mut table = Table::new(&["Slot", "Action", "Node", "Reason"]);
    for (task, node) in plan.tasks.iter().zip(nodes) {
        table.row(&[&task.slot.to_string(), task.action().as_str_name(), node, &task.reason]);
    }
    page.push_str(&table.align(Layout::LIST));
    if plan.left_out > 0 {
        let _ = writeln!(page, "... and {} more tasks", plan.left_out);
    }
    page
}
