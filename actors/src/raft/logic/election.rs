//! How long a member waits for its leader.

use std::ops::Range;

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

/// Mixes two numbers so that every bit of the result depends on every bit of both.
pub(super) fn mix(one: u64, other: u64) -> u64 {
    let mut mixed = one ^ other.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2 {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^= mixed >> 27;
    }
    mixed
}
