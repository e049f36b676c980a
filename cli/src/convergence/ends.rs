//! Which tasks of a service ended while somebody waited for it. The manager keeps only a few tasks
//! of the past, so what was seen is counted here.

use std::collections::BTreeMap;

use protocol::wire::{Task, TaskState};

use super::judgement::{Seen, end, is_to_go, is_wanted, state};

/// What ended so far.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// The tasks of the last look, by their ids.
    tasks: BTreeMap<String, Known>,
    slots: BTreeMap<u64, Ended>,
    has_looked: bool,
    /// The version of the spec that the slots are counted for.
    version: Option<u64>,
    /// The version of the spec that was written right before the wait, if one was: tasks of it end
    /// during the wait, also before the first look.
    written: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    slot: u64,
    has_ended: bool,
    /// It should run.
    is_wanted: bool,
    /// It is, or was when it ended, what the service asks for.
    is_current: bool,
    /// It had ended before the wait.
    is_past: bool,
}

/// The tasks of one slot that ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) count: usize,
    /// How the last of them ended.
    pub(super) why: String,
}

impl Ends {
    /// Of a wait that begins after this version of the spec was written, or after none was.
    pub(super) fn since(written: Option<u64>) -> Self {
        Self { written, ..Self::default() }
    }

    /// What ended in a slot, if anything did.
    pub(super) fn of(&self, slot: u64) -> Option<&Ended> {
        self.slots.get(&slot)
    }

    /// Whether a task had ended before the wait. That says nothing about what is waited for.
    pub(super) fn is_past(&self, task: &Task) -> bool {
        self.tasks.get(&task.id).is_some_and(|known| known.is_past)
    }

    /// Whether a task is what the service asks for, or was when it ended.
    pub(super) fn is_current(&self, task: &Task) -> bool {
        self.tasks.get(&task.id).is_some_and(|known| known.is_current)
    }

    /// Counts what ended since the last look. A task that is gone and was never seen to end counts
    /// as well: the manager forgot it between two looks. What was told to go may end as it likes.
    pub(super) fn count(&mut self, seen: &Seen) {
        let version = seen.service.spec_version.map(|version| version.index);
        let is_same = self.version == version;
        if !is_same {
            self.version = version;
            self.slots.clear();
        }
        let before = std::mem::take(&mut self.tasks);
        for task in &seen.tasks {
            let known = before.get(&task.id);
            let now = self.known(task, seen, known.filter(|_| is_same));
            let is_past = known.map_or(now.is_past, |known| known.is_past);
            let is_news = known.is_none_or(|known| !known.has_ended);
            if now.has_ended && is_news && now.is_current && !is_past && !is_to_go(task) {
                self.add(task.slot, end(task));
            }
            self.tasks.insert(task.id.clone(), Known { is_past, ..now });
        }
        for (id, known) in before.into_iter().filter(|_| is_same) {
            let should_be_there = known.is_current && known.is_wanted && !known.has_ended;
            if should_be_there && !self.tasks.contains_key(&id) {
                self.add(known.slot, "it is gone, and so is its state".to_owned());
            }
        }
        self.has_looked = true;
    }

    /// What is known of a task, with what was known before under the same spec.
    fn known(&self, task: &Task, seen: &Seen, before: Option<&Known>) -> Known {
        let made_for = task.spec_version.map(|version| version.index);
        let is_of = |version: Option<u64>| version.is_some() && version == made_for;
        Known {
            slot: task.slot,
            has_ended: matches!(
                state(task),
                TaskState::Complete | TaskState::Failed | TaskState::Rejected
            ),
            is_wanted: is_wanted(task),
            is_current: seen.up_to_date.contains(&task.id)
                || is_of(self.version)
                || before.is_some_and(|known| known.is_current),
            is_past: !self.has_looked && state(task) > TaskState::Running && !is_of(self.written),
        }
    }

    fn add(&mut self, slot: u64, why: String) {
        let count = self.slots.get(&slot).map_or(0, |ended| ended.count) + 1;
        self.slots.insert(slot, Ended { count, why });
    }
}
