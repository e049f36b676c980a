//! What happened in a run, in order: as a hash that two runs of a seed share, and as lines for a
//! person who wants to know.

use std::{
    cell::RefCell,
    fmt::{Display, Write as _},
    rc::Rc,
};

use tokio::time::Instant;

/// The newest lines are kept.
const LINES_MAX: usize = 400;

/// The record of one run. Clones are the same record.
#[derive(Clone)]
pub struct Trace(Rc<RefCell<Record>>);

struct Record {
    began: Instant,
    hash: u64,
    events: u64,
    lines: std::collections::VecDeque<String>,
}

impl Default for Trace {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(Record {
            began: Instant::now(),
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            lines: std::collections::VecDeque::new(),
        })))
    }
}

impl Trace {
    /// Notes an event at this moment of virtual time.
    pub fn note(&self, event: impl Display) {
        let record = &mut *self.0.borrow_mut();
        let elapsed = record.began.elapsed();
        let mut line = String::new();
        write!(line, "{:>10.3} {event}", elapsed.as_secs_f64()).expect("a string takes everything");
        for byte in elapsed.as_nanos().to_le_bytes().iter().chain(line.as_bytes()) {
            record.hash = (record.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        record.events += 1;
        if record.lines.len() == LINES_MAX {
            record.lines.pop_front();
        }
        record.lines.push_back(line);
    }

    /// What two runs of one seed have in common, in any build.
    pub fn hash(&self) -> u64 {
        self.0.borrow().hash
    }

    /// How much happened.
    pub fn events(&self) -> u64 {
        self.0.borrow().events
    }

    /// The last lines.
    pub fn lines(&self) -> Vec<String> {
        self.0.borrow().lines.iter().cloned().collect()
    }
}
