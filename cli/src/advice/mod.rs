//! Why tasks do not run, and what a change would bring about: asked of the manager, shown here.

mod difference;
mod page;
#[cfg(test)]
mod tests;

use protocol::{
    swarm::{ExplainRequest, PlanRequest},
    wire::{ListServiceStatusesRequest, ServiceSpec},
};
use serde_json::json;

use crate::{
    connect::Client,
    error::Error,
    output::{Format, json},
    resolve::Names,
    text,
};

/// Explains a service.
pub(crate) async fn explain_service(
    client: &mut Client,
    name: &str,
    format: Format,
) -> Result<(), Error> {
    let service = client.service(name).await?;
    let request = ExplainRequest { service_id: service.id.clone(), task_id: String::new() };
    let answer = client.advisor.explain(request).await?.into_inner();
    if format == Format::Json {
        return json::print(&json::ours("ExplainResponse", &answer));
    }
    let request = ListServiceStatusesRequest { services: vec![service.id.clone()] };
    let statuses = client.control.list_service_statuses(request).await?.into_inner().statuses;
    let status = statuses.into_iter().next().unwrap_or_default();
    let mut names = Names::default();
    let mut shown = page::service(&service, &status);
    for task in &answer.tasks {
        shown.push('\n');
        let nearest = task.nearest.as_ref().map_or("", |miss| &miss.node_id);
        let (node, nearest) =
            (names.node(client, &task.node_id).await, names.node(client, nearest).await);
        shown.push_str(&page::task(task, &node, &nearest));
    }
    if answer.left_out > 0 {
        shown.push_str(&format!("\n... and {} more tasks\n", answer.left_out));
    }
    text::print(&shown)
}

/// Explains one task.
pub(crate) async fn explain_task(
    client: &mut Client,
    id: &str,
    format: Format,
) -> Result<(), Error> {
    let request = ExplainRequest { service_id: String::new(), task_id: id.to_owned() };
    let answer = client.advisor.explain(request).await?.into_inner();
    if format == Format::Json {
        return json::print(&json::ours("ExplainResponse", &answer));
    }
    let mut names = Names::default();
    for task in &answer.tasks {
        let nearest = task.nearest.as_ref().map_or("", |miss| &miss.node_id);
        let (node, nearest) =
            (names.node(client, &task.node_id).await, names.node(client, nearest).await);
        text::print(&page::task(task, &node, &nearest))?;
    }
    Ok(())
}

/// Shows what would change in a spec, and what would become of the tasks.
pub(crate) async fn plan(
    client: &mut Client,
    before: &ServiceSpec,
    request: PlanRequest,
    format: Format,
) -> Result<(), Error> {
    let after = request.spec.clone().unwrap_or_default();
    let plan = client.advisor.plan(request).await?.into_inner();
    let changes =
        difference::between(&json::of("ServiceSpec", before), &json::of("ServiceSpec", &after));
    if format == Format::Json {
        let changes: Vec<_> = changes
            .iter()
            .map(|one| json!({ "field": one.field, "before": one.before, "after": one.after }))
            .collect();
        return json::print(
            &json!({ "changes": changes, "plan": json::ours("PlanResponse", &plan) }),
        );
    }
    let mut names = Names::default();
    let mut nodes = Vec::new();
    for task in &plan.tasks {
        nodes.push(names.node(client, &task.node_id).await);
    }
    text::print(&page::plan(&changes, &plan, &nodes))
}
