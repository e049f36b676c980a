//! How values are written for people (cli.md §1, formatting rules).

pub(crate) mod human;
pub(crate) mod table;

#[cfg(test)]
mod tests;

use std::io::Write;

/// The wall clock, for "3 minutes ago".
#[expect(clippy::disallowed_methods, reason = "the one place where this program reads the clock")]
pub(crate) fn now() -> prost_types::Timestamp {
    std::time::SystemTime::now().into()
}

/// Writes results to standard output. A reader that has seen enough and closed its end is no
/// error.
pub(crate) fn print(text: &str) -> Result<(), crate::error::Error> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => Ok(outcome?),
    }
}
