//! Extensions: they register kinds of resources, and never change (validation.md §8).

use std::sync::Arc;

use protocol::{
    id::ExtensionId,
    objects::{Extension, Kind},
    wire::{self, CreateExtensionRequest},
};

use crate::{
    control::Error,
    store::{self, Transaction, View},
};

/// Returns an extension by its id.
pub fn get<'a>(view: &'a View, id: &str) -> Result<&'a Arc<Extension>, Error> {
    check_id(id)?;
    view.extension(&ExtensionId::from(id)).ok_or_else(|| Error::not_found("extension", id))
}

fn check_id(id: &str) -> Result<(), Error> {
    if id.is_empty() { Err(Error::invalid("extension ID must be provided")) } else { Ok(()) }
}

/// Registers a kind under a new id. The kinds that are built in have their names already.
pub fn create(
    transaction: &mut Transaction,
    id: &ExtensionId,
    request: CreateExtensionRequest,
) -> Result<(), Error> {
    let CreateExtensionRequest { annotations, description } = request;
    let name = annotations.as_ref().map_or("", |annotations| &annotations.name).to_owned();
    if name.is_empty() {
        return Err(Error::invalid("extension name must be provided"));
    }
    let id = id.as_str().to_owned();
    let extension = wire::Extension { id, meta: None, annotations, description };
    transaction.create(Extension::from(extension)).map_err(|error| match error {
        store::Error::NameConflict => {
            Error::AlreadyExists(format!("extension {name} already exists"))
        }
        store::Error::Exists
        | store::Error::NotExist
        | store::Error::OutOfSequence
        | store::Error::KindUnregistered
        | store::Error::Immutable
        | store::Error::KindInUse => {
            Error::Internal(format!("could not create extension: {error}"))
        }
    })
}

/// Removes an extension that no resource belongs to.
pub fn remove(transaction: &mut Transaction, id: &str) -> Result<(), Error> {
    check_id(id)?;
    let known = ExtensionId::from(id);
    if transaction.extension(&known).is_none() {
        return Err(Error::NotFound(format!("could not find extension {id}")));
    }
    Ok(transaction.remove(Kind::Extension, known.as_id())?)
}
