//! Where the view is shown: drawn in place on a terminal, a line per change anywhere else.

use std::{
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicBool, Ordering},
};

/// Set when a line of the log may stand below the picture; who looks or writes holds standard
/// error.
static OTHERS_WROTE: AtomicBool = AtomicBool::new(false);

/// What a terminal is taken for that does not say how large it is.
const COLUMNS: u16 = 80;
const LINES: u16 = 24;

/// Standard error, for the log. A picture that is drawn after a line of it does not go over it.
#[derive(Debug)]
pub struct Log(());

/// Returns it.
pub fn stderr() -> Log {
    Log(())
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Held until it is known: a picture that is drawn in between would erase the line.
        let mut stderr = io::stderr().lock();
        let written = stderr.write(bytes);
        OTHERS_WROTE.store(true, Ordering::Relaxed);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Standard output.
#[derive(Debug)]
pub(super) struct Screen {
    is_terminal: bool,
    drawn: Vec<String>,
}

impl Screen {
    pub(super) fn of_stdout() -> Self {
        Self { is_terminal: io::stdout().is_terminal(), drawn: Vec::new() }
    }

    /// Prints what is new, where pictures cannot be drawn.
    pub(super) fn say(&self, news: &[String]) {
        if !self.is_terminal {
            write(&news.iter().map(|line| format!("{line}\n")).collect::<String>());
        }
    }

    /// Draws a picture over the one before.
    pub(super) fn draw(&mut self, picture: &[String]) {
        if self.is_terminal {
            let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
            let size = size.map_or((0, 0), |size| (size.ws_col, size.ws_row));
            // Until it stands there, no line of the log may.
            let _log = io::stderr().lock();
            let apart = OTHERS_WROTE.swap(false, Ordering::Relaxed);
            write(&self.next(picture, size, apart));
        }
    }

    /// Returns what turns the picture on a terminal of this many columns and lines into this
    /// one; nothing when it is the same. One that stands `apart` leaves the one before alone.
    fn next(&mut self, picture: &[String], (columns, lines): (u16, u16), apart: bool) -> String {
        let columns = if columns == 0 { COLUMNS } else { columns };
        let lines = if lines == 0 { LINES } else { lines };
        // A line that wraps would be two, and one at the bottom moves all others.
        let (wide, high) = (usize::from(columns) - 1, usize::from(lines).saturating_sub(2).max(1));
        let mut fitting: Vec<String> =
            picture.iter().take(high).map(|line| line.chars().take(wide).collect()).collect();
        if picture.len() > high {
            let more = format!("... and {} more lines", picture.len() - (high - 1));
            fitting[high - 1] = more.chars().take(wide).collect();
        }
        if fitting == self.drawn && !apart {
            return String::new();
        }
        let over = if apart || self.drawn.is_empty() {
            String::new()
        } else {
            format!("\u{1b}[{}A\u{1b}[J", self.drawn.len())
        };
        let text: String = fitting.iter().map(|line| format!("{line}\n")).collect();
        self.drawn = fitting;
        over + &text
    }
}

/// Whoever does not listen any more is no reason to stop.
fn write(text: &str) {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|&line| line.to_owned()).collect()
    }

    #[test]
    fn a_picture_goes_over_the_one_before_unless_something_stands_between() {
        let mut screen = Screen { is_terminal: true, drawn: Vec::new() };
        let size = (80, 24);
        assert_eq!(screen.next(&lines(&["a", "b"]), size, false), "a\nb\n");
        assert_eq!(screen.next(&lines(&["a", "b"]), size, false), "", "it stands there");
        assert_eq!(screen.next(&lines(&["a"]), size, false), "\u{1b}[2A\u{1b}[Ja\n");
        assert_eq!(screen.next(&lines(&["a"]), size, true), "a\n", "below the log");
        assert_eq!(screen.next(&lines(&["c"]), size, false), "\u{1b}[1A\u{1b}[Jc\n");
    }

    #[test]
    fn what_is_logged_is_noticed_once_it_is_written() {
        OTHERS_WROTE.store(false, Ordering::Relaxed);
        let mut log = stderr();
        assert!(!OTHERS_WROTE.load(Ordering::Relaxed), "nothing was written");
        log.write_all(b"a line of the log\n").expect("it is open");
        assert!(OTHERS_WROTE.load(Ordering::Relaxed));
    }

    #[test]
    fn a_picture_fits_the_terminal() {
        let mut screen = Screen { is_terminal: true, drawn: Vec::new() };
        let picture = lines(&["123456", "2", "3", "4"]);
        assert_eq!(screen.next(&picture, (5, 5), false), "1234\n2\n... \n");
        let mut screen = Screen { is_terminal: true, drawn: Vec::new() };
        assert_eq!(screen.next(&picture, (80, 5), false), "123456\n2\n... and 2 more lines\n");
        let mut screen = Screen { is_terminal: true, drawn: Vec::new() };
        assert_eq!(screen.next(&picture, (1, 1), false), "\n", "however small");
        let mut screen = Screen { is_terminal: true, drawn: Vec::new() };
        assert_eq!(screen.next(&picture, (0, 0), false), "123456\n2\n3\n4\n", "size not known");
    }
}
