//! Carries a template out.

use std::borrow::Cow;

use super::{
    Context, EXPANDED_BYTES_MAX,
    error::{Error, Reason},
    lexer::Function,
    parser::{Command, Kind, Node, Operand, Pipeline},
    value::{Record, Value},
};

/// Returns what the nodes of a template say in a context.
pub(super) fn evaluate(nodes: &[Node<'_>], text: &str, context: &Context) -> Result<String, Error> {
    let mut out = String::new();
    Evaluation { text, context }.write(nodes, &mut out)?;
    Ok(out)
}

struct Evaluation<'a> {
    text: &'a str,
    context: &'a Context,
}

impl<'a> Evaluation<'a> {
    fn write(&self, nodes: &'a [Node<'a>], out: &mut String) -> Result<(), Error> {
        for node in nodes {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Action(pipeline) => {
                    self.pipeline(pipeline)?.show(out);
                    if out.len() > EXPANDED_BYTES_MAX {
                        let at = pipeline.commands.first().map_or(0, |command| command.start);
                        return Err(Error::parsing(self.text, at, Reason::TooLong));
                    }
                }
                Node::Branch { condition, then, otherwise } => {
                    let nodes = if self.pipeline(condition)?.is_true() { then } else { otherwise };
                    self.write(nodes, out)?;
                }
            }
        }
        Ok(())
    }

    fn pipeline(&self, pipeline: &'a Pipeline<'a>) -> Result<Value<'a>, Error> {
        let mut passed = None;
        for command in &pipeline.commands {
            passed = Some(self.command(command, passed)?);
        }
        Ok(passed.unwrap_or(Value::Nil))
    }

    fn command(
        &self,
        command: &'a Command<'a>,
        passed: Option<Value<'a>>,
    ) -> Result<Value<'a>, Error> {
        let failed = |reason| {
            let shown = self.text.get(command.start..command.end).unwrap_or_default();
            Error::executing(self.text, command.start, shown, reason)
        };
        let first = &command.first;
        match first.kind {
            Kind::Function(function) if first.fields.is_empty() => {
                let mut values = Vec::new();
                for argument in &command.arguments {
                    values.push(self.operand(argument)?);
                }
                values.extend(passed);
                call(function, values).map_err(failed)
            }
            Kind::Root
            | Kind::Text(_)
            | Kind::Number(_)
            | Kind::Truth(_)
            | Kind::Nil
            | Kind::Function(_)
            | Kind::Pipeline(_) => {
                if passed.is_some() || !command.arguments.is_empty() {
                    let shown = self.text.get(first.start..first.end).unwrap_or_default();
                    return Err(failed(Reason::NoFunction(shown.to_owned())));
                }
                if matches!(first.kind, Kind::Nil) {
                    return Err(failed(Reason::Nil));
                }
                self.operand(first)
            }
        }
    }

    fn operand(&self, operand: &'a Operand<'a>) -> Result<Value<'a>, Error> {
        let failed = |reason| {
            let shown = self.text.get(operand.start..operand.end).unwrap_or_default();
            Error::executing(self.text, operand.at, shown, reason)
        };
        let mut value = match &operand.kind {
            Kind::Root => Value::Record(Record::Root(self.context)),
            Kind::Text(text) => Value::Text(Cow::Borrowed(text)),
            Kind::Number(number) => Value::Number(*number),
            Kind::Truth(truth) => Value::Truth(*truth),
            Kind::Nil => Value::Nil,
            Kind::Function(function) => call(*function, Vec::new()).map_err(failed)?,
            Kind::Pipeline(pipeline) => self.pipeline(pipeline)?,
        };
        for field in &operand.fields {
            value = value.field(field).map_err(failed)?;
        }
        Ok(value)
    }
}

fn call(function: Function, values: Vec<Value<'_>>) -> Result<Value<'_>, Reason> {
    let got = values.len();
    let name = function.name();
    let count = |want| Reason::ArgumentCount { function: name, want, got };
    match function {
        Function::And | Function::Or => {
            let decided = |value: &Value<'_>| value.is_true() == (function == Function::Or);
            let at = values.iter().position(decided).or(got.checked_sub(1));
            at.and_then(|at| values.into_iter().nth(at)).ok_or_else(|| count("at least 1"))
        }
        Function::Not => match &values[..] {
            [value] => Ok(Value::Truth(!value.is_true())),
            _ => Err(count("1")),
        },
        Function::Eq => match &values[..] {
            [first, others @ ..] if !others.is_empty() => {
                let mut equal = false;
                for other in others {
                    equal |= equals(first, other).ok_or(Reason::Incomparable(name))?;
                }
                Ok(Value::Truth(equal))
            }
            _ => Err(count("at least 2")),
        },
        Function::Ne => match &values[..] {
            [left, right] => equals(left, right)
                .map(|equal| Value::Truth(!equal))
                .ok_or(Reason::Incomparable(name)),
            _ => Err(count("2")),
        },
        Function::Len => match &values[..] {
            [Value::Text(text)] => Ok(length(text.len())),
            [Value::Map(map)] => Ok(length(map.len())),
            [other] => Err(Reason::ArgumentKind { expected: "string", got: other.kind() }),
            _ => Err(count("1")),
        },
        Function::Index => index(values, count),
        Function::Join => join(&values, count),
    }
}

fn length(length: usize) -> Value<'static> {
    Value::Number(i64::try_from(length).unwrap_or(i64::MAX))
}

fn equals(left: &Value<'_>, right: &Value<'_>) -> Option<bool> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => Some(left == right),
        (Value::Number(left), Value::Number(right)) => Some(left == right),
        (Value::Truth(left), Value::Truth(right)) => Some(left == right),
        (Value::Text(_) | Value::Number(_) | Value::Truth(_), _)
        | (Value::Map(_) | Value::Record(_) | Value::Nil, _) => None,
    }
}

/// A missing entry is empty, unlike a missing field.
fn index<'a>(
    values: Vec<Value<'a>>,
    count: impl Fn(&'static str) -> Reason,
) -> Result<Value<'a>, Reason> {
    match <[Value<'a>; 2]>::try_from(values) {
        Ok([Value::Map(map), Value::Text(key)]) => {
            Ok(Value::Text(Cow::Borrowed(map.get(key.as_ref()).map_or("", String::as_str))))
        }
        Ok([Value::Map(_), key]) => {
            Err(Reason::ArgumentKind { expected: "string", got: key.kind() })
        }
        Ok([other, _]) => {
            Err(Reason::ArgumentKind { expected: "map[string]string", got: other.kind() })
        }
        Err(_) => Err(count("2")),
    }
}

fn join<'a>(
    values: &[Value<'a>],
    count: impl Fn(&'static str) -> Reason,
) -> Result<Value<'a>, Reason> {
    let mut texts = Vec::new();
    for value in values {
        match value {
            Value::Text(text) => texts.push(text.as_ref()),
            Value::Number(_) | Value::Truth(_) | Value::Map(_) | Value::Record(_) | Value::Nil => {
                return Err(Reason::ArgumentKind { expected: "string", got: value.kind() });
            }
        }
    }
    let [separator, parts @ ..] = &texts[..] else { return Err(count("at least 1")) };
    let gaps = separator.len().saturating_mul(parts.len());
    let length = parts.iter().fold(gaps, |sum, part| sum.saturating_add(part.len()));
    if length > EXPANDED_BYTES_MAX {
        return Err(Reason::TooLong);
    }
    Ok(Value::Text(Cow::Owned(parts.join(separator))))
}
