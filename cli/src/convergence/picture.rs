//! Bars on a terminal, one per slot, drawn over the ones before, and below them what is waited for.
//! Elsewhere there are no bars, and what is waited for is told now and then.

use std::{fmt::Write, time::Duration};

use protocol::wire::TaskState;

use super::judgement::Slot;

/// How many slots have a bar; the others are counted below.
const BARS_MAX: usize = 20;

/// How wide a bar is.
const WIDTH: usize = 20;

/// How many lines what is waited for may take.
const TEXT_LINES_MAX: usize = 3;

/// What a terminal is taken for that does not say how large it is.
const COLUMNS: u16 = 80;
const LINES: u16 = 24;

/// How long waiting goes on in silence where there is no terminal: longer than most reasons to give
/// up last, so that such an error stands alone.
const SILENCE: Duration = Duration::from_secs(15);

/// How many columns and lines the terminal of standard error has; 0 where that is not known.
pub(super) fn size() -> (u16, u16) {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    size.map_or((0, 0), |size| (size.ws_col, size.ws_row))
}

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
    /// a time since the start of the wait, on a terminal of this many columns and lines.
    pub(super) fn next(
        &mut self,
        slots: &[Slot],
        waits_for: &str,
        now: Duration,
        (columns, lines): (u16, u16),
    ) -> String {
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
        // A line that wraps would be two, and one at the bottom moves all others: the next picture
        // would not lie over this one.
        let wide = usize::from(if columns == 0 { COLUMNS } else { columns }).saturating_sub(1);
        let high = usize::from(if lines == 0 { LINES } else { lines }).saturating_sub(2);
        let text = wrapped(waits_for, wide);
        let bars = high.saturating_sub(TEXT_LINES_MAX + 1).clamp(1, BARS_MAX);
        let mut picture: Vec<_> =
            slots.iter().take(bars).map(|slot| self.bar(slot, wide)).collect();
        let rest = slots.get(bars..).unwrap_or_default();
        let running = rest.iter().filter(|slot| slot.state == TaskState::Running).count();
        if !rest.is_empty() {
            let more = format!("... and {} more, of which {running} run", rest.len());
            picture.push(more.chars().take(wide).collect());
        }
        picture.extend(text);
        self.lines = picture.len();
        picture.into_iter().for_each(|line| drawn.push_str(&(line + "\n")));
        drawn
    }

    fn bar(&self, slot: &Slot, wide: usize) -> String {
        let far = (slot.state as usize).min(TaskState::Running as usize);
        let full = far * WIDTH / TaskState::Running as usize;
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
        let mut room = wide;
        let mut clip = |text: &str| {
            let clipped: String = text.chars().filter(|one| !one.is_control()).take(room).collect();
            room -= clipped.chars().count();
            clipped
        };
        let bar = clip(&format!("{:>6} [{bar}] ", slot.number));
        let (name, error) = (clip(slot.state.as_str_name()), clip(&format!(" {}", slot.error)));
        format!("{bar}{colour}{name}{plain}{error}")
    }
}

/// A text in as many lines as it may have, none wider than this.
fn wrapped(text: &str, wide: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let word: Vec<_> = word.chars().filter(|one| !one.is_control()).collect();
        // Only a word that is wider than a line is cut.
        for part in word.chunks(wide.max(1)) {
            let line = lines.last_mut().expect("there is always one");
            let taken = line.chars().count();
            if taken == 0 {
                line.extend(part);
            } else if taken + 1 + part.len() <= wide {
                line.push(' ');
                line.extend(part);
            } else {
                lines.push(part.iter().collect());
            }
        }
    }
    lines.retain(|line| !line.is_empty());
    lines.truncate(TEXT_LINES_MAX);
    lines
}
