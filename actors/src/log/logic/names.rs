//! The names of the files, both ways.

/// The end of the name of a file that is not whole yet.
const UNFINISHED: &str = ".new";

/// What SwarmKit keeps in its raft directory, in its present and its former formats.
const FOREIGN: &[&str] =
    &["wal-v3-encrypted", "snap-v3-encrypted", "wal-v3", "snap-v3", "wal", "snap"];

/// What a directory holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::log) struct Listing {
    /// The sequence numbers of the segments, rising.
    pub(in crate::log) segments: Vec<u64>,
    /// The indices of the snapshots, rising.
    pub(in crate::log) snapshots: Vec<u64>,
    /// Names of files that never became whole.
    pub(in crate::log) unfinished: Vec<String>,
    /// Something of SwarmKit's.
    pub(in crate::log) foreign: Option<String>,
}

/// Sorts the names of a directory by what they are; names of no known kind are left out.
pub(in crate::log) fn sort(names: Vec<String>) -> Listing {
    let mut listing = Listing::default();
    for name in names {
        if let Some(sequence) = number(&name, ".log") {
            listing.segments.push(sequence);
        } else if let Some(index) = number(&name, ".snapshot") {
            listing.snapshots.push(index);
        } else if name.ends_with(UNFINISHED) {
            listing.unfinished.push(name);
        } else if FOREIGN.contains(&name.as_str()) {
            listing.foreign = Some(name);
        }
    }
    listing.segments.sort_unstable();
    listing.snapshots.sort_unstable();
    listing.unfinished.sort_unstable();
    listing
}

/// Returns the name of a segment.
pub(in crate::log) fn segment(sequence: u64) -> String {
    format!("{sequence:016x}.log")
}

/// Returns the name of a snapshot.
pub(in crate::log) fn snapshot(index: u64) -> String {
    format!("{index:016x}.snapshot")
}

/// Returns the name of a file until it is whole.
pub(in crate::log) fn unfinished(name: &str) -> String {
    format!("{name}{UNFINISHED}")
}

/// Reads the number of a name, and takes it only in the one way it is written.
fn number(name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_suffix(ending)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (format!("{number:016x}") == digits).then_some(number)
}
