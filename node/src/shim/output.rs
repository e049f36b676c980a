//! What a task writes, as lines that keep their stream and their time.
//!
//! A line on disk is `TIME STREAM WHOLE BYTES`: RFC 3339 in UTC, `stdout` or `stderr`, `F` for a
//! whole line or `P` for a part of one (too long, or the stream ended within it), and the bytes
//! as the task wrote them. It can be read with any pager, and after damage the next line is
//! good again.

use std::mem;

use time::{UtcDateTime, format_description::well_known::Rfc3339};

/// How long a line may become before it is kept in parts, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 16 * 1024;

/// Where a task writes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of output, or a part of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// When its end was read.
    pub at: UtcDateTime,
    /// Where it was written to.
    pub stream: Stream,
    /// Whether a line break follows, which is not among the bytes.
    pub whole: bool,
    /// What was written; any bytes but a line break.
    pub bytes: Vec<u8>,
}

/// Bytes that are no line of output: a crash has cut it, or something else wrote it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a damaged line of output")]
pub struct DamagedLine;

impl Line {
    /// Appends the line as it is kept, with the line break at its end.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let at = self.at.format(&Rfc3339).expect("a year has four digits");
        let stream = match self.stream {
            Stream::Stdout => " stdout ",
            Stream::Stderr => " stderr ",
        };
        out.extend_from_slice(at.as_bytes());
        out.extend_from_slice(stream.as_bytes());
        out.extend_from_slice(if self.whole { b"F " } else { b"P " });
        out.extend_from_slice(&self.bytes);
        out.push(b'\n');
    }

    /// Reads a line as it is kept, without the line break at its end.
    pub fn decode(line: &[u8]) -> Result<Self, DamagedLine> {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let mut next = || fields.next().ok_or(DamagedLine);
        let at = std::str::from_utf8(next()?).map_err(|_| DamagedLine)?;
        let at = UtcDateTime::parse(at, &Rfc3339).map_err(|_| DamagedLine)?;
        let stream = match next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return Err(DamagedLine),
        };
        let whole = match next()? {
            b"F" => true,
            b"P" => false,
            _ => return Err(DamagedLine),
        };
        Ok(Self { at, stream, whole, bytes: next()?.to_vec() })
    }
}

/// Cuts what one stream writes into lines.
pub(super) struct Splitter {
    stream: Stream,
    pending: Vec<u8>,
}

impl Splitter {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// Takes bytes read at a time, and hands on the lines they end.
    pub(super) fn push(&mut self, at: UtcDateTime, bytes: &[u8], mut emit: impl FnMut(Line)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (mut piece, ends) = match piece.split_last() {
                Some((b'\n', line)) => (line, true),
                _ => (piece, false),
            };
            while self.pending.len() + piece.len() > LINE_BYTES_MAX {
                let (fits, rest) = piece.split_at(LINE_BYTES_MAX - self.pending.len());
                self.pending.extend_from_slice(fits);
                emit(self.take(at, false));
                piece = rest;
            }
            self.pending.extend_from_slice(piece);
            if ends {
                emit(self.take(at, true));
            }
        }
    }

    /// Returns what has been written since the last line break, when there is anything.
    pub(super) fn finish(&mut self, at: UtcDateTime) -> Option<Line> {
        (!self.pending.is_empty()).then(|| self.take(at, false))
    }

    fn take(&mut self, at: UtcDateTime, whole: bool) -> Line {
        Line { at, stream: self.stream, whole, bytes: mem::take(&mut self.pending) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the lines say, put together again.
    fn join(lines: &[Line]) -> Vec<u8> {
        let end = |line: &Line| if line.whole { b"\n".as_slice() } else { b"" };
        lines.iter().flat_map(|line| [line.bytes.as_slice(), end(line)].concat()).collect()
    }

    fn split(chunks: &[Vec<u8>]) -> Vec<Line> {
        let mut splitter = Splitter::new(Stream::Stdout);
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.push(UtcDateTime::UNIX_EPOCH, chunk, |line| lines.push(line));
        }
        lines.extend(splitter.finish(UtcDateTime::UNIX_EPOCH));
        lines
    }

    fn lines() -> impl Strategy<Value = Line> {
        let bytes = prop::collection::vec(any::<u8>().prop_filter("", |b| *b != b'\n'), 0..40);
        (0..4_000_000_000_000_000_000i128, any::<bool>(), any::<bool>(), bytes).prop_map(
            |(nanos, out, whole, bytes)| Line {
                at: UtcDateTime::from_unix_timestamp_nanos(nanos).unwrap(),
                stream: if out { Stream::Stdout } else { Stream::Stderr },
                whole,
                bytes,
            },
        )
    }

    proptest! {
        #[test]
        fn a_line_is_read_as_it_was_kept(line in lines()) {
            let mut kept = Vec::new();
            line.encode(&mut kept);
            prop_assert_eq!(kept.pop(), Some(b'\n'));
            prop_assert!(!kept.contains(&b'\n'));
            prop_assert_eq!(Line::decode(&kept), Ok(line));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text: String) {
            Line::decode(&bytes).ok();
            Line::decode(format!("1970-01-01T00:00:00Z {text}").as_bytes()).ok();
        }

        #[test]
        fn nothing_is_lost_or_added(chunks in prop::collection::vec(
            prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..60), 0..10,
        )) {
            prop_assert_eq!(join(&split(&chunks)), chunks.concat());
        }
    }

    #[test]
    fn lines_end_where_the_task_ended_them() {
        let told: Vec<_> = split(&[b"one\ntw".to_vec(), b"o\n\nthree".to_vec()])
            .into_iter()
            .map(|line| (String::from_utf8(line.bytes).unwrap(), line.whole))
            .collect();
        let expected = [("one", true), ("two", true), ("", true), ("three", false)];
        assert_eq!(told, expected.map(|(text, whole)| (text.to_owned(), whole)));
    }

    #[test]
    fn a_line_without_end_is_kept_in_parts() {
        let chunks = vec![vec![b'x'; 5000]; 10];
        let lines = split(&chunks);
        assert!(lines.iter().all(|line| line.bytes.len() <= LINE_BYTES_MAX && !line.whole));
        assert_eq!(lines.len(), 4);
        assert_eq!(join(&lines), chunks.concat());
    }

    #[test]
    fn a_cut_line_is_damaged() {
        let mut kept = Vec::new();
        let at = UtcDateTime::UNIX_EPOCH;
        Line { at, stream: Stream::Stderr, whole: true, bytes: b"x".to_vec() }.encode(&mut kept);
        assert_eq!(kept, b"1970-01-01T00:00:00Z stderr F x\n");
        for end in 0..kept.len() - 2 {
            assert_eq!(Line::decode(&kept[..end]), Err(DamagedLine), "{end}");
        }
    }
}
