//! `docs/operating.md` has every error that ends a daemon, by its exact words, and no other words.

use std::fs;

use crate::{assert_none, root, sources::sources};

/// Where those errors are defined.
const FILES: &[&str] = &[
    "node/src/addresses.rs",
    "node/src/configuration.rs",
    "node/src/metrics/server.rs",
    "node/src/state_directory.rs",
    "node/src/identity/error.rs",
    "node/src/identity/authority.rs",
    "node/src/identity/certificate.rs",
    "node/src/identity/key_file.rs",
    "node/src/socket/mod.rs",
    "node/src/task_database.rs",
    "actors/src/log/error.rs",
    "actors/src/raft/error.rs",
    "actors/src/raft/change.rs",
    "actors/src/cluster.rs",
    "actors/src/supervision/tree.rs",
];

/// Errors in these files that reach a caller, and never end a daemon.
const OF_CALLS: &[&str] = &[
    "raft: failed to process the request: node lost leader status",
    "raft: propose configuration change refused",
    "too many changes are in flight",
    "raft: member unknown",
    "raft: member cannot be removed, because removing it may result in loss of quorum",
    "leadership could not be handed over",
    "it is not known whether the members have changed",
];

/// A text of the source as it is printed: a line that is continued goes on after its indentation.
fn joined(text: &str) -> String {
    text.split("\\\n").map(str::trim_start).collect()
}

/// The texts of the errors of a file.
fn texts(source: &str) -> Vec<String> {
    let attributes = source.split("#[error(").skip(1);
    attributes
        .filter(|attribute| !attribute.starts_with("transparent"))
        .map(|attribute| {
            let text = attribute.split('"').nth(1).expect("an error has a text");
            joined(text)
        })
        .collect()
}

/// What is the same in every error of this text.
fn constant(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest));
    parts
        .map(|part| part.trim_matches(|one: char| !one.is_alphanumeric()))
        .filter(|part| part.len() > 3)
}

#[test]
fn every_error_of_a_daemon_is_explained() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("a file of the project");
    let page = read("docs/operating.md");
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut complaints = Vec::new();
    for file in FILES {
        let texts = texts(&read(file));
        assert!(!texts.is_empty(), "no error was found in {file}: the search is wrong");
        for text in texts.iter().filter(|text| !OF_CALLS.contains(&text.as_str())) {
            if constant(text).any(|part| !page.contains(part)) {
                complaints.push(format!("{file}: {text}"));
            }
        }
    }
    assert_none("errors that docs/operating.md does not explain", &complaints);
}

/// The texts in the first column of the tables below a heading, up to the next of the same rank.
fn quoted<'p>(page: &'p str, heading: &str) -> Vec<&'p str> {
    let below = page.split(heading).nth(1).unwrap_or_else(|| panic!("no heading {heading:?}"));
    let section = below.split("\n## ").next().unwrap_or_default();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_line_that_is_explained_is_one() {
    let page = fs::read_to_string(root().join("docs/operating.md")).expect("it is there");
    let said: String = sources()
        .iter()
        .filter(|source| !source.path.starts_with("tests/"))
        .map(|source| joined(&source.text))
        .collect();
    let log = quoted(&page, "\n## The log\n");
    let errors = quoted(&page, "\n## When it does not start, or ends\n");
    assert!(log.len() > 10 && errors.len() > 30, "too few were found: the search is wrong");
    let parts = |text: &&str| text.split('…').all(|part| said.contains(part.trim()));
    let unknown: Vec<_> = log.into_iter().chain(errors).filter(|text| !parts(text)).collect();
    assert_none(
        "lines that nothing prints",
        &unknown.into_iter().map(str::to_owned).collect::<Vec<_>>(),
    );
}
