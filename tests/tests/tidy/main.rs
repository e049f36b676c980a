//! House rules that clippy cannot express, as a test: what the source files look like, and what
//! the tree of dependencies may hold.

mod crates;
mod decoders;
mod operating;
mod sources;

use std::path::{Path, PathBuf};

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is inside the workspace").into()
}

/// Fails with every complaint at once, so that one run shows all the work.
#[track_caller]
fn assert_none(rule: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{rule}:\n  {}", complaints.join("\n  "));
}
