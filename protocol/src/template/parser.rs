//! From the words of a template to what is to be done.

use super::{
    error::{Error, Reason},
    lexer::{Function, Piece, Token, Word, pieces},
};

/// How many blocks and parentheses may lie within each other: each takes a part of the stack.
const DEPTH_MAX: usize = 32;

/// Keywords of the language that this part of it does not have.
const NOT_OFFERED: [&str; 7] =
    ["range", "with", "define", "template", "block", "break", "continue"];

/// A part of a template.
#[derive(Debug)]
pub(super) enum Node<'a> {
    Text(&'a str),
    Action(Pipeline<'a>),
    Branch { condition: Pipeline<'a>, then: Vec<Self>, otherwise: Vec<Self> },
}

/// Commands, each of which gets the result of the one before as its last argument.
#[derive(Debug)]
pub(super) struct Pipeline<'a> {
    pub(super) commands: Vec<Command<'a>>,
}

/// A value or a function, and its arguments.
#[derive(Debug)]
pub(super) struct Command<'a> {
    pub(super) first: Operand<'a>,
    pub(super) arguments: Vec<Operand<'a>>,
    /// From here to there in the template.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// One value.
#[derive(Debug)]
pub(super) struct Operand<'a> {
    pub(super) kind: Kind<'a>,
    /// Fields of fields of the value.
    pub(super) fields: Vec<&'a str>,
    /// Where a mistake about it is.
    pub(super) at: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Debug)]
pub(super) enum Kind<'a> {
    /// Everything there is.
    Root,
    Text(String),
    Number(i64),
    Truth(bool),
    Nil,
    Function(Function),
    Pipeline(Pipeline<'a>),
}

/// What ends a list of nodes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Text,
    Block,
    Else,
    /// `{{else if …}}`, whose condition is next.
    ElseIf,
}

pub(super) fn parse(text: &str) -> Result<Vec<Node<'_>>, Error> {
    let mut parser =
        Parser { text, pieces: pieces(text)?.into_iter(), action: Action::of(Vec::new()) };
    let (nodes, end) = parser.nodes(0)?;
    match end {
        End::Text => Ok(nodes),
        End::Block => parser.fail(Reason::NoBlock("end")),
        End::Else | End::ElseIf => parser.fail(Reason::NoBlock("else")),
    }
}

struct Parser<'a> {
    text: &'a str,
    pieces: std::vec::IntoIter<Piece<'a>>,
    action: Action<'a>,
}

/// The words of an action that are still to be read. The last of them says where it ends.
struct Action<'a> {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token<'a>>>,
    /// Where the word read last begins and ends.
    start: usize,
    end: usize,
}

impl<'a> Action<'a> {
    fn of(tokens: Vec<Token<'a>>) -> Self {
        Self { tokens: tokens.into_iter().peekable(), start: 0, end: 0 }
    }

    fn peek(&mut self) -> &Word<'a> {
        self.tokens.peek().map_or(&Word::End, |token| &token.word)
    }

    fn next(&mut self) -> Word<'a> {
        match self.tokens.next() {
            Some(token) => {
                (self.start, self.end) = (token.start, token.end);
                token.word
            }
            None => Word::End,
        }
    }

    /// Takes a field that belongs to the value before it.
    fn joined_field(&mut self) -> Option<&'a str> {
        let is_next = |token: &Token<'_>| token.joined && matches!(token.word, Word::Field(_));
        let Token { word: Word::Field(name), start, end, .. } = self.tokens.next_if(is_next)?
        else {
            return None;
        };
        (self.start, self.end) = (start, end);
        Some(name)
    }
}

impl<'a> Parser<'a> {
    fn fail<T>(&self, reason: Reason) -> Result<T, Error> {
        Err(Error::parsing(self.text, self.action.start, reason))
    }

