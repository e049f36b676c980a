//! Resources: objects of kinds that extensions register (validation.md §8).

use std::sync::Arc;

use protocol::{
    id::ResourceId,
    objects::{Kind, Resource},
    wire::{self, CreateResourceRequest, UpdateResourceRequest},
};

use crate::{
    control::Error,
    store::{self, Transaction, View},
};

/// Returns a resource by its id.
pub fn get<'a>(view: &'a View, id: &str) -> Result<&'a Arc<Resource>, Error> {
    if id.is_empty() {
        return Err(Error::invalid("resource ID must be present"));
    }
    view.resource(&ResourceId::from(id)).ok_or_else(|| Error::not_found("resource", id))
}

/// Creates a resource under a new id.
pub fn create(
    transaction: &mut Transaction,
    id: &ResourceId,
    request: CreateResourceRequest,
) -> Result<(), Error> {
    let CreateResourceRequest { annotations, kind, payload } = request;
    let name = annotations.as_ref().map_or("", |annotations| &annotations.name).to_owned();
    if name.is_empty() {
        return Err(Error::invalid("Resource must have a name"));
    }
    if kind.is_empty() {
        return Err(Error::invalid("Resource must belong to an Extension"));
    }
    let unregistered = Error::invalid(format!("Kind {kind} is not registered"));
    let id = id.as_str().to_owned();
    let resource = wire::Resource { id, meta: None, annotations, kind, payload };
    transaction.create(Resource::from(resource)).map_err(|error| match error {
        store::Error::KindUnregistered => unregistered,
        store::Error::NameConflict => {
            Error::AlreadyExists(format!("A resource with name {name} already exists"))
        }
        store::Error::Exists
        | store::Error::NotExist
        | store::Error::OutOfSequence
        | store::Error::Immutable
        | store::Error::KindInUse => error.into(),
    })
}

/// Replaces the annotations or the payload of a resource, or both: what is not given stays.
pub fn update(transaction: &mut Transaction, request: UpdateResourceRequest) -> Result<(), Error> {
    let UpdateResourceRequest { resource_id: id, resource_version, annotations, payload } = request;
    let version = resource_version.filter(|_| !id.is_empty());
    let version = version.ok_or_else(|| Error::invalid("must include ID and version"))?;
    let stored = get(transaction, &id)?;
    let mut body = (*stored.body).clone();
    if let Some(annotations) = annotations {
        if annotations.name != stored.name() {
            return Err(Error::invalid("cannot change resource name"));
        }
        body.annotations = Some(annotations);
    }
    body.payload = payload.or(body.payload);
    let mut resource = Resource { body: Arc::new(body), ..(**stored).clone() };
    resource.meta.version = version.index;
    transaction.update(resource).map_err(|error| match error {
        store::Error::OutOfSequence => Error::invalid(error.to_string()),
        store::Error::Exists
        | store::Error::NotExist
        | store::Error::NameConflict
        | store::Error::KindUnregistered
        | store::Error::Immutable
        | store::Error::KindInUse => error.into(),
    })
}

/// Removes a resource.
pub fn remove(transaction: &mut Transaction, id: &str) -> Result<(), Error> {
    get(transaction, id)?;
    Ok(transaction.remove(Kind::Resource, ResourceId::from(id).as_id())?)
}
