//! Numbers in use: ports, VXLAN ids, addresses. Kept as runs, so that many in a row are one entry
//! and the next free one is found at once.

use std::{collections::BTreeMap, ops::RangeInclusive};

/// Disjoint runs of numbers: the first of each, and the last. Runs that touch are one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs(BTreeMap<u128, u128>);

impl Runs {
    /// Puts all numbers from the first to the last in.
    pub(crate) fn insert(&mut self, mut first: u128, mut last: u128) {
        let reach = last.saturating_add(1);
        while let Some((from, to)) = self.last_within(first.saturating_sub(1), reach) {
            self.0.remove(&from);
            (first, last) = (first.min(from), last.max(to));
        }
        self.0.insert(first, last);
    }

    /// Takes all numbers from the first to the last out.
    pub(crate) fn remove(&mut self, first: u128, last: u128) {
        while let Some((from, to)) = self.last_within(first, last) {
            self.0.remove(&from);
            if from < first {
                self.0.insert(from, first - 1);
            }
            if to > last {
                self.0.insert(last + 1, to);
            }
        }
    }

    /// The last run that has a number from the first to the last.
    pub(crate) fn last_within(&self, first: u128, last: u128) -> Option<(u128, u128)> {
        let (from, to) = self.0.range(..=last).next_back()?;
        (*to >= first).then_some((*from, *to))
    }

    pub(crate) fn contains(&self, number: u128) -> bool {
        self.last_within(number, number).is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Numbers in use, each by one user or more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    used: Runs,
    /// Those with more than one user, and how many there are beside the first.
    shared: BTreeMap<u128, u32>,
    /// What was handed out last of the range that begins here. It only says where to look first.
    last: BTreeMap<u128, u128>,
}

/// Where the search begins does not matter for what is in use.
impl PartialEq for Numbers {
    fn eq(&self, other: &Self) -> bool {
        (&self.used, &self.shared) == (&other.used, &other.shared)
    }
}

impl Numbers {
    /// Notes one user more.
    pub(crate) fn take(&mut self, number: u128) {
        if self.used.contains(number) {
            *self.shared.entry(number).or_default() += 1;
        } else {
            self.used.insert(number, number);
        }
    }

    /// Notes one user less. Returns whether it is free now.
    pub(crate) fn give_back(&mut self, number: u128) -> bool {
        match self.shared.get_mut(&number) {
            Some(1) => drop(self.shared.remove(&number)),
            Some(users) => *users -= 1,
            None => self.used.remove(number, number),
        }
        !self.used.contains(number)
    }

    pub(crate) fn is_used(&self, number: u128) -> bool {
        self.used.contains(number)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// Takes the next free number of a range behind the one that was handed out last, and begins
    /// at its start again when its end is reached. That it was handed out is noted later.
    pub(crate) fn take_next(&mut self, range: &RangeInclusive<u128>) -> Option<u128> {
        let (first, end) = (*range.start(), *range.end());
        let last = self.last.get(&first).filter(|last| **last < end);
        let behind = last.map_or(first, |last| last + 1);
        let number = self.free(behind, end).or_else(|| self.free(first, end))?;
        self.take(number);
        Some(number)
    }

    /// Notes what was handed out last of the range that begins with `first`.
    pub(crate) fn handed_out(&mut self, first: u128, number: u128) {
        self.last.insert(first, number);
    }

    /// Whether a number of a range is free.
    pub(crate) fn has_free(&self, range: &RangeInclusive<u128>) -> bool {
        self.free(*range.start(), *range.end()).is_some()
    }

    /// The first free number from one to another.
    fn free(&self, from: u128, to: u128) -> Option<u128> {
        let free = match self.used.last_within(from, from) {
            Some((_, last)) => last.checked_add(1)?,
            None => from,
        };
        (free <= to).then_some(free)
    }

    /// Looks on where another left off.
    pub(crate) fn continue_from(&mut self, other: Self) {
        self.last = other.last;
    }
}
