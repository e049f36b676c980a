//! Cuts a template into text and the words of its actions.

use super::error::{Error, Reason};

/// What an action begins and ends with.
pub(super) const BEGIN: &str = "{{";
const END: &str = "}}";

const COMMENT_BEGIN: &str = "/*";
const COMMENT_END: &str = "*/";

/// What a word of an action is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Word<'a> {
    /// `.`, everything there is.
    Dot,
    /// `.NAME`, without the dot.
    Field(&'a str),
    /// `$` or `$NAME`.
    Variable(&'a str),
    /// A name: a function, a keyword or a constant.
    Name(&'a str),
    /// A literal without its quotes, what is escaped in it written out.
    Text(String),
    Number(i64),
    Pipe,
    Open,
    Close,
    /// The end of the action.
    End,
}

/// What a template consists of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Action(Vec<Token<'a>>),
}

/// A word, and where it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) word: Word<'a>,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether it touches the word before it.
    pub(super) joined: bool,
}

/// Functions that a template may call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Function {
    /// The last but not least of its arguments, or the first that is empty.
    And,
    /// The first of its arguments that is not empty, or the last.
    Or,
    /// Whether its argument is empty.
    Not,
    /// Whether the first argument equals any of the others.
    Eq,
    /// Whether two arguments differ.
    Ne,
    /// The entry of a map, empty when it is missing.
    Index,
    /// The length of a text or a map.
    Len,
    /// All arguments but the first, with the first between them.
    Join,
}

impl Function {
    pub(super) const ALL: [Self; 8] =
        [Self::And, Self::Or, Self::Not, Self::Eq, Self::Ne, Self::Index, Self::Len, Self::Join];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::And => "and",
            Self::Or => "or",
            Self::Not => "not",
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Index => "index",
            Self::Len => "len",
            Self::Join => "join",
        }
    }
}

/// Returns the pieces of a template. Text that braces with a dash trim is trimmed.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Error> {
    let mut lexer = Lexer { text, at: 0 };
    let mut pieces = Vec::new();
    let mut trim = false;
    while let Some(length) = lexer.rest().find(BEGIN) {
        let begin = lexer.at + length;
        let mut plain = &text[lexer.at..begin];
        lexer.at = begin + BEGIN.len();
        if trim {
            plain = plain.trim_start_matches(is_space);
        }
        if lexer.rest().starts_with('-') && lexer.rest()[1..].starts_with(is_space) {
            lexer.at += 1;
            plain = plain.trim_end_matches(is_space);
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        if lexer.skip_comment()? {
            trim = lexer.end(begin)?;
        } else {
            let tokens;
            (tokens, trim) = lexer.action(begin)?;
            pieces.push(Piece::Action(tokens));
        }
    }
    let mut plain = lexer.rest();
    if trim {
        plain = plain.trim_start_matches(is_space);
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn fail<T>(&self, at: usize, reason: Reason) -> Result<T, Error> {
        Err(Error::parsing(self.text, at, reason))
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches(is_space).len();
    }

    /// Skips a comment; returns whether there was one. It is the whole of its action.
    fn skip_comment(&mut self) -> Result<bool, Error> {
        let rest = self.rest().trim_start_matches(is_space);
        let Some(comment) = rest.strip_prefix(COMMENT_BEGIN) else { return Ok(false) };
        match comment.find(COMMENT_END) {
            None => self.fail(self.at, Reason::UnclosedComment),
            Some(length) => {
                let left = &comment[length + COMMENT_END.len()..];
                self.at = self.text.len() - left.len();
                Ok(true)
            }
        }
    }

    /// Takes the end of the action that began at `begin`; returns whether it trims.
    fn end(&mut self, begin: usize) -> Result<bool, Error> {
        match self.take_end() {
            Some(trim) => Ok(trim),
            None => self.fail(begin, Reason::UnclosedComment),
        }
    }

    /// Takes the end of an action, if it is here; says whether it trims.
    fn take_end(&mut self) -> Option<bool> {
        let before = self.at;
        self.skip_space();
        let spaced = self.at > before;
        for (end, trim) in [(END, false), ("-}}", true)] {
            if self.rest().starts_with(end) && (spaced || !trim) {
                self.at += end.len();
                return Some(trim);
            }
        }
        self.at = before;
        None
    }

    /// Returns the words of an action, and whether its end trims.
    fn action(&mut self, begin: usize) -> Result<(Vec<Token<'a>>, bool), Error> {
        let mut tokens = Vec::new();
        loop {
            let before = self.at;
            if let Some(trim) = self.take_end() {
                tokens.push(Token { word: Word::End, start: before, end: before, joined: false });
                return Ok((tokens, trim));
            }
            self.skip_space();
            let start = self.at;
            if self.rest().is_empty() || self.rest().starts_with(BEGIN) {
                return self.fail(begin, Reason::UnclosedAction);
            }
            let word = self.word(begin)?;
            tokens.push(Token { word, start, end: self.at, joined: start == before });
        }
    }

    fn word(&mut self, begin: usize) -> Result<Word<'a>, Error> {
        let start = self.at;
        let Some(first) = self.rest().chars().next() else {
            return self.fail(begin, Reason::UnclosedAction);
        };
        self.at += first.len_utf8();
        match first {
            '|' => Ok(Word::Pipe),
            '(' => Ok(Word::Open),
            ')' => Ok(Word::Close),
            '.' => match self.name() {
                "" => Ok(Word::Dot),
                name => Ok(Word::Field(name)),
            },
            '$' => {
                self.name();
                Ok(Word::Variable(&self.text[start..self.at]))
            }
            '"' => self.quoted(start),
            '`' => match self.rest().split_once('`') {
                Some((text, left)) => {
                    self.at = self.text.len() - left.len();
                    Ok(Word::Text(text.to_owned()))
                }
                None => self.fail(start, Reason::UnclosedText),
            },
            '0'..='9' | '+' | '-' => {
                self.name();
                let digits = &self.text[start..self.at];
                match digits.parse() {
                    Ok(number) => Ok(Word::Number(number)),
                    Err(_) => self.fail(start, Reason::Number(digits.to_owned())),
                }
            }
            letter if is_name(letter) => {
                self.name();
                Ok(Word::Name(&self.text[start..self.at]))
            }
            other => self.fail(start, Reason::Unexpected(other.to_string())),
        }
    }

    fn name(&mut self) -> &'a str {
        let rest = self.rest();
        let name = &rest[..rest.len() - rest.trim_start_matches(is_name).len()];
        self.at += name.len();
        name
    }

    fn quoted(&mut self, start: usize) -> Result<Word<'a>, Error> {
        let mut written = String::new();
        let mut characters = self.rest().char_indices();
        while let Some((offset, character)) = characters.next() {
            match character {
                '"' => {
                    self.at += offset + 1;
                    return Ok(Word::Text(written));
                }
                '\n' => break,
                '\\' => match characters.next().map(|(_, escaped)| escaped) {
                    Some('n') => written.push('\n'),
                    Some('t') => written.push('\t'),
                    Some('r') => written.push('\r'),
                    Some(escaped @ ('"' | '\\' | '\'')) => written.push(escaped),
                    Some(other) => {
                        return self.fail(start, Reason::Unexpected(format!("\\{other}")));
                    }
                    None => break,
                },
                other => written.push(other),
            }
        }
        self.fail(start, Reason::UnclosedText)
    }
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

fn is_name(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}
