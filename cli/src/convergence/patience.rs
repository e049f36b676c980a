//! When waiting ends: how long tasks have to stay up, and how long something may be stuck.

use std::{collections::BTreeSet, time::Duration};

use super::{
    ends::Ends,
    judgement::{Obstacle, Seen, Verdict, judge},
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
    /// What it has been stuck at, and since when. Another obstacle starts another clock.
    stuck: Option<(Obstacle, Duration)>,
    /// Since when no manager has answered. That stops the clock of the obstacle: nobody knows
    /// whether it still stands.
    silent: Option<Duration>,
    /// Since when these tasks have been running and no others.
    up: Option<(BTreeSet<String>, Duration)>,
}

impl Patience {
    /// Of a wait that begins after this version of the spec was written, or after none was.
    pub(super) fn since(written: Option<u64>) -> Self {
        Self { ends: Ends::since(written), ..Self::default() }
    }

    /// Decides after a look, at a time since the start of the wait.
    pub(super) fn look(&mut self, seen: &Seen, now: Duration) -> Step {
        self.ends.count(seen);
        if let Some(silent) = self.silent.take()
            && let Some((_, since)) = &mut self.stuck
        {
            *since = since.saturating_add(now.saturating_sub(silent));
        }
        let verdict = judge(seen, &self.ends);
        if !matches!(verdict, Verdict::Runs(_)) {
            self.up = None;
        }
        match verdict {
            Verdict::Hopeless(why) => Step::Failed(why),
            Verdict::Stuck { obstacle, why, patience } => {
                let since = match self.stuck {
                    Some((before, since)) if before == obstacle => since,
                    Some(_) | None => now,
                };
                self.stuck = Some((obstacle, since));
                lasts(why, now.saturating_sub(since), patience)
            }
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
        let since = *self.silent.get_or_insert(now);
        lasts(format!("no manager answers: {why}"), now.saturating_sub(since), SILENCE_MAX)
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

/// Decides on something that may pass and has lasted a while.
fn lasts(why: String, lasted: Duration, patience: Duration) -> Step {
    if lasted >= patience { Step::Failed(why) } else { Step::Wait(why) }
}
