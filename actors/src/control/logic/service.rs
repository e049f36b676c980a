//! Services: created, updated, rolled back, removed (validation.md §4, orchestration.md §3).

use std::sync::Arc;

use prost_types::Timestamp;
use protocol::{
    id::{ConfigId, SecretId, ServiceId},
    objects::{Kind, Meta, Network, Service},
    wire::{
        ContainerSpec, JobStatus, PortConfig, ServiceSpec, UpdateStatus, Version,
        port_config::PublishMode, service_spec::Mode, task_spec::Runtime,
        update_status::UpdateState,
    },
};

use crate::{
    control::{Error, validate::ValidService},
    store::{Transaction, View},
};

/// Returns a service by its id.
pub fn get<'a>(view: &'a View, id: &str) -> Result<&'a Arc<Service>, Error> {
    if id.is_empty() {
        return Err(Error::incomplete());
    }
    view.service(&ServiceId::from(id)).ok_or_else(|| Error::not_found("service", id))
}

/// Refuses what nothing in this version would carry out: it would be accepted and never run.
pub fn check_offered(valid: &ValidService) -> Result<(), Error> {
    match valid.spec().mode {
        Some(Mode::Replicated(_)) | None => Ok(()),
        Some(Mode::Global(_) | Mode::ReplicatedJob(_) | Mode::GlobalJob(_)) => {
            let text = "global services and jobs are not offered by this version of swarmd";
            Err(Error::Unimplemented(text.to_owned()))
        }
    }
}

/// Creates a service under a new id.
pub fn create(
    transaction: &mut Transaction,
    id: ServiceId,
    valid: &ValidService,
    now: Timestamp,
) -> Result<(), Error> {
    let spec = valid.spec();
    check_attachments(transaction, spec)?;
    check_ports(transaction, &id, spec)?;
    check_ingress(transaction, spec)?;
    check_references(transaction, spec)?;
    let name = valid.name();
    if transaction.service_named(name).is_some() {
        return Err(Error::AlreadyExists(format!(
            "name conflicts with an existing object: service {name} already exists"
        )));
    }
    let service = Service {
        id,
        meta: Meta::default(),
        spec: spec.clone(),
        spec_version: Some(0),
        previous_spec: None,
        previous_spec_version: None,
        endpoint: None,
        update_status: None,
        job_status: is_job(spec)
            .then_some(JobStatus { job_iteration: None, last_execution: Some(now) }),
        pending_delete: false,
        allocation_error: "".into(),
    };
    Ok(transaction.create(service)?)
}

/// What an update does beside taking the new spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Takes the new spec.
    Forward,
    /// Returns to the spec before, whatever the new one says.
    Back,
}

/// Replaces the spec of a service that was read at `version`.
pub fn update(
    transaction: &mut Transaction,
    id: &str,
    version: u64,
    valid: &ValidService,
    direction: Direction,
    now: Timestamp,
) -> Result<(), Error> {
    check_attachments(transaction, valid.spec())?;
    let stored = get(transaction, id)?.clone();
    let (old, new) = (&stored.spec, valid.spec());
    if old.endpoint != new.endpoint {
        check_ports(transaction, &stored.id, new)?;
    }
    check_networks(old, new)?;
    check_references(transaction, new)?;
    if kind_of(old) != kind_of(new) {
        return Err(Error::Unimplemented("service mode change is not allowed".to_owned()));
    }
    if stored.name() != valid.name() {
        return Err(Error::Unimplemented("renaming services is not supported".to_owned()));
    }
    let mut service = Service::clone(&stored);
    service.meta.version = version;
    match direction {
        Direction::Forward => {
            service.previous_spec = Some(service.spec);
            service.previous_spec_version = service.spec_version;
            service.spec = new.clone();
            service.spec_version = Some(version);
            service.update_status = None;
        }
        Direction::Back => roll_back(&mut service, now)?,
    }
    if is_job(&service.spec) {
        let iteration = service.job_status.and_then(|status| status.job_iteration);
        let index = iteration.map_or(0, |version| version.index) + 1;
        service.job_status =
            Some(JobStatus { job_iteration: Some(Version { index }), last_execution: Some(now) });
    }
    Ok(transaction.update(service)?)
}

fn roll_back(service: &mut Service, now: Timestamp) -> Result<(), Error> {
    let Some(previous) = service.previous_spec.take() else {
        let id = &service.id;
        let text = format!("service {id} does not have a previous spec");
        return Err(Error::FailedPrecondition(text));
    };
    service.previous_spec = Some(std::mem::replace(&mut service.spec, previous));
    std::mem::swap(&mut service.spec_version, &mut service.previous_spec_version);
    service.update_status = Some(UpdateStatus {
        state: UpdateState::RollbackStarted.into(),
        started_at: Some(now),
        completed_at: None,
        message: "manually requested rollback".to_owned(),
    });
    Ok(())
}

