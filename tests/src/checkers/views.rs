//! STORE-3 to STORE-5: what members show is committed, the same everywhere, and never goes back.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
};

use actors::store::View;

use super::objects;
use crate::{
    cluster::Cluster,
    oracle::{Oracle, Told},
    workload::COUNTER,
};

/// What was seen on any member.
#[derive(Default)]
pub struct Views {
    /// A digest of what a view at an index shows.
    by_index: BTreeMap<u64, u64>,
    /// The newest view of each life of each member.
    newest: BTreeMap<(u64, u64), u64>,
    seen: BTreeSet<String>,
}

impl Views {
    /// Looks at the view of every member.
    pub fn check(&mut self, cluster: &Cluster, oracle: &Oracle) {
        for member in cluster.machines() {
            let (id, life) = (member.borrow().id, member.borrow().lives);
            let Some(store) = member.borrow().store() else { continue };
            let view = store.view();
            cluster.counts.count("check: views never go back");
            if !self.follow((id, life), view.index()) {
                continue;
            }
            // It costs as much as everything else; what is wrong stays wrong for a while.
            if view.index().is_multiple_of(5) {
                objects::check(id, &view);
                cluster.counts.count("check: names and indices are right");
            }
            if self.compare(id, &view) {
                cluster.counts.count("check: views agree");
            }
            for service in view.services().filter(|service| service.id.as_str() != COUNTER) {
                let name = service.id.as_str();
                let told = oracle.of(name);
                assert_ne!(
                    told,
                    Some(Told::NotWritten),
                    "views: {id} shows {name}, which is not written"
                );
                if self.seen.insert(name.to_owned()) {
                    cluster.counts.count("check: speculation stays inside");
                }
            }
        }
    }

    /// Returns whether the view is new.
    fn follow(&mut self, (member, life): (u64, u64), index: u64) -> bool {
        let newest = self.newest.entry((member, life)).or_default();
        assert!(index >= *newest, "views: the view of {member} went back from {newest} to {index}");
        std::mem::replace(newest, index) != index
    }

    /// Returns whether somebody had a view of this index before.
    fn compare(&mut self, member: u64, view: &View) -> bool {
        let digest = digest(view);
        let known = self.by_index.insert(view.index(), digest);
        let differs = known.is_some_and(|known| known != digest);
        assert!(!differs, "views: {member} shows something else at index {}", view.index());
        known.is_some()
    }

    /// What anybody ever saw was committed, so everybody has it in the end.
    pub fn finish(&self, cluster: &Cluster, oracle: &Oracle) {
        for member in cluster.members() {
            let member = member.borrow();
            let view = member.store().expect("everybody lives").view();
            for name in self.seen.iter().filter(|name| !oracle.is_leaving(name)) {
                let found = view.service(&name.as_str().into()).is_some();
                assert!(found, "views: {name} was seen, and {} does not have it", member.id);
                cluster.counts.count("check: speculation stays inside");
            }
        }
    }
}

/// Small enough to be kept for every index, and blind for nothing that a client writes.
fn digest(view: &View) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for object in view.objects() {
        (object.kind().name(), object.id().as_str(), object.meta().version).hash(&mut hasher);
    }
    for service in view.services() {
        crate::workload::count(service).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "views: the view of 1 went back from 5 to 4")]
    fn a_view_that_goes_back_is_found() {
        let mut views = Views::default();
        views.follow((1, 1), 5);
        views.follow((2, 1), 4);
        views.follow((1, 2), 4);
        views.follow((1, 1), 4);
    }

    #[test]
    #[should_panic(expected = "views: 2 shows something else at index 0")]
    fn two_views_of_an_index_are_found() {
        let mut views = Views::default();
        assert!(!views.compare(1, &View::default()));
        views.by_index.insert(0, 7);
        views.compare(2, &View::default());
    }
}
