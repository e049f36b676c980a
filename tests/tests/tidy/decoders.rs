//! `docs/design/decoders.md` names every source file that decodes, and tests of that file.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{
    assert_none, root,
    sources::{Source, sources},
};

/// What decodes bytes or texts.
const WORDS: &[&str] = &[
    "::decode(",
    "from_utf8",
    "from_str_radix",
    ".parse()",
    ".parse::<",
    "impl FromStr",
    "from_pem(",
    "from_der(",
    "parse_many(",
    "from_le_bytes",
];

/// The words between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn decodes(source: &Source) -> bool {
    let of_a_daemon =
        ["protocol/src/", "actors/src/", "node/src/"].iter().any(|at| source.path.starts_with(at));
    let for_tests = ["tests", "testing", "simulated", "strategies"];
    let for_tests = for_tests.iter().any(|word| source.path.contains(word));
    of_a_daemon && !for_tests && WORDS.iter().any(|word| source.shipped().contains(word))
}

/// Whether tests of a file may lie at a path: in the file itself, or in the `tests` of its module
/// or of one above it, inside the crate.
fn tests_of(file: &str, path: &str) -> bool {
    let module = Path::new(file).with_extension("");
    let mut rooms = module.ancestors().take_while(|folder| !folder.ends_with("src"));
    let path = Path::new(path);
    path == Path::new(file)
        || rooms
            .any(|folder| path == folder.join("tests.rs") || path.starts_with(folder.join("tests")))
}

#[test]
fn a_namesake_elsewhere_is_no_test_of_a_file() {
    let file = "actors/src/log/logic/frame.rs";
    for (path, expected) in [
        (file, true),
        ("actors/src/log/logic/frame/tests.rs", true),
        ("actors/src/log/logic/tests.rs", true),
        ("actors/src/log/tests.rs", true),
        ("actors/src/log/tests/random.rs", true),
        ("actors/src/log/logic/record.rs", false),
        ("actors/src/store/tests.rs", false),
        ("actors/src/tests.rs", false),
        ("actors/tests/log.rs", false),
    ] {
        assert_eq!(tests_of(file, path), expected, "{path}");
    }
}

#[test]
fn every_decoder_has_its_test() {
    let page = fs::read_to_string(root().join("docs/design/decoders.md")).expect("it is there");
    let sources = sources();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| ---"))
        .map(|line| line.trim_matches('|').split('|').collect())
        .filter(|row: &Vec<&str>| row[0].trim() != "decoder")
        .collect();
    assert!(!rows.is_empty(), "no row was found: the search is wrong");
    let mut complaints = Vec::new();
    let mut named = BTreeSet::new();
    for row in rows {
        let [decoder, files, tests] = row[..] else {
            complaints.push(format!("no row of three: {row:?}"));
            continue;
        };
        for file in quoted(files) {
            named.insert(file);
            if !root().join(file).exists() {
                complaints.push(format!("{decoder}: there is no {file}"));
            }
        }
        let missing: Vec<_> = quoted(tests)
            .filter(|test| {
                let defined = format!("fn {test}(");
                let is_here = |path| quoted(files).any(|file| tests_of(file, path));
                let mut here = sources.iter().filter(|source| is_here(&source.path));
                !here.any(|source| source.text.contains(&defined))
            })
            .collect();
        let nowhere = |test: &&str| format!("{decoder}: there is no {test} beside its files");
        complaints.extend(missing.iter().map(nowhere));
        if quoted(tests).next().is_none() {
            complaints.push(format!("{decoder}: no test"));
        }
    }
    let unnamed = sources.iter().filter(|source| decodes(source));
    let unnamed = unnamed.filter(|source| !named.contains(source.path.as_str()));
    complaints.extend(unnamed.map(|source| format!("{} is in no row", source.path)));
    assert_none("decoders", &complaints);
}
