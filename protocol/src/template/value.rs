//! What expressions in a template have for values.

use std::{borrow::Cow, collections::BTreeMap};

use super::{Context, error::Reason};

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Number(i64),
    Truth(bool),
    Map(&'a BTreeMap<String, String>),
    Record(Record<'a>),
    Nil,
}

/// A group of fields.
#[derive(Clone, Copy, Debug)]
pub(super) enum Record<'a> {
    Root(&'a Context),
    Service(&'a Context),
    Node(&'a Context),
    Platform(&'a Context),
    Task(&'a Context),
}

impl<'a> Record<'a> {
    /// Its fields, in the order in which they are shown.
    fn fields(self) -> Vec<(&'static str, Value<'a>)> {
        let text = |text: &'a String| Value::Text(Cow::Borrowed(text.as_str()));
        match self {
            Self::Root(context) => vec![
                ("Service", Value::Record(Record::Service(context))),
                ("Node", Value::Record(Record::Node(context))),
                ("Task", Value::Record(Record::Task(context))),
            ],
            Self::Service(context) => vec![
                ("ID", text(&context.service_id)),
                ("Name", text(&context.service_name)),
                ("Labels", Value::Map(&context.service_labels)),
            ],
            Self::Node(context) => vec![
                ("ID", text(&context.node_id)),
                ("Hostname", text(&context.node_hostname)),
                ("Platform", Value::Record(Record::Platform(context))),
            ],
            Self::Platform(context) => vec![
                ("Architecture", text(&context.node_architecture)),
                ("OS", text(&context.node_os)),
            ],
            Self::Task(context) => vec![
                ("ID", text(&context.task_id)),
                ("Name", text(&context.task_name)),
                ("Slot", text(&context.task_slot)),
            ],
        }
    }
}

impl<'a> Value<'a> {
    /// What kind it is, in the words of the language.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::Number(_) => "int",
            Self::Truth(_) => "bool",
            Self::Map(_) => "map[string]string",
            Self::Record(Record::Root(_)) => "*template.Context",
            Self::Record(Record::Service(_)) => {
                "struct { ID string; Name string; Labels map[string]string }"
            }
            Self::Record(Record::Node(_)) => {
                "struct { ID string; Hostname string; Platform template.Platform }"
            }
            Self::Record(Record::Platform(_)) => "template.Platform",
            Self::Record(Record::Task(_)) => "struct { ID string; Name string; Slot string }",
            Self::Nil => "nil",
        }
    }

    pub(super) fn field(&self, name: &str) -> Result<Self, Reason> {
        let found = match self {
            Self::Map(map) => match map.get(name) {
                Some(text) => return Ok(Self::Text(Cow::Borrowed(text))),
                None => return Err(Reason::NoEntry(name.to_owned())),
            },
            Self::Record(record) => record
                .fields()
                .into_iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value),
            Self::Text(_) | Self::Number(_) | Self::Truth(_) | Self::Nil => None,
        };
        found.ok_or_else(|| Reason::NoField { field: name.to_owned(), kind: self.kind() })
    }

    /// Whether a condition on it holds: everything but what is empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Number(number) => *number != 0,
            Self::Truth(truth) => *truth,
            Self::Map(map) => !map.is_empty(),
            Self::Record(_) => true,
            Self::Nil => false,
        }
    }

    /// Appends it as it is shown.
    pub(super) fn show(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Number(number) => out.push_str(&number.to_string()),
            Self::Truth(truth) => out.push_str(if *truth { "true" } else { "false" }),
            Self::Map(map) => {
                out.push_str("map[");
                let mut gap = "";
                for (key, value) in *map {
                    out.extend([gap, key, ":", value]);
                    gap = " ";
                }
                out.push(']');
            }
            Self::Record(record) => {
                out.push('{');
                let mut gap = "";
                for (_, value) in record.fields() {
                    out.push_str(gap);
                    value.show(out);
                    gap = " ";
                }
                out.push('}');
            }
            Self::Nil => out.push_str("<nil>"),
        }
    }
}
