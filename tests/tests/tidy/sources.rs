//! The source files: their size, their rooms, the purity of `logic`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{assert_none, root};

const LINES_MAX: usize = 600;

/// A source file with its path relative to the workspace.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// The text up to what stands below it for tests alone.
    pub(crate) fn shipped(&self) -> &str {
        let below = ["\nmod tests {", "\npub mod testing {"];
        let ends = below.iter().filter_map(|module| self.text.find(module));
        &self.text[..ends.min().unwrap_or(self.text.len())]
    }

    /// The lines outside comments, numbered from one.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(index, line)| (index + 1, line))
    }
}

pub(crate) fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for member in ["protocol", "actors", "node", "cli", "tests"] {
        collect(&root().join(member), &mut found);
    }
    found.sort();
    let root = root();
    let relative =
        |path: &Path| path.strip_prefix(&root).expect("found below the root").display().to_string();
    found
        .iter()
        .map(|path| Source {
            path: relative(path),
            text: fs::read_to_string(path).expect("a source file is readable"),
        })
        .collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace is readable") {
        let path = entry.expect("an entry is readable").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn complaints(sources: &[Source], complain: impl Fn(&Source) -> Vec<String>) -> Vec<String> {
    sources.iter().flat_map(complain).collect()
}

#[test]
fn files_are_short() {
    let long = complaints(&sources(), |source| {
        let lines = source.text.lines().count();
        let long = lines > LINES_MAX;
        Vec::from_iter(long.then(|| format!("{}: {lines} lines, {LINES_MAX} at most", source.path)))
    });
    assert_none("long files", &long);
}

#[test]
fn files_say_what_they_are_for() {
    let silent = complaints(&sources(), |source| {
        let silent = !source.text.starts_with("//!");
        Vec::from_iter(silent.then(|| format!("{}: no `//!` at the top", source.path)))
    });
    assert_none("files without a purpose", &silent);
}

#[test]
fn nothing_is_left_open() {
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["#[ign", "ore"].concat()];
    let open = complaints(&sources(), |source| {
        let lines = source.text.lines().enumerate();
        lines
            .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
            .map(|(index, line)| format!("{}:{}: {}", source.path, index + 1, line.trim()))
            .collect()
    });
    assert_none("open work that is no issue", &open);
}

#[test]
fn logic_is_pure() {
    let banned = ["actix", "tokio", "async ", ".await", "now()", "thread_rng"];
    let impure = complaints(&sources(), |source| {
        let logic = source.path.contains("/logic/") || source.path.ends_with("/logic.rs");
        if !logic || source.path.ends_with("tests.rs") {
            return Vec::new();
        }
        source
            .code()
            .filter(|(_, line)| banned.iter().any(|word| line.contains(word)))
            .map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
            .collect()
    });
    assert_none("logic that is not pure", &impure);
}

#[test]
fn selects_are_biased() {
    let unbiased = complaints(&sources(), |source| {
        let lines: Vec<_> = source.code().collect();
        let marker = ["select", "! {"].concat();
        lines
            .iter()
            .enumerate()
            .filter(|(_, (_, line))| line.contains(&marker))
            .filter(|(at, _)| !lines.get(at + 1).is_some_and(|(_, next)| next.contains("biased;")))
            .map(|(_, (number, line))| format!("{}:{number}: {}", source.path, line.trim()))
            .collect()
    });
    assert_none("selects that draw from the runtime's generator", &unbiased);
}

/// The folders of `actors/src` that hold an actor, by the path of their `mod.rs`.
fn subsystems(sources: &[Source]) -> Vec<&str> {
    sources
        .iter()
        .filter(|source| source.path.starts_with("actors/src/"))
        .filter(|source| source.code().any(|(_, line)| line.contains("impl Actor for ")))
        .filter_map(|source| source.path.strip_suffix("/mod.rs"))
        .collect()
}

#[test]
fn subsystems_have_their_rooms() {
    let sources = sources();
    let exists = |path: String| root().join(path).exists();
    let mut missing = Vec::new();
    let found = subsystems(&sources);
    assert!(!found.is_empty(), "no subsystem was found: the search is wrong");
    for folder in found {
        for room in ["logic", "tests"] {
            if !exists(format!("{folder}/{room}.rs")) && !exists(format!("{folder}/{room}")) {
                missing.push(format!("{folder}: no {room}.rs"));
            }
        }
        let names: Vec<_> = folder.trim_start_matches("actors/src/").split('/').collect();
        if !names.iter().any(|name| exists(format!("docs/design/{name}.md"))) {
            missing.push(format!("{folder}: no page in docs/design/"));
        }
    }
    assert_none("rooms", &missing);
}

#[test]
fn architecture_names_every_child_of_the_tree() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("a file of the project");
    let tree = read("actors/src/tree.rs");
    let map = read("ARCHITECTURE.md");
    let children: Vec<_> = tree
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(": Address<"))
        .map(|(name, _)| name)
        .collect();
    assert!(!children.is_empty(), "no child was found: the search is wrong");
    let unnamed: Vec<_> = children
        .iter()
        .filter(|name| !map.contains(&format!("`{name}`")))
        .map(|name| format!("{name} has no line in ARCHITECTURE.md"))
        .collect();
    assert_none("children", &unnamed);
}

#[test]
fn no_machine_is_named() {
    let banned = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat(), ["crates.", "io"].concat()];
    let named = complaints(&sources(), |source| {
        let lines = source.text.lines().enumerate();
        lines
            .filter(|(_, line)| banned.iter().any(|word| line.contains(word)))
            .map(|(index, line)| format!("{}:{}: {}", source.path, index + 1, line.trim()))
            .collect()
    });
    assert_none("machines or registries named in the sources", &named);
}
