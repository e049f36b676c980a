//! How long a member waits for its leader.

use std::{ops::Range, time::Duration};

/// How long a tick of SwarmKit's managers is (store-and-raft §7).
const FOREIGN_TICK: Duration = Duration::from_secs(1);

/// Whether a tick counts, the `passed`th since the last that did. A leader of SwarmKit's speaks once a
/// second: by our ticks, it would be missed all the time.
pub(in crate::raft) fn counts(passed: u32, tick: Duration, is_foreign: bool) -> bool {
    !is_foreign || passed * tick >= FOREIGN_TICK
}

/// Draws the wait of a member in a term. raft-rs draws from a generator of its own thread, which no
/// seed repeats; a draw that depends on the term still separates members that tie.
pub(in crate::raft) fn election_ticks(
    seed: u64,
    member: u64,
    term: u64,
    range: &Range<usize>,
) -> usize {
    let span = (range.end - range.start).max(1) as u64;
    let drawn = usize::try_from(mix(mix(seed, member), term) % span).unwrap_or_default();
    range.start + drawn
}

/// How many of those who vote stand for election before this member when a leader is gone: one
/// after the other, or each would vote for itself. `None` for who does not vote.
pub(in crate::raft) fn place_in_line(own: u64, leader: u64, voters: &[u64]) -> Option<u32> {
    let before = voters.iter().filter(|voter| **voter < own && **voter != leader);
    voters.contains(&own).then(|| u32::try_from(before.count()).unwrap_or(u32::MAX))
}

/// Mixes two numbers so that every bit of the result depends on every bit of both.
pub(super) fn mix(one: u64, other: u64) -> u64 {
    let mut mixed = one ^ other.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2 {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^= mixed >> 27;
    }
    mixed
}