    fn nodes(&mut self, depth: usize) -> Result<(Vec<Node<'a>>, End), Error> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            self.action = Action::of(tokens);
            if self.keyword("if") {
                nodes.push(self.branch(depth + 1)?);
            } else if self.keyword("end") {
                self.finish()?;
                return Ok((nodes, End::Block));
            } else if self.keyword("else") {
                if self.keyword("if") {
                    return Ok((nodes, End::ElseIf));
                }
                self.finish()?;
                return Ok((nodes, End::Else));
            } else {
                nodes.push(Node::Action(self.pipeline(depth, "command")?));
                self.finish()?;
            }
        }
        Ok((nodes, End::Text))
    }

    /// Takes a keyword, if it is next.
    fn keyword(&mut self, keyword: &str) -> bool {
        let is_next = matches!(self.action.peek(), Word::Name(name) if *name == keyword);
        if is_next {
            self.action.next();
        }
        is_next
    }

    /// Reads the rest of an `if`, from its condition on.
    fn branch(&mut self, depth: usize) -> Result<Node<'a>, Error> {
        if depth > DEPTH_MAX {
            return self.fail(Reason::TooDeep);
        }
        let condition = self.pipeline(depth, "if")?;
        self.finish()?;
        let (then, end) = self.nodes(depth)?;
        let otherwise = match end {
            End::Block => Vec::new(),
            End::Text => return self.fail(Reason::UnclosedBlock),
            End::ElseIf => vec![self.branch(depth + 1)?],
            End::Else => match self.nodes(depth)? {
                (nodes, End::Block) => nodes,
                (_, End::Text) => return self.fail(Reason::UnclosedBlock),
                (_, End::Else | End::ElseIf) => return self.fail(Reason::NoBlock("else")),
            },
        };
        Ok(Node::Branch { condition, then, otherwise })
    }

    /// An action ends where it should.
    fn finish(&mut self) -> Result<(), Error> {
        if self.action.next() == Word::End { Ok(()) } else { self.unexpected() }
    }

    fn unexpected<T>(&self) -> Result<T, Error> {
        let shown = self.text.get(self.action.start..self.action.end).unwrap_or_default();
        self.fail(Reason::Unexpected(shown.to_owned()))
    }

    fn pipeline(&mut self, depth: usize, missing: &'static str) -> Result<Pipeline<'a>, Error> {
        let mut commands = vec![self.command(depth, missing)?];
        while *self.action.peek() == Word::Pipe {
            self.action.next();
            commands.push(self.command(depth, "command")?);
        }
        Ok(Pipeline { commands })
    }

    fn command(&mut self, depth: usize, missing: &'static str) -> Result<Command<'a>, Error> {
        if matches!(self.action.peek(), Word::End | Word::Close | Word::Pipe) {
            return self.fail(Reason::Missing(missing));
        }
        let first = self.operand(depth)?;
        let mut arguments = Vec::new();
        while !matches!(self.action.peek(), Word::End | Word::Close | Word::Pipe) {
            arguments.push(self.operand(depth)?);
        }
        let (start, end) = (first.start, self.action.end);
        Ok(Command { first, arguments, start, end })
    }

    fn operand(&mut self, depth: usize) -> Result<Operand<'a>, Error> {
        let mut fields = Vec::new();
        let word = self.action.next();
        let start = self.action.start;
        let kind = match word {
            Word::Dot => Kind::Root,
            Word::Field(name) => {
                fields.push(name);
                Kind::Root
            }
            Word::Variable("$") => Kind::Root,
            Word::Variable(name) => {
                return self.fail(Reason::UnknownVariable(name.to_owned()));
            }
            Word::Text(text) => Kind::Text(text),
            Word::Number(number) => Kind::Number(number),
            Word::Name(name) => self.named(name)?,
            Word::Open => {
                if depth >= DEPTH_MAX {
                    return self.fail(Reason::TooDeep);
                }
                let inner = self.pipeline(depth + 1, "parenthesized pipeline")?;
                if self.action.next() != Word::Close {
                    return self.fail(Reason::UnclosedParenthesis);
                }
                Kind::Pipeline(inner)
            }
            Word::Pipe | Word::Close | Word::End => return self.unexpected(),
        };
        // A mistake about a chain of fields is shown at its second link.
        let mut at = start;
        while let Some(field) = self.action.joined_field() {
            if fields.len() <= 1 && at == start {
                at = self.action.start;
            }
            fields.push(field);
        }
        Ok(Operand { kind, fields, at, start, end: self.action.end })
    }

    fn named(&self, name: &str) -> Result<Kind<'a>, Error> {
        if let Some(function) = Function::ALL.into_iter().find(|known| known.name() == name) {
            return Ok(Kind::Function(function));
        }
        match name {
            "true" => Ok(Kind::Truth(true)),
            "false" => Ok(Kind::Truth(false)),
            "nil" => Ok(Kind::Nil),
            name if NOT_OFFERED.contains(&name) => self.fail(Reason::NotOffered(name.to_owned())),
            name => self.fail(Reason::UnknownFunction(name.to_owned())),
        }
    }
}
