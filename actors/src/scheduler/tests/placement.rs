//! Which of the nodes that can run a task gets it, and what nodes have left.

use std::{collections::BTreeMap, time::Duration};

use proptest::{collection::vec, prelude::*};
use protocol::id::NodeId;

use super::*;
use crate::store::{CHANGES_PER_TRANSACTION, Touched};

fn on(node: &str, service: &str, id: &str) -> Object {
    Task { service_id: service.into(), ..running(task(id), node) }.into()
}

#[test]
fn fewer_tasks_of_the_service_win_then_fewer_tasks_then_the_lower_id() {
    let cases: [(&str, Vec<Object>, &[&str]); 4] = [
        ("empty nodes in turn", vec![], &["1@a", "2@b", "3@a"]),
        ("fewer of the service", vec![on("a", "s", "x")], &["1@b", "2@a", "3@b"]),
        ("fewer in all", vec![on("a", "other", "x")], &["1@b", "2@a", "3@b"]),
        (
            "the service counts more",
            vec![on("a", "s", "x"), on("b", "other", "y"), on("b", "other", "z")],
            &["1@b", "2@a", "3@b"],
        ),
    ];
    for (name, tasks, expected) in cases {
        let objects = [plain("a").into(), plain("b").into()].into_iter().chain(tasks);
        assert_eq!(outcome(objects, &[task("1"), task("2"), task("3")]), expected, "{name}");
    }
}

#[test]
fn a_full_node_is_left_out_and_the_rest_is_told_why() {
    let nodes = [plain("a").into(), plain("b").into()];
    let group: Vec<_> = (1..=5).map(|id| reserving(&id.to_string(), 1_000_000_000, 0)).collect();
    let reason = "no suitable node (insufficient resources on 2 nodes)";
    assert_eq!(outcome(nodes, &group), ["1@a", "2@b", "3@a", "4@b", reason]);
}

#[test]
fn an_assignment_says_what_it_is() {
    let mut nodes = Nodes::of(&with([plain("a").into()]));
    let mut waiting = task("t");
    waiting.status.err = "no suitable node".into();
    let decisions = placed(&mut nodes, &[waiting]);
    let status = &decisions[0].after.status;
    assert_eq!(status.state, TaskState::ASSIGNED);
    assert_eq!((&*status.message, &*status.err), ("scheduler assigned task to node", ""));
    assert_eq!(status.timestamp, Some(NOW));
}

#[test]
fn a_reason_is_told_once() {
    let mut nodes = Nodes::of(&with([node("a", drained).into()]));
    let told = placed(&mut nodes, &[task("t")]);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].after.status.state, TaskState::PENDING);
    assert!(placed(&mut nodes, &[(*told[0].after).clone()]).is_empty());
}

#[test]
fn five_failures_within_five_minutes_put_a_node_last() {
    let nodes = Nodes::of(&with([plain("a").into(), plain("b").into()]));
    let (mut failures, start) = (Failures::default(), begun());
    let ran = running(task("x"), "a");
    let failed = |state| {
        let status = TaskStatus { state, ..TaskStatus::default() };
        Task { status, ..ran.clone() }
    };
    let best = |failures: &Failures, at: Instant| {
        let group = [Arc::new(task("t"))];
        let mut nodes = nodes.clone();
        let (decisions, _) = place(&mut nodes, &group, failures, (at, NOW), &mut Room::new());
        decisions[0].after.node_id.clone()
    };
    for (number, state) in
        [TaskState::FAILED, TaskState::REJECTED, TaskState::FAILED, TaskState::FAILED]
            .into_iter()
            .enumerate()
    {
        failures.note(&ran, &failed(state), start);
        assert_eq!(best(&failures, start), NodeId::from("a"), "after {}", number + 1);
    }
    failures.note(&failed(TaskState::FAILED), &failed(TaskState::FAILED), start);
    assert_eq!(best(&failures, start), NodeId::from("a"), "no news is no failure");
    failures.note(&ran, &failed(TaskState::FAILED), start);
    assert_eq!(best(&failures, start), NodeId::from("b"));
    let later = start + Duration::from_secs(299);
    assert_eq!(best(&failures, later), NodeId::from("b"));
    let later = start + Duration::from_secs(300);
    assert_eq!(best(&failures, later), NodeId::from("a"));
    failures.forget_old(later);
    assert_eq!(failures.against(&"a".into(), &task("t"), start), 0, "forgotten");
}

/// One step in the life of a task: which, and what becomes of it.
fn step() -> impl Strategy<Value = (u8, u8, u8, u8)> {
    (0..12u8, 0..4u8, 0..6u8, 0..3u8)
}

proptest! {
    /// What is kept up equals what a fresh look at the store says (SCHED-5).
    #[test]
    fn accounting_follows_the_store(steps in vec(step(), 1..60)) {
        let mut view = with(["a", "b", "c"].map(|id| plain(id).into()));
        let mut nodes = Nodes::of(&view);
        for (id, place, state, size) in steps {
            let id = format!("t{id}");
            let mut transaction = Transaction::begin(&view);
            let before = transaction.task(&id.as_str().into()).cloned();
            let state = [
                TaskState::PENDING, TaskState::ASSIGNED, TaskState::RUNNING,
                TaskState::FAILED, TaskState::COMPLETE, TaskState::NEW,
            ][usize::from(state)];
            let mut after = match size {
                0 => publishing(&id, 80),
                size => reserving(&id, i64::from(size) * 100, GIB / 8),
            };
            after.node_id = ["a", "b", "c", "gone"][usize::from(place)].into();
            after.status.state = state;
            match &before {
                Some(before) => {
                    after.meta = before.meta;
                    transaction.update(after).unwrap();
                }
                None => transaction.create(after).unwrap(),
            }
            let sealed = transaction.seal(view.index() + 1, NOW);
            for Touched { before, after } in sealed.changes.tasks.values() {
                nodes.replace(before.as_deref(), after.as_ref());
            }
            view = sealed.view;
            prop_assert_eq!(&nodes, &Nodes::of(&view));
        }
    }

    /// Nobody is promised more than there is, nobody is placed twice, and it is the same each time.
    #[test]
    fn no_node_is_promised_more_than_it_has(
        sizes in vec((1..4i64, 0..5i64), 1..80),
        count in 1..6usize,
    ) {
        let nodes: Vec<_> = (0..count).map(|id| Object::from(plain(&format!("n{id}")))).collect();
        let view = with(nodes);
        let run = || {
            let mut nodes = Nodes::of(&view);
            let mut decided = Vec::new();
            for (number, (cpus, memory)) in sizes.iter().enumerate() {
                let one = reserving(&number.to_string(), cpus * 300_000_000, memory * GIB / 4);
                decided.extend(placed(&mut nodes, &[one]));
            }
            (nodes, decided)
        };
        let (nodes, decided) = run();
        prop_assert!(decided.len() <= CHANGES_PER_TRANSACTION);
        for place in nodes.places() {
            prop_assert!(place.free.nano_cpus >= 0 && place.free.memory_bytes >= 0);
        }
        let mut placed = BTreeMap::new();
        for Decision { after, .. } in &decided {
            prop_assert!(placed.insert(after.id.clone(), after.node_id.clone()).is_none());
        }
        prop_assert_eq!(run().1, decided);
    }
}
