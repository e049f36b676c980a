//! The restart supervisor, row by row of `orchestration` §5: what becomes of a task, and when its
//! replacement starts. Rows about jobs have no lines: their services are refused.

use std::time::Duration;

use prost_types::Duration as Stored;
use protocol::{
    objects::{Task, TaskState},
    wire::{RestartPolicy, TaskSpec, restart_policy::RestartCondition},
};
use rand::{SeedableRng, rngs::StdRng};

use super::{
    super::logic::{Verdict, carry_out, delay, judge, starts_after},
    at, change, commit, served, service, waiting,
};
use crate::{agenda::Room, store::View};

use RestartCondition::{Any, None as Never, OnFailure};

/// What becomes of the last of the tasks.
struct Row {
    /// The row of the specification, and what the line is about.
    name: &'static str,
    policy: Option<RestartPolicy>,
    tasks: &'static str,
    /// What no word of the tasks can say.
    change: fn(&mut Task),
    expected: &'static str,
}

const fn policy(condition: RestartCondition, delay: Option<i64>) -> RestartPolicy {
    let delay = match delay {
        Some(seconds) => Some(Stored { seconds, nanos: 0 }),
        None => None,
    };
    RestartPolicy { condition: condition as i32, delay, max_attempts: 0, window: None }
}

const ANY: RestartPolicy = policy(Any, None);

const fn attempts(max_attempts: u64, window: Option<i64>) -> RestartPolicy {
    let window = match window {
        Some(seconds) => Some(Stored { seconds, nanos: 0 }),
        None => None,
    };
    RestartPolicy { max_attempts, window, ..ANY }
}

const fn row(
    name: &'static str,
    policy: RestartPolicy,
    tasks: &'static str,
    expected: &'static str,
) -> Row {
    Row { name, policy: Some(policy), tasks, change: |_| {}, expected }
}

const fn changed(row: Row, change: fn(&mut Task)) -> Row {
    Row { change, ..row }
}

/// Three restarts, a second after each other: the tasks are made and seen to end at their number.
const THRICE: &str = "1:failed>shutdown 1:failed>shutdown 1:failed>shutdown 1:failed";

const ROWS: &[Row] = &[
    row("5.1.1 in its own delay", ANY, "1:rejected>ready@n1", "left: NotStarted"),
    row("5.1.1 in its own delay, node lost", ANY, "1:running>ready@down", "left: NotStarted"),
    row("5.1.2 told to stop", ANY, "1:failed>shutdown@n1", "left: Stopping"),
    row("5.1.2 to be removed", ANY, "1:failed>remove@n1", "left: Stopping"),
    row("5.1 it runs", ANY, "1:running@n1", "left: Alive"),
    row("5.1 it has no node yet", ANY, "1:pending", "left: Alive"),
    row("5.1.4 the policy says no", policy(Never, None), "1:failed@n1", "ended"),
    row("5.1.5 in its slot", ANY, "7:failed@n1", "slot 7 after 5s"),
    row("5.1.6 delay of the policy", policy(Any, Some(9)), "1:failed@n1", "slot 1 after 9s"),
    row("5.1.6 delay 0", policy(Any, Some(0)), "1:failed@n1", "slot 1 after 0ns"),
    row("5.1.6 invalid delay", policy(Any, Some(-1)), "1:failed@n1", "slot 1 after 5s"),
    row("5.1.6 ended on a drained node", ANY, "1:failed@drained", "slot 1 after 0ns"),
    row("5.1.7 drained", ANY, "1:running@drained", "slot 1 after 0ns, at 60s if it runs on"),
    row("5.1.7 old node DOWN", ANY, "1:running@down", "slot 1 after 5s"),
    row("5.1.7 old node deleted", ANY, "1:running@gone", "slot 1 after 5s"),
    row("5.2 NONE, complete", policy(Never, None), "1:complete@n1", "ended"),
    row("5.2 NONE, node lost", policy(Never, None), "1:running@down", "ended"),
    row("5.2 ON_FAILURE, complete", policy(OnFailure, None), "1:complete@n1", "ended"),
    row("5.2 ON_FAILURE, failed", policy(OnFailure, None), "1:failed@n1", "slot 1 after 5s"),
    row("5.2 ON_FAILURE, rejected", policy(OnFailure, None), "1:rejected@n1", "slot 1 after 5s"),
    row("5.2 ON_FAILURE, stopped", policy(OnFailure, None), "1:shutdown@n1", "slot 1 after 5s"),
    row("5.2 ON_FAILURE, lost", policy(OnFailure, None), "1:running@down", "slot 1 after 5s"),
    row("5.2 ANY, complete", ANY, "1:complete@n1", "slot 1 after 5s"),
    Row { policy: None, ..row("5.2 no policy", ANY, "1:complete@n1", "slot 1 after 5s") },
    row("5.2 attempts without end", attempts(0, None), THRICE, "slot 1 after 5s"),
    row("5.2 no history", attempts(1, None), "1:failed", "slot 1 after 5s"),
    row("5.2 attempts left", attempts(4, None), THRICE, "slot 1 after 5s"),
    row("5.2 attempts used up", attempts(3, None), THRICE, "ended"),
    row(
        "5.2 history of another slot",
        attempts(1, None),
        "2:failed>shutdown 2:failed>shutdown \
        1:failed",
        "slot 1 after 5s",
    ),
    row(
        "5.2 history of another version",
        attempts(1, None),
        "1~:failed>shutdown \
        1~:failed>shutdown 1:failed",
        "slot 1 after 5s",
    ),
    row(
        "5.2 first of a new version is no restart",
        attempts(1, None),
        "1~:failed>shutdown \
        1:failed>shutdown 1:failed",
        "ended",
    ),
    row("5.2 window 0 is none", attempts(3, Some(0)), THRICE, "ended"),
    row("5.2 all inside the window", attempts(2, Some(3)), THRICE, "ended"),
    row("5.2 not after its begin", attempts(2, Some(2)), THRICE, "slot 1 after 5s"),
    row("5.2 not before the end", attempts(1, Some(1)), THRICE, "slot 1 after 5s"),
    changed(
        row(
            "5.2 the leader's time before the node's",
            attempts(1, Some(50)),
            THRICE,
            "slot 1 \
            after 5s",
        ),
        |task| task.status.applied_at = Some(at(100)),
    ),
    changed(row("5.2 no time: all count", attempts(3, Some(1)), THRICE, "ended"), |task| {
        task.status.timestamp = None
    }),
    row("5.2 another one has the slot", ANY, "1:running 1:failed", "ended"),
    row(
        "5.4 a stopped one does not",
        ANY,
        "1:running>shutdown@n1 1:failed",
        "slot 1 after 5s, at \
        60s if it runs on",
    ),
];

