//! Bars on a terminal, one per slot, drawn over the ones before, and below them what is waited for.
//! Elsewhere there are no bars, and what is waited for is told now and then.

use std::{fmt::Write, time::Duration};

use protocol::wire::TaskState;

use super::judgement::Slot;

/// How many slots have a bar; the others are counted below.
const BARS_MAX: usize = 20;

/// How wide a bar is.
const WIDTH: usize = 20;

/// How wide what is waited for may be. A line that wraps would be two, and the next picture would
/// not lie over this one.
const TEXT_WIDTH: usize = 79;

/// How long waiting goes on in silence where there is no terminal: longer than most reasons to give
/// up last, so that such an error stands alone.
const SILENCE: Duration = Duration::from_secs(15);

const GREEN: &str = "\u{1b}[32m";
const RED: &str = "\u{1b}[31m";
const PLAIN: &str = "\u{1b}[0m";

/// What is drawn, and how much of it stands on the terminal already.
pub(super) struct Picture {
    is_drawn: bool,
    has_colours: bool,
    lines: usize,
    /// When something was told last where no bars are drawn, since the start of the wait.
    told: Duration,
}

impl Picture {
    /// A picture for a terminal; anything else gets none. NO_COLOR, if it is set and not empty,
    /// keeps it without colours.
    pub(super) fn new(is_terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { is_drawn: is_terminal, has_colours: !refused, lines: 0, told: Duration::ZERO }
    }

    #[cfg(test)]
    pub(super) fn with(is_drawn: bool, has_colours: bool) -> Self {
        Self { is_drawn, has_colours, lines: 0, told: Duration::ZERO }
    }

    /// Returns what draws the slots over those that were drawn before, with what is waited for, at
    /// a time since the start of the wait.
    pub(super) fn next(&mut self, slots: &[Slot], waits_for: &str, now: Duration) -> String {
        let mut drawn = String::new();
        if !self.is_drawn {
            if !waits_for.is_empty() && now.saturating_sub(self.told) >= SILENCE {
                self.told = now;
                let _ = writeln!(drawn, "waiting: {waits_for}");
            }
            return drawn;
        }
        if self.lines > 0 {
            let _ = write!(drawn, "\u{1b}[{}A", self.lines);
        }
        // Whatever stood below goes, so that a picture may become shorter.
        drawn.push_str("\u{1b}[J");
        for slot in slots.iter().take(BARS_MAX) {
            drawn.push_str(&self.bar(slot));
        }
        let rest = slots.get(BARS_MAX..).unwrap_or_default();
        let running = rest.iter().filter(|slot| slot.state == TaskState::Running).count();
        if !rest.is_empty() {
            let _ = writeln!(drawn, "... and {} more, of which {running} run", rest.len());
        }
        let line: String =
            waits_for.chars().filter(|one| !one.is_control()).take(TEXT_WIDTH).collect();
        if !line.is_empty() {
            drawn.push_str(&line);
            drawn.push('\n');
        }
        let others = usize::from(!rest.is_empty()) + usize::from(!line.is_empty());
        self.lines = slots.len().min(BARS_MAX) + others;
        drawn
    }

    fn bar(&self, slot: &Slot) -> String {
        let far = (slot.state as usize).min(TaskState::Running as usize);
        let full = far * WIDTH / TaskState::Running as usize;
        let name = slot.state.as_str_name();
        let bar = format!("{}{}", "=".repeat(full), " ".repeat(WIDTH - full));
        let colour = if slot.state == TaskState::Running {
            GREEN
        } else if slot.error.is_empty() {
            ""
        } else {
            RED
        };
        let (colour, plain) = match self.has_colours && !colour.is_empty() {
            true => (colour, PLAIN),
            false => ("", ""),
        };
        let error: String = slot.error.chars().filter(|one| !one.is_control()).take(40).collect();
        format!("{:>6} [{bar}] {colour}{name}{plain} {error}\n", slot.number)
    }
}
