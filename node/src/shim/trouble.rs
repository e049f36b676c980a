//! What is said about things that go wrong again and again.

use std::{
    error,
    io::{self, Write},
};

use super::chain;

/// How often one thing is told in the life of a shim.
const TOLD_MAX: u32 = 100;

/// Something that may go wrong often. It is told once until it has gone well again, and not for
/// ever.
#[derive(Debug)]
pub(super) struct Trouble {
    /// What is wrong, as the beginning of a line.
    what: &'static str,
    is_told: bool,
    told: u32,
}

impl Trouble {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, is_told: false, told: 0 }
    }

    /// Tells whoever looks into the task's directory.
    pub(super) fn tell(&mut self, error: &dyn error::Error) {
        if !self.is_told && self.told < TOLD_MAX {
            // The shim's standard error is the task's `trouble`.
            writeln!(io::stderr(), "{}: {}", self.what, chain(error)).ok();
            self.told += 1;
        }
        self.is_told = true;
    }

    /// It has gone well.
    pub(super) fn is_over(&mut self) {
        self.is_told = false;
    }
}
