//! When waiting ends: how long tasks have to stay up, and how long something may be stuck.

use std::{collections::BTreeSet, time::Duration};

use super::{
    ends::Ends,
    judgement::{Seen, Verdict, judge},
};

/// How long all tasks have to run until they count as staying up; SwarmKit watches new tasks of an
/// update as long unless the spec says otherwise.
pub(super) const STAYS_UP: Duration = Duration::from_secs(5);

/// How long no manager may answer: long enough for the members to choose a new leader.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What is to be done after a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Every task runs and stays up.
    Done,
    /// Time alone will not help.
    Failed(String),
    /// Look again; this is what is waited for.
    Wait(String),
}

/// What a wait remembers from look to look.
#[derive(Debug, Default)]
pub(super) struct Patience {
    ends: Ends,
    /// Since when it has been stuck, for whatever reasons.
    stuck: Option<Duration>,
    /// Since when these tasks have been running and no others.
    up: Option<(BTreeSet<String>, Duration)>,
}

impl Patience {
    /// Decides after a look, at a time since the start of the wait.
    pub(super) fn look(&mut self, seen: &Seen, now: Duration) -> Step {
        self.ends.count(seen);
        let verdict = judge(seen, &self.ends);
        if !matches!(verdict, Verdict::Runs(_)) {
            self.up = None;
        }
        match verdict {
            Verdict::Hopeless(why) => Step::Failed(why),
            Verdict::Stuck { why, patience } => self.stuck(why, patience, now),
            Verdict::Progressing(what) => {
                self.stuck = None;
                Step::Wait(what)
            }
            Verdict::Runs(tasks) => {
                self.stuck = None;
                self.runs(tasks, now)
            }
        }
    }

    /// Decides after a look that no manager answered.
    pub(super) fn silence(&mut self, why: &str, now: Duration) -> Step {
        self.stuck(format!("no manager answers: {why}"), SILENCE_MAX, now)
    }

    fn stuck(&mut self, why: String, patience: Duration, now: Duration) -> Step {
        let since = *self.stuck.get_or_insert(now);
        match now.saturating_sub(since) >= patience {
            true => Step::Failed(why),
            false => Step::Wait(why),
        }
    }

    fn runs(&mut self, tasks: BTreeSet<String>, now: Duration) -> Step {
        let since = match self.up.take() {
            Some((before, since)) if before == tasks => since,
            Some(_) | None => now,
        };
        if tasks.is_empty() || now.saturating_sub(since) >= STAYS_UP {
            return Step::Done;
        }
        let text = format!("all {} tasks run, now they have to stay up", tasks.len());
        self.up = Some((tasks, since));
        Step::Wait(text)
    }
}
