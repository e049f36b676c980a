//! Why a text is no template, or one that cannot be expanded.

use std::fmt;

/// A mistake in a template, and where it is. The words are those that users know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Error(Box<Mistake>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Mistake {
    line: usize,
    /// Where a whole template failed: the column, and what stands there.
    place: Option<(usize, String)>,
    reason: Reason,
}

/// How much of the text at a place is shown, in characters.
const PLACE_CHARACTERS_MAX: usize = 20;

#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Reason {
    #[error("unclosed action")]
    UnclosedAction,
    #[error("unclosed comment")]
    UnclosedComment,
    #[error("unterminated quoted string")]
    UnclosedText,
    #[error("unclosed left paren")]
    UnclosedParenthesis,
    #[error("unexpected EOF")]
    UnclosedBlock,
    #[error("unexpected {{{{{0}}}}}")]
    NoBlock(&'static str),
    #[error("unexpected {0:?} in operand")]
    Unexpected(String),
    #[error("bad number syntax: {0:?}")]
    Number(String),
    #[error("missing value for {0}")]
    Missing(&'static str),
    #[error("function {0:?} not defined")]
    UnknownFunction(String),
    #[error("undefined variable {0:?}")]
    UnknownVariable(String),
    #[error("{0:?} is not offered by this version of swarmd")]
    NotOffered(String),
    #[error("too many blocks and parentheses within each other")]
    TooDeep,
    #[error("can't evaluate field {field} in type {kind}")]
    NoField { field: String, kind: &'static str },
    #[error("map has no entry for key {0:?}")]
    NoEntry(String),
    #[error("can't give argument to non-function {0}")]
    NoFunction(String),
    #[error("wrong number of args for {function}: want {want} got {got}")]
    ArgumentCount { function: &'static str, want: &'static str, got: usize },
    #[error("wrong type for value; expected {expected}; got {got}")]
    ArgumentKind { expected: &'static str, got: &'static str },
    #[error("error calling {0}: incompatible types for comparison")]
    Incomparable(&'static str),
    #[error("nil is not a command")]
    Nil,
    #[error("the result is longer than {} bytes", super::EXPANDED_BYTES_MAX)]
    TooLong,
}

impl Error {
    /// A text that is no template, from this byte of it on.
    pub(super) fn parsing(text: &str, at: usize, reason: Reason) -> Self {
        Self(Box::new(Mistake { line: line(text, at), place: None, reason }))
    }

    /// A template that cannot be expanded, because of what stands at this byte of it.
    pub(super) fn executing(text: &str, at: usize, shown: &str, reason: Reason) -> Self {
        let before = text.get(..at).unwrap_or_default();
        let column = at - before.rfind('\n').map_or(0, |end| end + 1);
        let mut shown_cut: String = shown.chars().take(PLACE_CHARACTERS_MAX).collect();
        if shown_cut.len() < shown.len() {
            shown_cut.push_str("...");
        }
        let place = Some((column, shown_cut));
        Self(Box::new(Mistake { line: line(text, at), place, reason }))
    }
}

fn line(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistake { line, place, reason } = &*self.0;
        match place {
            None => write!(out, "template: expansion:{line}: {reason}"),
            Some((column, shown)) => write!(
                out,
                "template: expansion:{line}:{column}: executing \"expansion\" at <{shown}>: {reason}"
            ),
        }
    }
}

impl std::error::Error for Error {}
