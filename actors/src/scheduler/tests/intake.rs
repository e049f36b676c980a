//! A store that is too large to be taken in at once.

use std::collections::BTreeSet;

use super::*;

/// So many nodes of two processors, of which every second is full, and as many tasks that want one.
fn half_full(count: usize) -> View {
    let nodes = (0..count).map(|number| Object::from(plain(&format!("n{number:03}"))));
    let full = (0..count).filter(|number| number % 2 == 0).map(|number| {
        let task = reserving(&format!("x{number:03}"), 2_000_000_000, 0);
        Object::from(running(task, &format!("n{number:03}")))
    });
    let waiting = (0..count).map(|number| reserving(&format!("t{number:03}"), 1_000_000_000, 0));
    with(nodes.chain(full).chain(waiting.map(Object::from)))
}

#[test]
fn nothing_is_decided_before_all_is_known_and_a_slice_takes_in_no_more_than_its_steps() {
    let mut board = board(half_full(50));
    let mut slices = 0;
    let decisions = loop {
        assert!(!board.is_idle());
        let decisions = board.decide(begun(), 10, 200);
        if !decisions.is_empty() {
            break decisions;
        }
        slices += 1;
    };
    // 50 nodes, 25 tasks on them, 50 that wait; then each node is looked at for the first line.
    assert!(slices >= (50 + 75 + 50) / 10, "{slices} slices decided nothing");
    assert!(decisions.len() <= 10);
    let all = decisions.into_iter().chain(decide_all(&mut board));
    let nodes: BTreeSet<_> =
        all.filter_map(|one| told(&one).split_once('@').map(|(_, node)| node.to_owned())).collect();
    assert_eq!(nodes.len(), 25, "full nodes are known as full");
    assert!(nodes.iter().all(|node| !node.ends_with(['0', '2', '4', '6', '8'])));
}

#[test]
fn what_changes_while_a_store_is_taken_in_is_neither_lost_nor_counted_twice() {
    let view = half_full(20);
    // After so many steps, a task in front of the cursor and one behind it become free, a node goes
    // and one comes.
    for steps in 0..60 {
        let mut board = board(view.clone());
        if steps > 0 {
            board.decide(begun(), steps, 0);
        }
        let view = commit(&mut board, &view, |head| {
            for id in ["x000", "x018"] {
                let mut task = head.task(&id.into()).expect("there").as_ref().clone();
                task.status.state = TaskState::COMPLETE;
                head.update(task).unwrap();
            }
            for id in ["n001", "n019"] {
                let id = protocol::id::NodeId::from(id);
                head.remove(protocol::objects::Kind::Node, id.as_id()).unwrap();
            }
            for id in ["n0005", "n9"] {
                head.create(plain(id)).unwrap();
            }
        });
        let followed: Vec<_> = decide_all(&mut board).iter().map(told).collect();
        board.verify();
        let fresh: Vec<_> = decide_all(&mut super::board(view)).iter().map(told).collect();
        assert_eq!(followed, fresh, "after {steps} steps");
    }
}

#[test]
fn what_is_promised_while_all_begins_anew_is_kept_or_taken_back() {
    for steps in [0, 1, 5, 15, 25, 35, 60] {
        for is_written in [true, false] {
            let view = half_full(20);
            let mut board = board(view.clone());
            let mut decisions = Vec::new();
            while decisions.is_empty() {
                decisions = board.decide(begun(), 100, 7);
            }
            board.resync(view.clone());
            if steps > 0 {
                board.decide(begun(), steps, 0);
            }
            let view = match is_written {
                true => carry_out(&mut board, &view, decisions),
                false => {
                    decisions.iter().for_each(|decision| board.failed(decision));
                    view
                }
            };
            let rest = decide_all(&mut board);
            board.verify();
            let placed = rest.iter().filter(|decision| told(decision).contains('@')).count();
            let expected = if is_written { 20 - 7 } else { 20 };
            assert_eq!(placed, expected, "after {steps} steps, written: {is_written}");
            assert_eq!(view.tasks().count(), 30);
        }
    }
}

#[test]
fn the_tasks_that_came_with_one_node_are_looked_at_a_few_at_a_time_and_once() {
    let big = |number: usize| {
        let task = reserving(&format!("t{number:02}"), i64::MAX, 0);
        Object::from(Task { node_id: "a".into(), slot: 0, ..task })
    };
    let mut board = board(with((0..30).map(big).chain([plain("a").into()])));
    let mut told = Vec::new();
    for _ in 0..20 {
        let decisions = board.decide(begun(), 7, 100);
        assert!(decisions.len() <= 7);
        told.extend(decisions.into_iter().map(|decision| decision.task.id.to_string()));
    }
    assert!(board.is_idle(), "SCHED-4");
    assert_eq!(told, (0..30).map(|number| format!("t{number:02}")).collect::<Vec<_>>());
}
