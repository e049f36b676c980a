//! Which tasks of a service ended while somebody waited for it. The manager keeps only a few tasks
//! of the past, so what was seen is counted here.

use std::collections::BTreeMap;

use protocol::wire::TaskState;

use super::judgement::{Seen, end, is_wanted, state};

/// What ended so far.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// The tasks of the last look, by their ids.
    tasks: BTreeMap<String, Known>,
    slots: BTreeMap<u64, Ended>,
    /// What ended before the first look is of the past, and says nothing about what is waited for.
    has_looked: bool,
    /// The version of the spec that the slots are counted for.
    version: Option<u64>,
}

#[derive(Debug)]
struct Known {
    slot: u64,
    has_ended: bool,
    /// It should have run and was what the service asks for.
    is_current: bool,
}

/// The tasks of one slot that ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) count: usize,
    /// The last of them.
    pub(super) task: String,
    /// How it ended.
    pub(super) why: String,
    pub(super) is_rejected: bool,
}

impl Ends {
    /// What ended in a slot, if anything did.
    pub(super) fn of(&self, slot: u64) -> Option<&Ended> {
        self.slots.get(&slot)
    }

    /// Counts what ended since the last look. A task that is gone and was never seen to end counts
    /// as well: the manager forgot it between two looks.
    pub(super) fn count(&mut self, seen: &Seen) {
        let version = seen.service.spec_version.map(|version| version.index);
        if self.version != version {
            self.version = version;
            self.slots.clear();
        }
        let before = std::mem::take(&mut self.tasks);
        for task in &seen.tasks {
            let has_ended = matches!(
                state(task),
                TaskState::Complete | TaskState::Failed | TaskState::Rejected
            );
            let is_news = before.get(&task.id).is_none_or(|known| !known.has_ended);
            let is_current = seen.up_to_date.contains(&task.id);
            if has_ended && is_news && is_current && self.has_looked {
                self.add(task.slot, &task.id, end(task), state(task) == TaskState::Rejected);
            }
            let is_current = is_current && is_wanted(task);
            let known = Known { slot: task.slot, has_ended, is_current };
            self.tasks.insert(task.id.clone(), known);
        }
        for (id, known) in before {
            if known.is_current && !known.has_ended && !self.tasks.contains_key(&id) {
                self.add(known.slot, &id, "it is gone, and so is its state".to_owned(), false);
            }
        }
        self.has_looked = true;
    }

    fn add(&mut self, slot: u64, task: &str, why: String, is_rejected: bool) {
        let ended = self.slots.entry(slot).or_default();
        *ended = Ended { count: ended.count + 1, task: task.to_owned(), why, is_rejected };
    }
}
