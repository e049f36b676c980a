//! List-valued flags: one CSV record a flag, repeated flags append.

use std::{collections::BTreeMap, str::FromStr};

use super::Invalid;

/// The items of one occurrence of a list-valued flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List(Vec<String>);

impl List {
    /// Joins all occurrences of a flag; `None` when it was never given.
    pub(crate) fn join(lists: Option<&[Self]>) -> Option<Vec<String>> {
        lists.map(|lists| lists.iter().flat_map(|list| list.0.clone()).collect())
    }
}

impl FromStr for List {
    type Err = Invalid;

    /// Reads one CSV record: commas separate, double quotes protect, doubled quotes stand for one.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut items = Vec::new();
        let mut rest = text;
        if text.is_empty() {
            return Ok(Self(items));
        }
        loop {
            let (item, after) = match rest.strip_prefix('"') {
                Some(quoted) => take_quoted(quoted)?,
                None => take_plain(rest)?,
            };
            items.push(item);
            match after {
                Some(after) => rest = after,
                None => return Ok(Self(items)),
            }
        }
    }
}

/// Takes an item up to the next comma; returns what follows the comma.
fn take_plain(text: &str) -> Result<(String, Option<&str>), Invalid> {
    let (item, after) = match text.split_once(',') {
        Some((item, after)) => (item, Some(after)),
        None => (text, None),
    };
    if item.contains('"') {
        return Err(Invalid::new(format!("bare \" in item {item}: quote the whole item")));
    }
    Ok((item.to_owned(), after))
}

fn take_quoted(text: &str) -> Result<(String, Option<&str>), Invalid> {
    let mut item = String::new();
    let mut rest = text;
    loop {
        let (part, after) =
            rest.split_once('"').ok_or_else(|| Invalid::new("an opened \" is never closed"))?;
        item.push_str(part);
        if let Some(doubled) = after.strip_prefix('"') {
            item.push('"');
            rest = doubled;
        } else if after.is_empty() {
            return Ok((item, None));
        } else if let Some(after) = after.strip_prefix(',') {
            return Ok((item, Some(after)));
        } else {
            return Err(Invalid::new("a closing \" must be followed by a comma"));
        }
    }
}

/// Reads labels, `key=value` each; both are trimmed.
pub(crate) fn labels(items: &[String]) -> Result<BTreeMap<String, String>, Invalid> {
    labels_or(items, "malformed label:")
}

/// Reads the labels of a node likewise.
pub(crate) fn node_labels(items: &[String]) -> Result<BTreeMap<String, String>, Invalid> {
    labels_or(items, "malformed label for node")
}

fn labels_or(items: &[String], malformed: &str) -> Result<BTreeMap<String, String>, Invalid> {
    let pair = |item: &String| {
        let (key, value) =
            item.split_once('=').ok_or_else(|| Invalid::new(format!("{malformed} {item}")))?;
        Ok((key.trim().to_owned(), value.trim().to_owned()))
    };
    items.iter().map(pair).collect()
}

/// Reads options, `key` or `key=value` each.
pub(crate) fn options(items: &[String]) -> BTreeMap<String, String> {
    let pair = |item: &String| match item.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (item.clone(), String::new()),
    };
    items.iter().map(pair).collect()
}
