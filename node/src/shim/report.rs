//! What an entry tells its shim about the way to the task's program.
//!
//! It writes a failure when it cannot go on, and a mark when all that is left is the exec, which
//! closes the pipe. So silence means that something ended the entry on its way.

use std::io::{self, PipeReader, Read, Write};

use super::record::{self, NotStarted};

/// The exec comes next.
const READY: u8 = b'+';

/// Longer reports are cut. A failure is far shorter, and its checksum shows a cut.
const BYTES_MAX: u64 = 64 * 1024;

/// How an entry has fared.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Report {
    /// It became the program.
    Begun,
    /// It could not, for this reason.
    Failed(NotStarted),
    /// It was ended before it could say anything.
    Silent,
}

impl Report {
    /// Reads what an entry has to say. Blocks until it has become the program, or has ended.
    pub(super) fn read(pipe: PipeReader) -> io::Result<Self> {
        let mut bytes = Vec::new();
        pipe.take(BYTES_MAX).read_to_end(&mut bytes)?;
        Self::parse(&bytes).map_err(io::Error::other)
    }

    fn parse(bytes: &[u8]) -> Result<Self, record::Damaged> {
        match bytes.strip_prefix(&[READY]) {
            Some([]) => Ok(Self::Begun),
            None if bytes.is_empty() => Ok(Self::Silent),
            Some(failure) => record::open(failure).map(Self::Failed),
            None => record::open(bytes).map(Self::Failed),
        }
    }
}

/// Says that the exec comes next.
pub(super) fn ready(pipe: &mut impl Write) -> io::Result<()> {
    pipe.write_all(&[READY])
}

/// Says why there is no program.
pub(super) fn failed(pipe: &mut impl Write, failure: &NotStarted) -> io::Result<()> {
    pipe.write_all(&record::seal(failure))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn silence_is_no_success() {
        let failure = NotStarted { code: 127, reason: "exec: \"x\": none".into() };
        for (is_ready, fails, expected) in [
            (false, false, Report::Silent),
            (true, false, Report::Begun),
            (false, true, Report::Failed(failure.clone())),
            (true, true, Report::Failed(failure.clone())),
        ] {
            let (reader, mut writer) = io::pipe().unwrap();
            if is_ready {
                ready(&mut writer).unwrap();
            }
            if fails {
                failed(&mut writer, &failure).unwrap();
            }
            drop(writer);
            assert_eq!(Report::read(reader).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn no_report_panics(bytes: Vec<u8>) {
            Report::parse(&bytes).ok();
        }
    }
}
