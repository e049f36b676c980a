//! What the scheduler takes from the store and its changes (`scheduler-and-allocator` §1, §2, §4).

use std::time::Duration;

use protocol::objects::Kind;

use super::*;

fn all_told(board: &mut Board) -> Vec<String> {
    decide_all(board).iter().map(told).collect()
}

fn none() -> Vec<String> {
    Vec::new()
}

/// A task of two processors, which is all that a node has.
fn big(id: &str) -> Task {
    reserving(id, 2_000_000_000, 0)
}

fn in_state(task: Task, state: TaskState) -> Task {
    let status = TaskStatus { state, ..task.status.clone() };
    Task { status, ..task }
}

fn change(board: &mut Board, view: &View, id: &str, change: impl FnOnce(&mut Task)) -> View {
    commit(board, view, |head| {
        let mut task = head.task(&id.into()).expect("there").as_ref().clone();
        change(&mut task);
        head.update(task).unwrap();
    })
}

#[test]
fn the_initial_load() {
    let bound = |task: Task| Task { node_id: "a".into(), ..task };
    let unwanted = |task: Task| Task { desired_state: TaskState::SHUTDOWN, ..task };
    let cases = [
        ("NEW is not seen", in_state(task("t"), TaskState::NEW), none()),
        ("PENDING", task("t"), vec!["t@a".to_owned()]),
        ("PENDING, desired > COMPLETE", unwanted(task("t")), none()),
        ("PENDING with a node", Task { slot: 0, ..bound(task("t")) }, vec!["t@a".to_owned()]),
        ("PENDING with a node, desired > COMPLETE", unwanted(bound(task("t"))), none()),
        ("ASSIGNED", in_state(bound(task("t")), TaskState::ASSIGNED), none()),
        ("FAILED", in_state(task("t"), TaskState::FAILED), none()),
    ];
    for (row, task, expected) in cases {
        assert_eq!(outcome([plain("a").into(), task.into()]), expected, "§1 initial load: {row}");
    }
    for state in [TaskState::ASSIGNED, TaskState::STARTING, TaskState::RUNNING] {
        let held = in_state(bound(big("x")), state);
        let told = outcome([plain("a").into(), held.into(), big("t").into()]);
        let full = "no suitable node (insufficient resources on 1 node)";
        assert_eq!(told, [full], "§1 initial load: counted on its node in {state}");
    }
    for state in [TaskState::COMPLETE, TaskState::FAILED, TaskState::ORPHANED] {
        let held = in_state(bound(big("x")), state);
        let told = outcome([plain("a").into(), held.into(), big("t").into()]);
        assert_eq!(told, ["t@a"], "§1 initial load: not counted in {state}");
    }
}

#[test]
fn tasks_come_change_and_go() {
    let view = with([plain("a").into()]);
    let mut board = board(view.clone());
    let view = commit(&mut board, &view, |head| {
        head.create(in_state(big("1"), TaskState::NEW)).unwrap();
    });
    assert_eq!(all_told(&mut board), none(), "§1.1 update: observed < PENDING");
    let view = change(&mut board, &view, "1", |task| task.status.state = TaskState::PENDING);
    let decisions = decide_all(&mut board);
    assert_eq!(told(&decisions[0]), "1@a", "§1.1 update: no node");
    let view = carry_out(&mut board, &view, decisions);
    assert_eq!(all_told(&mut board), none());
    let view = commit(&mut board, &view, |head| head.create(big("2")).unwrap());
    let full = "no suitable node (insufficient resources on 1 node)";
    assert_eq!(all_told(&mut board), [full], "§1.1 task create");
    let view = change(&mut board, &view, "1", |task| task.status.state = TaskState::RUNNING);
    assert_eq!(all_told(&mut board), none(), "§1.1 update: otherwise replace");
    let view = change(&mut board, &view, "1", |task| task.status.state = TaskState::COMPLETE);
    let decisions = decide_all(&mut board);
    assert_eq!(told(&decisions[0]), "2@a", "§1.1 update: observed > RUNNING frees the node");
    let view = carry_out(&mut board, &view, decisions);
    let view = commit(&mut board, &view, |head| head.create(big("3")).unwrap());
    assert_eq!(all_told(&mut board), [full]);
    let view = commit(&mut board, &view, |head| {
        head.remove(Kind::Task, protocol::id::TaskId::from("2").as_id()).unwrap();
    });
    assert_eq!(all_told(&mut board), ["3@a"], "§1.1 task delete");
    let view = commit(&mut board, &view, |head| {
        head.create(running(big("4"), "a")).unwrap();
        head.create(plain("b")).unwrap();
        head.create(running(big("5"), "b")).unwrap();
        head.create(big("6")).unwrap();
    });
    let both = "no suitable node (insufficient resources on 2 nodes)";
    assert_eq!(all_told(&mut board), [both], "§1.1 task create: > PENDING and with node");
    commit(&mut board, &view, |head| {
        head.remove(Kind::Task, protocol::id::TaskId::from("6").as_id()).unwrap();
        head.create(Task { node_id: "b".into(), slot: 0, ..task("7") }).unwrap();
    });
    assert_eq!(all_told(&mut board), ["7@b"], "§1.1 update: observed PENDING with node");
}

