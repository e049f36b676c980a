//! What a watch is asked for, and what of a transaction that is (cluster-security-dispatch §18).

mod conditions;

use protocol::{
    objects::Kind,
    wire::{
        self, StoreAction, StoreActionKind, WatchActionKind, WatchMessage, WatchRequest,
        object::Object, select_by::By, store_action::Target, watch_message::Event,
        watch_request::WatchEntry,
    },
};

use self::conditions::{Subject, holds, sort};
use super::Error;
use crate::store::{Applied, Changes};

/// The changes that one watch is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Selection {
    entries: Vec<Entry>,
    with_old: bool,
}

/// One kind of objects; every condition has to hold.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    of: Of,
    actions: i32,
    conditions: Vec<By>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Of {
    Kind(Kind),
    /// The resources of an extension, by its name.
    Extension(String),
}

impl Selection {
    /// Reads a request.
    pub(super) fn of(request: &WatchRequest) -> Result<Self, Error> {
        let entries = request.entries.iter().map(Entry::of).collect::<Result<_, _>>()?;
        Ok(Self { entries, with_old: request.include_old_object })
    }

    /// What of a transaction is asked for; none if nothing is.
    pub(super) fn message(&self, applied: &Applied) -> Option<WatchMessage> {
        let (changes, actions) = (applied.changes(), applied.actions().iter());
        // An action that could not be applied has changed nothing.
        let effective = actions.filter(|action| match (&action.target, changes) {
            (Some(target), Some(changes)) => Subject::of(target).is_in(changes),
            (Some(_), None) => true,
            (None, _) => false,
        });
        let asked_for = effective.filter_map(|action| {
            let (kind, target) = (change_of(action)?, action.target.as_ref()?);
            self.entries.iter().any(|entry| entry.matches(kind, target)).then_some((kind, target))
        });
        let old = |target| before(changes.filter(|_| self.with_old)?, target);
        let events: Vec<_> = asked_for
            .map(|(kind, target)| Event {
                action: kind.into(),
                object: Some(object(target.clone())),
                old_object: match kind {
                    WatchActionKind::WatchActionUpdate => old(target),
                    WatchActionKind::WatchActionUnknown
                    | WatchActionKind::WatchActionCreate
                    | WatchActionKind::WatchActionRemove => None,
                },
            })
            .collect();
        let version = Some(wire::Version { index: applied.index() });
        (!events.is_empty()).then_some(WatchMessage { events, version })
    }
}

impl Entry {
    fn of(entry: &WatchEntry) -> Result<Self, Error> {
        let all = [
            WatchActionKind::WatchActionCreate,
            WatchActionKind::WatchActionUpdate,
            WatchActionKind::WatchActionRemove,
        ];
        if entry.kind.is_empty() {
            return Err(Error::NoKind);
        }
        if !all.iter().any(|action| includes(entry.action, *action)) {
            return Err(Error::UnknownAction);
        }
        let conditions: Vec<_> =
            entry.filters.iter().filter_map(|filter| filter.by.clone()).collect();
        for (position, condition) in conditions.iter().enumerate() {
            if conditions[..position].iter().any(|other| sort(other) == sort(condition)) {
                return Err(Error::ConflictingFilters);
            }
        }
        let built_in = Kind::ALL.into_iter().find(|kind| kind.name() == entry.kind);
        let of = built_in.map_or_else(|| Of::Extension(entry.kind.clone()), Of::Kind);
        Ok(Self { of, actions: entry.action, conditions })
    }

    fn matches(&self, action: WatchActionKind, target: &Target) -> bool {
        let subject = Subject::of(target);
        includes(self.actions, action)
            && match &self.of {
                Of::Kind(kind) => *kind == subject.kind,
                Of::Extension(name) => {
                    matches!(target, Target::Resource(resource) if resource.kind == *name)
                }
            }
            && self.conditions.iter().all(|condition| holds(condition, &subject, target))
    }
}

fn includes(actions: i32, action: WatchActionKind) -> bool {
    actions & i32::from(action) != 0
}

fn change_of(action: &StoreAction) -> Option<WatchActionKind> {
    match action.action() {
        StoreActionKind::Unknown => None,
        StoreActionKind::StoreActionCreate => Some(WatchActionKind::WatchActionCreate),
        StoreActionKind::StoreActionUpdate => Some(WatchActionKind::WatchActionUpdate),
        StoreActionKind::StoreActionRemove => Some(WatchActionKind::WatchActionRemove),
    }
}

/// What was written, as an object of any kind.
fn object(target: Target) -> wire::Object {
    let object = match target {
        Target::Cluster(cluster) => Object::Cluster(cluster),
        Target::Config(config) => Object::Config(config),
        Target::Extension(extension) => Object::Extension(extension),
        Target::Network(network) => Object::Network(network),
        Target::Node(node) => Object::Node(node),
        Target::Resource(resource) => Object::Resource(resource),
        Target::Secret(secret) => Object::Secret(secret),
        Target::Service(service) => Object::Service(service),
        Target::Task(task) => Object::Task(task),
        Target::Volume(volume) => Object::Volume(volume),
    };
    wire::Object { object: Some(object) }
}

/// What was written, as it was before the transaction.
fn before(changes: &Changes, target: &Target) -> Option<wire::Object> {
    let subject = Subject::of(target);
    let before = changes.before(subject.kind, subject.id)?;
    let action = before.to_action(StoreActionKind::StoreActionUpdate);
    action.target.map(object)
}
