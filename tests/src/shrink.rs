//! Makes a failing story shorter: takes faults away as long as the same checker still fails.

use std::{fmt::Write as _, time::Duration};

use crate::{
    plan::Fault,
    run::{Failure, Story},
    trace::Filter,
};

/// A story that fails, with as few faults as were found to be enough.
#[derive(Debug)]
pub struct Shrunk {
    /// The story.
    pub story: Story,
    /// How it fails.
    pub failure: Box<Failure>,
    /// How many runs it took.
    pub runs: usize,
}

/// Shrinks a story that fails as `failure` says, with at most so many runs.
pub fn shrink(story: &Story, failure: Box<Failure>, runs_max: usize) -> Shrunk {
    let mut shrunk = Shrunk { story: story.clone(), failure, runs: 0 };
    // What comes after the failure has nothing to do with it.
    let reached = shrunk.failure.at.min(story.time);
    let happened = |fault: &&Fault| fault.at <= reached;
    shrunk.attempt(story.faults.iter().filter(happened).cloned().collect());
    let mut chunk = shrunk.story.faults.len().div_ceil(2).max(1);
    while shrunk.runs < runs_max {
        let removed = shrunk.remove_chunks(chunk, runs_max);
        match (removed, chunk) {
            (false, 1) => break,
            (false, _) => chunk = chunk.div_ceil(2),
            (true, _) => chunk = chunk.min(shrunk.story.faults.len()).max(1),
        }
    }
    shrunk
}

impl Shrunk {
    /// Tries to do without each chunk of the faults; says whether that worked for any.
    fn remove_chunks(&mut self, chunk: usize, runs_max: usize) -> bool {
        let (mut from, mut removed) = (0, false);
        while from < self.story.faults.len() && self.runs < runs_max {
            let mut faults = self.story.faults.clone();
            faults.drain(from..(from + chunk).min(faults.len()));
            if self.attempt(faults) {
                removed = true;
            } else {
                from += chunk;
            }
        }
        removed
    }

    /// Keeps these faults if the same checker fails with them.
    fn attempt(&mut self, faults: Vec<Fault>) -> bool {
        let story = Story { faults, ..self.story.clone() };
        self.runs += 1;
        match story.attempt(&Filter::default()) {
            Err(failure) if failure.checker == self.failure.checker => {
                (self.story, self.failure) = (story, failure);
                true
            }
            Err(_) | Ok(_) => false,
        }
    }

    /// A test that fails as this story does, to be copied into `tests/tests/scenarios/`.
    pub fn scenario(&self) -> String {
        let Story { seed, time, faults, family } = &self.story;
        let mut text = format!(
            "/// Found by seed {seed}: {}\n#[test]\nfn found_by_seed_{seed}() {{\n    let faults = vec![\n",
            self.failure.text
        );
        for fault in faults {
            writeln!(text, "        {fault},").expect("a string takes everything");
        }
        let seconds = time.max(&Duration::from_secs(1)).as_secs();
        write!(
            text,
            "    ];\n    let time = Duration::from_secs({seconds});\n    \
             Story {{ seed: {seed}, time, faults, family: Family::{family:?} }}.hold();\n}}"
        )
        .expect("a string takes everything");
        text
    }
}
