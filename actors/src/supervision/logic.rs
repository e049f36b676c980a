//! Whether to start again, and when. Pure: deaths and a budget in, a verdict out.

use std::{collections::VecDeque, time::Duration};

/// How often the children of a tree may die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How many deaths are made good within the window.
    pub restarts: u32,
    /// The window.
    pub within: Duration,
}

/// The first back-off; each further death within the window doubles it.
pub(super) const BACK_OFF_MIN: Duration = Duration::from_millis(10);
/// The longest back-off.
pub(super) const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// What follows a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Start again after this time.
    Restart(Duration),
    /// The budget is spent: the tree as a whole must start again.
    Escalate,
}

/// The deaths of one tree's children that still count.
#[derive(Debug)]
pub(super) struct Deaths {
    budget: Budget,
    /// When they died, as time since the tree began, oldest first; never more than the budget.
    times: VecDeque<Duration>,
}

impl Deaths {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget, times: VecDeque::new() }
    }

    /// Counts a death at `now`, a time since the tree began.
    pub(super) fn count(&mut self, now: Duration) -> Verdict {
        while self.times.front().is_some_and(|time| now.saturating_sub(*time) > self.budget.within)
        {
            self.times.pop_front();
        }
        if self.times.len() >= self.budget.restarts as usize {
            self.times.clear();
            return Verdict::Escalate;
        }
        let doublings = u32::try_from(self.times.len()).unwrap_or(u32::MAX);
        self.times.push_back(now);
        let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
        Verdict::Restart(BACK_OFF_MIN.saturating_mul(factor).min(BACK_OFF_MAX))
    }
}
