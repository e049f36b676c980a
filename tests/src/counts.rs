//! How often each fault fired and each checker compared something. A count of zero means that
//! something was not tested.

use std::{cell::RefCell, collections::BTreeMap, fmt, rc::Rc};

/// Everything that must happen in a set of runs, so that they mean something.
pub const EXPECTED: &[&str] = &[
    "fault: actor died after handling",
    "fault: actor died before handling",
    "fault: agents fall silent",
    "fault: clock set",
    "fault: crash of a process",
    "fault: crash of a machine",
    "fault: disk failed",
    "fault: disk lost a write",
    "fault: disk reordered writes",
    "fault: disk tore a write",
    "fault: disk undid a name",
    "fault: leader removed",
    "fault: leadership handed over",
    "fault: member joined",
    "fault: member removed",
    "fault: message delayed",
    "fault: message lost",
    "fault: message overtaken",
    "fault: message repeated",
    "fault: overlaps another",
    "fault: partition",
    "fault: partition in one direction",
    "fault: removed member came back",
    "fault: slow disk",
    "fault: task ended by itself",
    "fault: old message comes late",
    "seen: certificate renewed",
    "seen: dial refused",
    "seen: ended certificate renewed",
    "seen: leader elected",
    "seen: learner promoted",
    "seen: name refused",
    "seen: message refused by certificate",
    "seen: node demoted",
    "seen: node joined by token",
    "seen: node promoted",
    "seen: node removed",
    "seen: outcome unknown",
    "seen: read refused",
    "seen: removed member told so",
    "seen: removed node told so",
    "seen: service removed",
    "seen: seven voters",
    "seen: replacement started",
    "seen: service scaled",
    "seen: service updated",
    "seen: snapshot sent",
    "seen: token rotated",
    "seen: write acknowledged",
    "seen: write by certificate",
    "seen: write not written",
    "check: a quiet cluster stays quiet",
    "check: a removed member changes nothing",
    "check: a removed member ends",
    "check: a void certificate changes nothing",
    "check: agents know their tasks",
    "check: acknowledged writes survive",
    "check: every member votes in the end",
    "check: every service has its tasks",
    "check: every transaction is answered",
    "check: increments add up",
    "check: logs agree",
    "check: loops run where the leader is",
    "check: mass silence is doubted",
    "check: members agree",
    "check: names and indices are right",
    "check: nodes have their grace",
    "check: no join without a token",
    "check: nobody is counted who was removed",
    "check: one leader per term",
    "check: one process per slot",
    "check: one task per slot",
    "check: only wanted deaths",
    "check: permits come back",
    "check: reads are current",
    "check: reads never go back",
    "check: replacements wait",
    "check: roles are in certificates",
    "check: speculation stays inside",
    "check: states of tasks grow",
    "check: subscribers know what is committed",
    "check: tasks stay on their nodes",
    "check: views agree",
    "check: views never go back",
];

/// Counters by name. Clones count together.
#[derive(Clone, Default)]
pub struct Counts(Rc<RefCell<BTreeMap<&'static str, u64>>>);

impl Counts {
    /// Counts one.
    pub fn count(&self, what: &'static str) {
        self.add(what, 1);
    }

    /// Counts several.
    pub fn add(&self, what: &'static str, how_often: u64) {
        debug_assert!(EXPECTED.contains(&what), "{what} is not expected");
        *self.0.borrow_mut().entry(what).or_default() += how_often;
    }

    /// How often something has happened so far.
    pub fn of(&self, what: &str) -> u64 {
        self.0.borrow().get(what).copied().unwrap_or_default()
    }

    /// All counts so far.
    pub fn take(&self) -> BTreeMap<&'static str, u64> {
        self.0.take()
    }
}

/// The counts of many runs, added up.
#[derive(Debug, Default)]
pub struct Total(BTreeMap<&'static str, u64>);

impl Total {
    /// Adds those of one run.
    pub fn add(&mut self, counts: &BTreeMap<&'static str, u64>) {
        for (what, count) in counts {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        let fired = |what: &&'static str| self.0.get(what).is_some_and(|count| *count > 0);
        EXPECTED.iter().copied().filter(|what| !fired(what)).collect()
    }
}

impl fmt::Display for Total {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for what in EXPECTED {
            writeln!(formatter, "{:>12}  {what}", self.0.get(what).copied().unwrap_or_default())?;
        }
        Ok(())
    }
}