#[test]
fn nodes_come_change_and_go() {
    let view = with([running(big("x"), "b").into(), big("t").into()]);
    let mut board = board(view.clone());
    assert_eq!(all_told(&mut board), ["no suitable node"]);
    let view = commit(&mut board, &view, |head| head.create(plain("b")).unwrap());
    let full = "no suitable node (insufficient resources on 1 node)";
    assert_eq!(all_told(&mut board), [full], "§1.1 node create: with the tasks that are on it");
    let view = commit(&mut board, &view, |head| {
        let meta = head.node(&"b".into()).expect("there").meta;
        let larger = node("b", |node| {
            let description = node.description.as_mut().expect("a description");
            description.resources.as_mut().expect("resources").nano_cpus = 4_000_000_000;
        });
        head.update(Node { meta, ..larger }).unwrap();
    });
    let decisions = decide_all(&mut board);
    assert_eq!(told(&decisions[0]), "t@b", "§1.1 node update: keeps what is on it");
    let view = carry_out(&mut board, &view, decisions);
    let view = commit(&mut board, &view, |head| {
        head.remove(Kind::Node, protocol::id::NodeId::from("b").as_id()).unwrap();
        head.create(task("u")).unwrap();
    });
    assert_eq!(all_told(&mut board), ["no suitable node"], "§1.1 node delete");
    commit(&mut board, &view, |head| head.create(plain("c")).unwrap());
    assert_eq!(all_told(&mut board), ["u@c"], "a seat is used again");
}

#[test]
fn active_tasks() {
    let stopping = Task { desired_state: TaskState::SHUTDOWN, ..running(task("x"), "a") };
    let objects = [plain("a").into(), plain("b").into(), running(task("y"), "b").into()];
    let told = outcome(objects.into_iter().chain([stopping.into(), task("t").into()]));
    assert_eq!(told, ["t@a"], "§2 active: desired ≤ COMPLETE");
    let view = with([plain("a").into(), plain("b").into(), running(task("x"), "a").into()]);
    let mut board = board(view.clone());
    let view = change(&mut board, &view, "x", |task| task.desired_state = TaskState::SHUTDOWN);
    commit(&mut board, &view, |head| head.create(task("t")).unwrap());
    assert_eq!(all_told(&mut board), ["t@a"], "§2 desired crossed COMPLETE");
}

#[test]
fn five_failures_within_five_minutes_put_a_node_last() {
    let view = with([plain("a").into(), plain("b").into()]);
    let best_at = |failures: usize, state: TaskState, asking: &Task, after: Duration| {
        let mut board = board(view.clone());
        let mut view = view.clone();
        for number in 0..failures {
            let id = format!("x{number}");
            let ran = running(task(&id), "a");
            view = commit(&mut board, &view, |head| head.create(ran).unwrap());
            view = change(&mut board, &view, &id, |task| task.status.state = state);
            view = change(&mut board, &view, &id, |task| task.status.err = "again".into());
        }
        commit(&mut board, &view, |head| head.create(asking.clone()).unwrap());
        let later = board.decide(begun() + after, 1000, 1000);
        told(&later[0])
    };
    let soon = Duration::from_secs(200);
    let other_version = Task { spec_version: Some(2), ..task("t") };
    let other_service = Task { service_id: "other".into(), ..task("t") };
    let cases = [
        ("four", 4, TaskState::FAILED, task("t"), soon, "t@a"),
        ("five", 5, TaskState::FAILED, task("t"), soon, "t@b"),
        ("rejected counts", 5, TaskState::REJECTED, task("t"), soon, "t@b"),
        ("complete does not", 9, TaskState::COMPLETE, task("t"), soon, "t@a"),
        ("old ones do not", 9, TaskState::FAILED, task("t"), Duration::from_secs(301), "t@a"),
        ("per spec version", 9, TaskState::FAILED, other_version, soon, "t@a"),
        ("per service", 9, TaskState::FAILED, other_service, soon, "t@a"),
    ];
    for (row, failures, state, asking, after, expected) in cases {
        assert_eq!(best_at(failures, state, &asking, after), expected, "§4 {row}");
    }
}

#[test]
fn failures_of_tasks_made_for_a_node_are_no_news() {
    let view = with([plain("a").into(), plain("b").into()]);
    let mut board = board(view.clone());
    let mut view = view;
    for number in 0..9 {
        let id = format!("x{number}");
        let ran = Task { slot: 0, ..running(task(&id), "a") };
        view = commit(&mut board, &view, |head| head.create(ran).unwrap());
        view = change(&mut board, &view, &id, |task| task.status.state = TaskState::FAILED);
    }
    commit(&mut board, &view, |head| head.create(task("t")).unwrap());
    assert_eq!(all_told(&mut board), ["t@a"], "§1.1 observed > RUNNING: not if preassigned");
}

#[test]
fn an_index_that_knows_the_nodes_forgives_when_time_passes() {
    let view = with([plain("a").into(), plain("b").into()]);
    let mut board = board(view.clone());
    let mut view = view;
    for number in 0..5 {
        let id = format!("x{number}");
        view = commit(&mut board, &view, |head| head.create(running(task(&id), "a")).unwrap());
        view = change(&mut board, &view, &id, |task| task.status.state = TaskState::FAILED);
    }
    view = commit(&mut board, &view, |head| head.create(task("t")).unwrap());
    let decisions = board.decide(begun(), 1000, 1000);
    assert_eq!(told(&decisions[0]), "t@b");
    view = carry_out(&mut board, &view, decisions);
    commit(&mut board, &view, |head| head.create(task("u")).unwrap());
    let later = board.decide(begun() + Duration::from_secs(301), 1000, 1000);
    assert_eq!(told(&later[0]), "u@a");
}
