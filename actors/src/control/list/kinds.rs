//! What each kind offers to filters.

use std::{borrow::Cow, sync::Arc};

use protocol::{
    id::{NodeId, ServiceId},
    objects::{Cluster, Node, Resource, Service, Task, TaskState},
    wire::{
        ListClustersRequest, ListNodesRequest, ListResourcesRequest, ListServicesRequest,
        ListTasksRequest, TaskSpec, list_tasks_request, task_spec::Runtime,
    },
};

use super::{Filters, Labels, Subject, any, labels_hold, select};
use crate::{orchestrator::task::is_dirty, store::View};

/// The clusters that a request asks for.
pub fn clusters<'a>(view: &'a View, request: &ListClustersRequest) -> Vec<&'a Arc<Cluster>> {
    let wanted = request.filters.clone().unwrap_or_default();
    let filters = Filters {
        names: &wanted.names,
        name_prefixes: &wanted.name_prefixes,
        id_prefixes: &wanted.id_prefixes,
        labels: &wanted.labels,
    };
    let subject = |cluster: &'a Arc<Cluster>| Subject {
        id: cluster.id.as_str(),
        name: cluster.name().into(),
        labels: cluster.spec.annotations.as_ref().map(|annotations| &annotations.labels),
    };
    select(view.clusters(), subject, filters, |_| true)
}

/// The services that a request asks for.
pub fn services<'a>(view: &'a View, request: &ListServicesRequest) -> Vec<&'a Arc<Service>> {
    let wanted = request.filters.clone().unwrap_or_default();
    let filters = Filters {
        names: &wanted.names,
        name_prefixes: &wanted.name_prefixes,
        id_prefixes: &wanted.id_prefixes,
        labels: &wanted.labels,
    };
    let subject = |service: &'a Arc<Service>| Subject {
        id: service.id.as_str(),
        name: service.name().into(),
        labels: service.spec.annotations.as_ref().map(|annotations| &annotations.labels),
    };
    select(view.services(), subject, filters, |service| {
        runs_on(service.task_spec(), &wanted.runtimes)
    })
}

/// The nodes that a request asks for. Labels are those of the engine, node labels those of the
/// spec; the name is the host's.
pub fn nodes<'a>(view: &'a View, request: &ListNodesRequest) -> Vec<&'a Arc<Node>> {
    let wanted = request.filters.clone().unwrap_or_default();
    let filters = Filters {
        names: &wanted.names,
        name_prefixes: &wanted.name_prefixes,
        id_prefixes: &wanted.id_prefixes,
        labels: &wanted.labels,
    };
    let subject = |node: &'a Arc<Node>| Subject {
        id: node.id.as_str(),
        name: node.hostname().into(),
        labels: engine_labels(node),
    };
    select(view.nodes(), subject, filters, |node| {
        let own = node.spec.annotations.as_ref().map(|annotations| &annotations.labels);
        any(&wanted.memberships, |membership| *membership == node.spec.membership)
            && any(&wanted.roles, |role| *role == node.role)
            && labels_hold(&wanted.node_labels, own)
    })
}

fn engine_labels(node: &Node) -> Option<&Labels> {
    Some(&node.description.as_ref()?.engine.as_ref()?.labels)
}

/// The resources that a request asks for: of names and ids any filter is enough.
pub fn resources<'a>(view: &'a View, request: &ListResourcesRequest) -> Vec<&'a Arc<Resource>> {
    let wanted = request.filters.clone().unwrap_or_default();
    let filters = Filters {
        names: &wanted.names,
        name_prefixes: &wanted.name_prefixes,
        id_prefixes: &wanted.id_prefixes,
        labels: &wanted.labels,
    };
    let fits = |resource: &&'a Arc<Resource>| {
        let labels = resource.body.annotations.as_ref().map(|annotations| &annotations.labels);
        let subject = Subject { id: resource.id.as_str(), name: resource.name().into(), labels };
        filters.any_holds(&subject)
            && labels_hold(filters.labels, labels)
            && (wanted.kind.is_empty() || wanted.kind == resource.body.kind)
    };
    view.resources().filter(fits).collect()
}

/// The tasks that a request asks for. Labels are those of the service.
pub fn tasks<'a>(view: &'a View, request: &ListTasksRequest) -> Vec<&'a Arc<Task>> {
    let wanted = request.filters.clone().unwrap_or_default();
    let filters = Filters {
        names: &wanted.names,
        name_prefixes: &wanted.name_prefixes,
        id_prefixes: &wanted.id_prefixes,
        labels: &wanted.labels,
    };
    let subject = |task: &'a Arc<Task>| Subject {
        id: task.id.as_str(),
        // There may be a million, whose names cost something to make.
        name: if filters.look_at_names() { task.name() } else { "".into() },
        labels: Some(&task.service_annotations.labels),
    };
    select(candidates(view, &wanted), subject, filters, |task| {
        any(&wanted.service_ids, |id| *id == task.service_id.as_str())
            && any(&wanted.node_ids, |id| *id == task.node_id.as_str())
            && any(&wanted.desired_states, |state| TaskState::from(*state) == task.desired_state)
            && runs_on(Some(&task.spec), &wanted.runtimes)
            && (!wanted.up_to_date || is_up_to_date(view, task))
    })
}

/// The tasks among which all wanted ones are, as few as an index gives.
fn candidates<'a>(view: &'a View, wanted: &list_tasks_request::Filters) -> Vec<&'a Arc<Task>> {
    if !wanted.service_ids.is_empty() {
        let services = wanted.service_ids.iter().map(|id| ServiceId::from(&**id));
        return services.flat_map(|id| view.tasks_of_service(&id).collect::<Vec<_>>()).collect();
    }
    if !wanted.node_ids.is_empty() {
        let nodes = wanted.node_ids.iter().map(|id| NodeId::from(&**id));
        return nodes.flat_map(|id| view.tasks_on_node(&id).collect::<Vec<_>>()).collect();
    }
    view.tasks().collect()
}

fn runs_on(spec: Option<&TaskSpec>, wanted: &[String]) -> bool {
    let runtime = spec.and_then(runtime_of).unwrap_or_default();
    any(wanted, |wanted| *wanted == runtime)
}

/// What runs such tasks, by its name; nothing says it of some.
fn runtime_of(spec: &TaskSpec) -> Option<Cow<'static, str>> {
    Some(match spec.runtime.as_ref()? {
        Runtime::Container(_) => "container".into(),
        Runtime::Attachment(_) => "attachment".into(),
        Runtime::Generic(generic) => generic.kind.to_lowercase().into(),
    })
}

/// Whether a task is what its service asks for now, or comes to the same.
fn is_up_to_date(view: &View, task: &Task) -> bool {
    let service = view.service(&task.service_id);
    service.is_some_and(|service| !is_dirty(task, service, view.node(&task.node_id)))
}
