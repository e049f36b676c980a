//! What differs between two values, field by field.

use std::collections::BTreeSet;

use serde_json::Value;

/// One field that differs; nothing where the field is not there.
#[derive(Debug, PartialEq)]
pub(super) struct Difference {
    /// The names on the way to it, separated by dots.
    pub(super) field: String,
    pub(super) before: Value,
    pub(super) after: Value,
}

/// Returns the fields that differ, in order. Lists are compared as they are: their order matters.
pub(super) fn between(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(String::new(), before, after, &mut found);
    found
}

fn walk(field: String, before: &Value, after: &Value, found: &mut Vec<Difference>) {
    let empty = serde_json::Map::new();
    let parts = |value: &Value| match value {
        Value::Object(parts) => Some(parts.clone()),
        Value::Null => Some(empty.clone()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    };
    let both = (before != after).then(|| parts(before).zip(parts(after))).flatten();
    let Some((left, right)) = both else {
        if before != after && !(is_nothing(before) && is_nothing(after)) {
            found.push(Difference { field, before: before.clone(), after: after.clone() });
        }
        return;
    };
    if left.is_empty() && right.is_empty() {
        // A part without content has come or gone: that can mean something of its own.
        found.push(Difference { field, before: before.clone(), after: after.clone() });
        return;
    }
    let names: BTreeSet<_> = left.keys().chain(right.keys()).collect();
    for name in names {
        let path = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
        let of = |parts: &serde_json::Map<String, Value>| {
            parts.get(name).cloned().unwrap_or(Value::Null)
        };
        walk(path, &of(&left), &of(&right), found);
    }
}

/// Whether a value is what a field has that was never set.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(parts) => parts.is_empty(),
    }
}
