//! A wish for tasks.

use std::sync::Arc;

use super::{Meta, name_of};
use crate::{id::ServiceId, wire};

/// A wish for tasks, and how far the cluster is with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The id.
    pub id: ServiceId,
    /// What the store knows of it.
    pub meta: Meta,
    /// What users ask for.
    pub spec: Arc<wire::ServiceSpec>,
    /// The index at which the spec was last changed; tasks carry a copy.
    pub spec_version: Option<u64>,
    /// What a rollback returns to.
    pub previous_spec: Option<Arc<wire::ServiceSpec>>,
    /// The version of that spec.
    pub previous_spec_version: Option<u64>,
    /// How it is reached, once that is allocated.
    pub endpoint: Option<Arc<wire::Endpoint>>,
    /// How far the replacement of its tasks is.
    pub update_status: Option<wire::UpdateStatus>,
    /// Which run of a job is the current one.
    pub job_status: Option<wire::JobStatus>,
    /// Set when it goes away after its tasks.
    pub pending_delete: bool,
    /// Why it has no ports or addresses yet; empty once it has what it asks for.
    pub allocation_error: Arc<str>,
}

impl Service {
    /// The name.
    pub fn name(&self) -> &str {
        name_of(self.spec.annotations.as_ref())
    }

    /// What each of its tasks runs; a valid spec has it.
    pub fn task_spec(&self) -> Option<&wire::TaskSpec> {
        self.spec.task.as_ref()
    }
}

impl From<wire::Service> for Service {
    fn from(service: wire::Service) -> Self {
        Self {
            id: service.id.into(),
            meta: service.meta.into(),
            spec: Arc::new(service.spec.unwrap_or_default()),
            spec_version: service.spec_version.map(|version| version.index),
            previous_spec: service.previous_spec.map(Arc::new),
            previous_spec_version: service.previous_spec_version.map(|version| version.index),
            endpoint: service.endpoint.map(Arc::new),
            update_status: service.update_status,
            job_status: service.job_status,
            pending_delete: service.pending_delete,
            allocation_error: service.allocation_error.into(),
        }
    }
}

impl From<&Service> for wire::Service {
    fn from(service: &Service) -> Self {
        let version = |index: Option<u64>| index.map(|index| wire::Version { index });
        Self {
            id: service.id.as_str().to_owned(),
            meta: Some(service.meta.into()),
            spec: Some((*service.spec).clone()),
            spec_version: version(service.spec_version),
            previous_spec: service.previous_spec.as_deref().cloned(),
            previous_spec_version: version(service.previous_spec_version),
            endpoint: service.endpoint.as_deref().cloned(),
            update_status: service.update_status.clone(),
            job_status: service.job_status,
            pending_delete: service.pending_delete,
            allocation_error: service.allocation_error.to_string(),
        }
    }
}
