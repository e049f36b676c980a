//! Who waits for what.

use std::collections::{BTreeMap, BTreeSet};

use super::{board::Due, lack::Cause};

/// What lacks something, by what it waits for.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    causes: BTreeMap<Due, Vec<Cause>>,
    by_cause: BTreeMap<Cause, BTreeSet<Due>>,
}

impl Waiting {
    /// Lets something wait for the first of several causes.
    pub(crate) fn insert(&mut self, due: Due, causes: Vec<Cause>) {
        self.remove(&due);
        for cause in &causes {
            self.by_cause.entry(cause.clone()).or_default().insert(due.clone());
        }
        self.causes.insert(due, causes);
    }

    pub(crate) fn remove(&mut self, due: &Due) {
        for cause in self.causes.remove(due).into_iter().flatten() {
            if let Some(all) = self.by_cause.get_mut(&cause) {
                all.remove(due);
                if all.is_empty() {
                    self.by_cause.remove(&cause);
                }
            }
        }
    }

    /// Whether anything waits for something.
    pub(crate) fn is_awaited(&self, cause: &Cause) -> bool {
        self.by_cause.contains_key(cause)
    }

    pub(crate) fn contains(&self, due: &Due) -> bool {
        self.causes.contains_key(due)
    }

    /// The first of those that wait for something, at most so many; they wait no more.
    pub(crate) fn wake(&mut self, cause: &Cause, at_most: usize) -> Vec<Due> {
        let all = self.by_cause.get(cause).into_iter().flatten();
        let woken: Vec<_> = all.take(at_most).cloned().collect();
        woken.iter().for_each(|due| self.remove(due));
        woken
    }
}
