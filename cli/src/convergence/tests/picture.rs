//! What is drawn while somebody waits, and what is told where nothing is drawn.

use std::time::Duration;

use protocol::wire::TaskState::{Pending, Running};

use super::super::{judgement::Slot, picture::Picture};

const TERMINAL: (u16, u16) = (80, 40);

#[test]
fn pictures_lie_over_one_another_and_are_for_terminals_alone() {
    let slot = |number, state, error: &str| Slot { number, state, error: error.to_owned() };
    let slots = [slot(1, Running, ""), slot(2, Pending, "no\nnode")];
    let start = Duration::ZERO;
    let mut plain = Picture::with(true, false);
    let first =
        "     1 [====================] RUNNING \n     2 [==                  ] PENDING nonode\n";
    assert_eq!(plain.next(&slots, "", start, TERMINAL), format!("\u{1b}[J{first}"));
    assert_eq!(plain.next(&slots, "", start, TERMINAL), format!("\u{1b}[2A\u{1b}[J{first}"));
    let coloured = Picture::with(true, true).next(&slots, "", start, TERMINAL);
    assert!(coloured.contains("\u{1b}[32mRUNNING\u{1b}[0m"), "{coloured}");
    assert!(coloured.contains("\u{1b}[31mPENDING\u{1b}[0m"), "{coloured}");
    let text = plain.next(&slots[..1], "one\nmore", start, TERMINAL);
    assert!(text.ends_with("RUNNING \none more\n"), "{text}");
    assert!(
        plain.next(&slots, "", start, TERMINAL).starts_with("\u{1b}[2A"),
        "the text is drawn over, too"
    );
    let many: Vec<_> = (1..=30).map(|number| slot(number, Running, "")).collect();
    let drawn = Picture::with(true, false).next(&many, "", start, TERMINAL);
    assert!(drawn.ends_with("... and 10 more, of which 10 run\n"), "{drawn}");
    assert_eq!(drawn.lines().count(), 21);
}

#[test]
fn no_line_is_wider_than_the_terminal_and_the_picture_no_higher() {
    let slot = |number| Slot { number, state: Pending, error: "no suitable node ".repeat(9) };
    let slots: Vec<_> = (1..=30).map(slot).collect();
    let why = format!("task {} in slot 1: no suitable node: unread", "i".repeat(25));
    for (columns, lines) in [(80, 24), (0, 0), (40, 10), (20, 8), (7, 6), (200, 60), (1, 1)] {
        let size = (columns, lines);
        let drawn = Picture::with(true, false).next(&slots, &why, Duration::ZERO, size);
        let drawn: Vec<_> = drawn.trim_start_matches("\u{1b}[J").lines().collect();
        let (wide, high) = if columns == 0 { (80, 24) } else { (columns, lines) };
        let widest = drawn.iter().map(|line| line.chars().count()).max().unwrap();
        assert!(widest < usize::from(wide).max(2), "{widest} of {wide} columns");
        assert!(drawn.len() < usize::from(high).max(6), "{} of {high} lines", drawn.len());
        if wide >= 40 {
            assert!(drawn.concat().ends_with("unread"), "the reason is told to its end: {drawn:?}");
        }
    }
    let short = Picture::with(true, true).next(&slots[..1], "", Duration::ZERO, (34, 9));
    assert_eq!(short, "\u{1b}[J     1 [==                  ] \u{1b}[31mPEN\u{1b}[0m\n");
}

#[test]
fn where_there_is_no_terminal_what_is_waited_for_is_told_now_and_then() {
    let mut picture = Picture::with(false, true);
    let mut told = |seconds, text| picture.next(&[], text, Duration::from_secs(seconds), TERMINAL);
    assert_eq!(told(0, "a"), "");
    assert_eq!(told(14, "a"), "");
    assert_eq!(told(15, "a"), "waiting: a\n");
    assert_eq!(told(16, "b"), "");
    assert_eq!(told(30, "b"), "waiting: b\n");
    assert_eq!(told(60, ""), "", "it is over");
}