/// Removes a service at once; the orchestrator ends its tasks.
pub fn remove(transaction: &mut Transaction, id: &str) -> Result<(), Error> {
    get(transaction, id)?;
    Ok(transaction.remove(Kind::Service, ServiceId::from(id).as_id())?)
}

fn is_job(spec: &ServiceSpec) -> bool {
    matches!(spec.mode, Some(Mode::ReplicatedJob(_) | Mode::GlobalJob(_)))
}

fn kind_of(spec: &ServiceSpec) -> Option<std::mem::Discriminant<Mode>> {
    spec.mode.as_ref().map(std::mem::discriminant)
}

/// The networks of old clients cannot be changed in place.
#[expect(deprecated, reason = "the field of old clients")]
fn check_networks(old: &ServiceSpec, new: &ServiceSpec) -> Result<(), Error> {
    let of_tasks = |spec: &ServiceSpec| spec.task.clone().unwrap_or_default().networks;
    if old.networks != new.networks && of_tasks(old) == of_tasks(new) {
        let text = "networks must be migrated to TaskSpec before being changed";
        return Err(Error::Unimplemented(text.to_owned()));
    }
    Ok(())
}

fn container(spec: &ServiceSpec) -> Option<&ContainerSpec> {
    match spec.task.as_ref()?.runtime.as_ref()? {
        Runtime::Container(container) => Some(container),
        Runtime::Attachment(_) | Runtime::Generic(_) => None,
    }
}

/// Secrets and configs must exist under the id and the name that they are referred to by.
fn check_references(view: &View, spec: &ServiceSpec) -> Result<(), Error> {
    let Some(container) = container(spec) else { return Ok(()) };
    let secrets = container.secrets.iter().filter(|reference| {
        let secret = view.secret(&SecretId::from(&*reference.secret_id));
        secret.is_none_or(|secret| secret.name() != reference.secret_name)
    });
    missing("secret", secrets.map(|reference| &*reference.secret_name).collect())?;
    let configs = container.configs.iter().filter(|reference| {
        let config = view.config(&ConfigId::from(&*reference.config_id));
        config.is_none_or(|config| config.name() != reference.config_name)
    });
    missing("config", configs.map(|reference| &*reference.config_name).collect())
}

fn missing(kind: &str, names: Vec<&str>) -> Result<(), Error> {
    match names.len() {
        0 => Ok(()),
        1 => Err(Error::invalid(format!("{kind} not found: {}", names[0]))),
        _ => Err(Error::invalid(format!("{kind}s not found: {}", names.join(", ")))),
    }
}

fn ports(spec: &ServiceSpec) -> &[PortConfig] {
    spec.endpoint.as_ref().map_or(&[], |endpoint| &endpoint.ports)
}

/// A port that is published on every node belongs to one service (validation.md §4, row 21).
fn check_ports(view: &View, id: &ServiceId, spec: &ServiceSpec) -> Result<(), Error> {
    let wanted: Vec<_> = ports(spec).iter().filter(|port| port.published_port != 0).collect();
    if wanted.is_empty() {
        // Most services publish nothing: they need not look at all others.
        return Ok(());
    }
    for other in view.services().filter(|other| other.id != *id) {
        let allocated = other.endpoint.as_ref().map_or(&[][..], |endpoint| &endpoint.ports);
        for taken in ports(&other.spec).iter().chain(allocated) {
            let conflict = wanted.iter().find(|port| {
                (port.published_port, port.protocol) == (taken.published_port, taken.protocol)
                    && (is_ingress(port) || is_ingress(taken))
            });
            if let Some(port) = conflict {
                let how =
                    if is_ingress(taken) { "an ingress port" } else { "a host-published port" };
                return Err(Error::invalid(format!(
                    "port '{}' is already in use by service '{}' ({}) as {how}",
                    port.published_port,
                    other.name(),
                    other.id
                )));
            }
        }
    }
    Ok(())
}

fn is_ingress(port: &PortConfig) -> bool {
    port.publish_mode == PublishMode::Ingress as i32
}

/// The network through which ports are published on every node, if there is one.
fn ingress_network(view: &View) -> Option<&Arc<Network>> {
    view.networks().find(|network| network.body.is_ingress())
}

fn check_ingress(view: &View, spec: &ServiceSpec) -> Result<(), Error> {
    if ports(spec).iter().any(is_ingress) && ingress_network(view).is_none() {
        let text = "service needs ingress network, but no ingress network is present";
        return Err(Error::FailedPrecondition(text.to_owned()));
    }
    Ok(())
}

/// Services reach the ingress network by publishing ports, never by name.
fn check_attachments(view: &View, spec: &ServiceSpec) -> Result<(), Error> {
    let Some(ingress) = ingress_network(view) else { return Ok(()) };
    let networks = spec.task.as_ref().map_or(&[][..], |task| &task.networks);
    if networks.iter().any(|network| network.target == ingress.id.as_str()) {
        let name = ingress.name();
        return Err(Error::invalid(format!(
            "Service cannot be explicitly attached to the ingress network \"{name}\""
        )));
    }
    Ok(())
}
