//! Committed entries become store mutations. Total: whatever an entry holds, every member does
//! the same with it and none stops.

use std::sync::Arc;

use protocol::{
    objects::{Interner, Object},
    wire::{self, StoreActionKind},
};

use super::{Changes, Error, View, table::Tables};

/// An action that could not be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Which action of the entry.
    pub position: usize,
    /// Why.
    pub reason: Unappliable,
}

/// Why an action could not be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unappliable {
    /// It says nothing about what is to be done, or nothing that this version knows.
    #[error("unknown kind of action {0}")]
    UnknownAction(i32),
    /// It has no object, or one of a kind that this version does not know.
    #[error("action without an object")]
    NoObject,
    /// The store refuses it.
    #[error(transparent)]
    Refused(#[from] Error),
}

/// Applies one entry. Versions are not checked: that was done before it was proposed.
pub fn apply(
    view: &View,
    index: u64,
    actions: Vec<wire::StoreAction>,
    interner: &mut Interner,
) -> (View, Changes, Vec<Skipped>) {
    let (mut view, mut changes, mut skipped) = (view.clone(), Changes::default(), Vec::new());
    let moment = Arc::make_mut(&mut view.moment);
    moment.index = index;
    for (position, action) in actions.into_iter().enumerate() {
        let outcome = match (action.action(), action.action, action.target) {
            (_, _, None) => Err(Unappliable::NoObject),
            (StoreActionKind::Unknown, number, Some(_)) => Err(Unappliable::UnknownAction(number)),
            (StoreActionKind::StoreActionCreate, _, Some(target)) => {
                let object = share(Object::from_target(target), interner);
                moment.tables.create(&object, &mut changes).map_err(Unappliable::from)
            }
            (StoreActionKind::StoreActionUpdate, _, Some(target)) => {
                let object = share(Object::from_target(target), interner);
                moment.tables.update(&object, &mut changes).map_err(Unappliable::from)
            }
            (StoreActionKind::StoreActionRemove, _, Some(target)) => {
                let object = Object::from_target(target);
                let removed = moment.tables.remove(object.kind(), object.id(), &mut changes);
                forget(&object, &moment.tables, interner);
                removed.map(drop).map_err(Unappliable::from)
            }
        };
        if let Err(reason) = outcome {
            skipped.push(Skipped { position, reason });
        }
    }
    (view, changes, skipped)
}

/// Forgets the bodies of a service of which nothing is left.
fn forget(removed: &Object, tables: &Tables, interner: &mut Interner) {
    let service = match removed {
        Object::Service(service) => &service.id,
        Object::Task(task) => &task.service_id,
        Object::Cluster(_)
        | Object::Config(_)
        | Object::Extension(_)
        | Object::Network(_)
        | Object::Node(_)
        | Object::Resource(_)
        | Object::Secret(_)
        | Object::Volume(_) => return,
    };
    if !tables.services.contains_key(service) {
        interner.forget(service);
    }
}

/// Lets a task share the bodies of its siblings.
pub(super) fn share(object: Object, interner: &mut Interner) -> Object {
    match object {
        Object::Task(task) => interner.share(Arc::unwrap_or_clone(task)).into(),
        Object::Cluster(_)
        | Object::Config(_)
        | Object::Extension(_)
        | Object::Network(_)
        | Object::Node(_)
        | Object::Resource(_)
        | Object::Secret(_)
        | Object::Service(_)
        | Object::Volume(_) => object,
    }
}