/// The view, and the id of the last task.
fn before(row: &Row) -> (View, String) {
    let spec = TaskSpec { restart: row.policy, ..TaskSpec::default() };
    let view = served(&service(9, &spec), row.tasks);
    let id = format!("t{}", row.tasks.split_whitespace().count());
    let view = commit(&view, 200, |head| change(head, &id, row.change));
    (view, id)
}

fn outcome(row: &Row) -> String {
    let (before, id) = before(row);
    let verdict = judge(&before, &id.as_str().into());
    if let Verdict::Leave(reason) = verdict {
        return format!("left: {reason:?}");
    }
    let mut random = StdRng::seed_from_u64(1);
    let view = commit(&before, 200, |head| {
        carry_out(head, &id.as_str().into(), &mut Room::new(), at(200), &mut random).unwrap();
    });
    let old = view.task(&id.as_str().into()).unwrap();
    assert_eq!(old.desired_state, TaskState::SHUTDOWN, "5.1.3 of {}", row.name);
    let made = view.tasks().count() - before.tasks().count();
    assert_eq!(made, usize::from(verdict == Verdict::Replace), "{}", row.name);
    if verdict == Verdict::End {
        return "ended".to_owned();
    }
    let new = waiting(&view);
    let delay = delay(&view, new);
    let started = format!("slot {} after {delay:?}", new.slot);
    match starts_after(&view, new, delay, delay) {
        Some(at_last) => format!("{started}, at {at_last:?} if it runs on"),
        None => started,
    }
}

#[test]
fn each_row_of_the_restart_supervisor_holds() {
    for row in ROWS {
        assert_eq!(outcome(row), row.expected, "{}", row.name);
    }
}

#[test]
fn the_minute_for_the_task_before_begins_with_the_delay() {
    let view = served(&service(1, &TaskSpec::default()), "1:running>shutdown@n1 1:new>ready");
    let check = |delay: u64, waited: u64, expected: Option<u64>| {
        let (delay, waited) = (Duration::from_secs(delay), Duration::from_secs(waited));
        let expected = expected.map(Duration::from_secs);
        assert_eq!(starts_after(&view, waiting(&view), delay, waited), expected);
    };
    check(50, 49, Some(50));
    check(50, 50, Some(60));
    check(50, 60, None);
    check(90, 60, Some(90));
    check(90, 90, None);
}
