//! The scheduler's decisions alone: a board, a view, and nothing that writes.

use std::{thread, time::Duration};

use actors::{
    scheduler::{Board, Outcome, STEPS_PER_PASS},
    store::View,
};

use crate::{Figures, busy, now, peak, shape::Shape};

/// The name of the thread that decides.
const DECIDES: &str = "decides";

/// Measures on a thread of its own, so that its time can be told.
pub(crate) fn run(shape: Shape) -> Figures {
    let view = shape.view();
    let thread = thread::Builder::new().name(DECIDES.to_owned());
    let decided = thread.spawn(move || decide(&view, shape.tasks)).expect("a thread starts");
    decided.join().expect("it decides")
}

/// Takes a store in and decides until all tasks have a node; then again, slice by slice.
fn decide(view: &View, tasks: usize) -> Figures {
    let (began, busy_before) = (now(), busy(DECIDES));
    let mut board = Board::default();
    board.resync(view.clone());
    let mut placed = 0;
    while placed == 0 {
        placed += slice(&mut board);
    }
    let (taken_in, busy_then) = (began.elapsed(), busy(DECIDES));
    while !board.is_idle() {
        placed += slice(&mut board);
    }
    let (all, busy_after) = (began.elapsed(), busy(DECIDES));
    assert_eq!(placed, tasks, "every task has a node");
    let decided = (busy_after - busy_then).as_secs_f64();
    let (median_slice, longest_slice) = slices(view);
    Figures::from([
        ("a taken in", taken_in.as_secs_f64()),
        ("b busy with it", (busy_then - busy_before).as_secs_f64()),
        ("c decided", (all - taken_in).as_secs_f64()),
        ("d busy with it", decided),
        ("e busy for each ns", decided * 1e9 / tasks as f64),
        ("f median slice", median_slice.as_secs_f64()),
        ("g longest slice", longest_slice.as_secs_f64()),
        ("h peak MiB", peak()),
    ])
}

/// One slice as the actor has them; returns how many tasks it gives a node.
fn slice(board: &mut Board) -> usize {
    let decisions = board.decide(now(), STEPS_PER_PASS, usize::MAX);
    let outcomes = decisions.iter().map(|decision| &decision.outcome);
    outcomes.filter(|outcome| matches!(outcome, Outcome::Placed { .. })).count()
}

/// How long slices take; what else the machine does is in here.
fn slices(view: &View) -> (Duration, Duration) {
    let mut board = Board::default();
    board.resync(view.clone());
    let mut slices = Vec::new();
    while !board.is_idle() {
        let began = now();
        slice(&mut board);
        slices.push(began.elapsed());
    }
    slices.sort_unstable();
    (slices[slices.len() / 2], *slices.last().expect("there was one"))
}
