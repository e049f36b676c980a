//! What clients were told, which the store must never contradict.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    mem,
    rc::Rc,
};

use futures_util::future::LocalBoxFuture;

/// What became of a write, as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was sent, and nothing has come back.
    Nothing,
    /// It was written.
    Acknowledged,
    /// It was not written, nor will be.
    NotWritten,
    /// Nobody knows.
    Unknown,
}

/// Everything that clients know. Clones are the same.
#[derive(Clone, Default)]
pub struct Oracle(Rc<RefCell<Known>>);

#[derive(Default)]
struct Known {
    writes: BTreeMap<String, Told>,
    /// Increments of the one counter.
    acknowledged_increments: u64,
    possible_increments: u64,
    /// What somebody has asked to remove, and whether that was acknowledged.
    leaving: BTreeMap<String, bool>,
    /// The newest index that a read which is over has shown.
    read: u64,
    /// The answers for which nobody waits any more.
    unanswered: Vec<(String, LocalBoxFuture<'static, ()>)>,
}

impl Oracle {
    /// A write is on its way.
    pub fn sent(&self, name: &str) {
        self.0.borrow_mut().writes.insert(name.to_owned(), Told::Nothing);
    }

    /// Its client was told.
    pub fn told(&self, name: &str, told: Told) {
        self.0.borrow_mut().writes.insert(name.to_owned(), told);
    }

    /// An increment of the counter has come back.
    pub fn incremented(&self, told: Told) {
        let known = &mut *self.0.borrow_mut();
        match told {
            Told::Acknowledged => {
                known.acknowledged_increments += 1;
                known.possible_increments += 1;
            }
            Told::Unknown | Told::Nothing => known.possible_increments += 1,
            Told::NotWritten => {}
        }
    }

    /// Somebody asks to remove it: from now on nobody can say whether it is there.
    pub fn leaves(&self, name: &str) {
        self.0.borrow_mut().leaving.insert(name.to_owned(), false);
    }

    /// Its removal was acknowledged.
    pub fn left(&self, name: &str) {
        self.0.borrow_mut().leaving.insert(name.to_owned(), true);
    }

    /// Whether somebody has asked to remove it.
    pub fn is_leaving(&self, name: &str) -> bool {
        self.0.borrow().leaving.contains_key(name)
    }

    /// Whether it was removed for certain.
    pub fn has_left(&self, name: &str) -> bool {
        self.0.borrow().leaving.get(name) == Some(&true)
    }

    /// A client does not wait any longer; the answer must come all the same.
    pub fn gave_up(&self, name: &str, answer: LocalBoxFuture<'static, ()>) {
        self.0.borrow_mut().unanswered.push((name.to_owned(), answer));
    }

    /// The answers for which nobody waits any more.
    pub fn take_unanswered(&self) -> Vec<(String, LocalBoxFuture<'static, ()>)> {
        mem::take(&mut self.0.borrow_mut().unanswered)
    }

    /// What was told of a write.
    pub fn of(&self, name: &str) -> Option<Told> {
        self.0.borrow().writes.get(name).copied()
    }

    /// Every write that was acknowledged so far, and that nobody has asked to remove.
    pub fn acknowledged(&self) -> BTreeSet<String> {
        let known = self.0.borrow();
        let writes = known.writes.iter().filter(|(name, told)| {
            **told == Told::Acknowledged && !known.leaving.contains_key(*name)
        });
        writes.map(|(name, _)| name.clone()).collect()
    }

    /// What a read that begins now must show at least: all that any read has shown that is over.
    pub fn read_so_far(&self) -> u64 {
        self.0.borrow().read
    }

    /// A read is over, and has shown this much.
    pub fn read(&self, index: u64) {
        let known = &mut *self.0.borrow_mut();
        known.read = known.read.max(index);
    }

    /// The least and the most that the counter can show.
    pub fn increments(&self) -> (u64, u64) {
        let known = self.0.borrow();
        (known.acknowledged_increments, known.possible_increments)
    }
}
