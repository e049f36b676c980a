//! The checks of validation.md, row by row: each row spoils a request that is right in one way, and
//! has one answer. Of two mistakes the row that comes first is told.

mod cluster;
mod node;
mod service;

use super::{NOW, View, named, refusal, spec, write};
use crate::control::Error;

/// One row: its number in validation.md and what it checks, the part of the request that it spoils,
/// how, and the answer.
struct Row<R> {
    name: &'static str,
    part: &'static str,
    spoil: fn(&mut R),
    expected: &'static str,
}

const fn row<R>(
    name: &'static str,
    part: &'static str,
    spoil: fn(&mut R),
    expected: &'static str,
) -> Row<R> {
    Row { name, part, spoil, expected }
}

/// Checks each row alone, and each pair of rows that can be spoiled together.
#[track_caller]
fn check_rows<R>(right: impl Fn() -> R, rows: &[Row<R>], ask: impl Fn(R) -> Result<View, Error>) {
    let answer = |spoilt: &[&Row<R>]| {
        let mut request = right();
        spoilt.iter().for_each(|row| (row.spoil)(&mut request));
        ask(request).map_or_else(|error| refusal(&error), |_| "done".to_owned())
    };
    assert_eq!(answer(&[]), "done");
    for (place, first) in rows.iter().enumerate() {
        assert_eq!(answer(&[first]), first.expected, "row {}", first.name);
        for second in rows[place + 1..].iter().filter(|second| can_be_both(first, second)) {
            // What the second one spoils may stand in what the first one replaces.
            let (first, both) = (first, [second, first]);
            assert_eq!(answer(&both), first.expected, "{} before {}", first.name, second.name);
        }
    }
}

fn can_be_both<R>(first: &Row<R>, second: &Row<R>) -> bool {
    let is_inside = |part: &str, whole: &str| part.starts_with(whole) && part != whole;
    first.part != second.part
        && !is_inside(first.part, second.part)
        && !is_inside(second.part, first.part)
}
