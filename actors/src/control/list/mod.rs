//! Which objects a list call returns, and in which order (validation.md §11).
//!
//! The first filter that is given drives the order; then every filter must hold, and any one of
//! the values inside a filter is enough.

mod kinds;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

pub use kinds::{clusters, nodes, resources, services, tasks};

type Labels = BTreeMap<String, String>;

/// What the filters that every kind has look at.
struct Subject<'a> {
    id: &'a str,
    name: Cow<'a, str>,
    labels: Option<&'a Labels>,
}

/// The filters that every kind has; an empty one holds for all.
#[derive(Clone, Copy)]
struct Filters<'a> {
    names: &'a [String],
    name_prefixes: &'a [String],
    id_prefixes: &'a [String],
    labels: &'a Labels,
}

impl Filters<'_> {
    fn hold(&self, subject: &Subject<'_>) -> bool {
        any(self.names, |name| *name == subject.name)
            && any(self.name_prefixes, |prefix| subject.name.starts_with(prefix))
            && any(self.id_prefixes, |prefix| subject.id.starts_with(prefix))
            && labels_hold(self.labels, subject.labels)
    }

    /// The ranks of a subject in the answer: one for each value of the driving filter that it
    /// fits. Without a driving filter everything has the same rank.
    fn ranks(&self, subject: &Subject<'_>) -> Vec<usize> {
        let name = subject.name.to_lowercase();
        let fits = |values: &[String], fits: &dyn Fn(&str) -> bool| {
            let fitting = values.iter().enumerate().filter(|(_, value)| fits(value));
            fitting.map(|(rank, _)| rank).collect()
        };
        if !self.names.is_empty() {
            fits(self.names, &|value| value.to_lowercase() == name)
        } else if !self.name_prefixes.is_empty() {
            fits(self.name_prefixes, &|value| name.starts_with(&value.to_lowercase()))
        } else if !self.id_prefixes.is_empty() {
            fits(self.id_prefixes, &|value| subject.id.starts_with(value))
        } else {
            vec![0]
        }
    }

    /// Whether a name or an id is wanted by any of its filters, which is how resources are asked
    /// for; names in any case.
    fn any_holds(&self, subject: &Subject<'_>) -> bool {
        let name = subject.name.to_lowercase();
        let all =
            self.names.is_empty() && self.name_prefixes.is_empty() && self.id_prefixes.is_empty();
        all || self.names.iter().any(|wanted| wanted.to_lowercase() == name)
            || self.name_prefixes.iter().any(|prefix| name.starts_with(&prefix.to_lowercase()))
            || self.id_prefixes.iter().any(|prefix| subject.id.starts_with(prefix))
    }

    fn look_at_names(&self) -> bool {
        !self.names.is_empty() || !self.name_prefixes.is_empty()
    }
}

/// Returns the objects for which the filters and `rest` hold, each once, in the order of the
/// driving filter's values, then by name where names drive, then by id.
fn select<'a, T: 'a>(
    objects: impl IntoIterator<Item = &'a T>,
    subject: impl Fn(&'a T) -> Subject<'a>,
    filters: Filters<'_>,
    rest: impl Fn(&T) -> bool,
) -> Vec<&'a T> {
    let mut ranked = Vec::new();
    for object in objects {
        let subject = subject(object);
        if filters.hold(&subject) && rest(object) {
            let name = filters.look_at_names().then(|| subject.name.to_lowercase());
            for rank in filters.ranks(&subject) {
                ranked.push(((rank, name.clone(), subject.id), object));
            }
        }
    }
    ranked.sort_by(|(left, _), (right, _)| left.cmp(right));
    let mut seen = BTreeSet::new();
    ranked.retain(|((_, _, id), _)| seen.insert(*id));
    ranked.into_iter().map(|(_, object)| object).collect()
}

/// Returns whether one of the wanted values fits; wanting nothing in particular fits all.
fn any<T>(wanted: &[T], fits: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(fits)
}

/// Returns whether every wanted key is there, with the wanted value unless that is empty.
fn labels_hold(wanted: &Labels, labels: Option<&Labels>) -> bool {
    wanted.iter().all(|(key, value)| {
        let found = labels.and_then(|labels| labels.get(key));
        found.is_some_and(|found| value.is_empty() || found == value)
    })
}
