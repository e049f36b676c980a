//! Tasks that come with their node, tasks that nobody places any more, and what is written
//! (`scheduler-and-allocator` §7).

use super::*;

fn bound(id: &str, node: &str) -> Task {
    Task { node_id: node.into(), slot: 0, ..task(id) }
}

fn service(version: u64) -> protocol::objects::Service {
    let spec_version = Some(wire::Version { index: version });
    wire::Service { id: "s".to_owned(), spec_version, ..Default::default() }.into()
}

fn replace_service(head: &mut Transaction, version: u64) {
    let meta = head.service(&"s".into()).expect("there").meta;
    head.update(protocol::objects::Service { meta, ..service(version) }).unwrap();
}

fn all_told(decisions: &[Decision]) -> Vec<String> {
    decisions.iter().map(told).collect()
}

#[test]
fn placed() {
    let mut waiting = task("t");
    waiting.status.err = "no suitable node".into();
    waiting.status.message = "pending task scheduling".into();
    let decisions = decide_all(&mut board(with([plain("a").into(), waiting.into()])));
    let result = decisions[0].result(NOW);
    let status = &result.status;
    assert_eq!(result.node_id.as_str(), "a", "§7 placed: node");
    assert_eq!(status.state, TaskState::ASSIGNED, "§7 placed: state");
    assert_eq!(&*status.message, "scheduler assigned task to node", "§7 placed: message");
    assert_eq!(&*status.err, "", "§7 placed: err cleared");
    assert_eq!(status.timestamp, Some(NOW));
}

#[test]
fn preassigned_fits() {
    let decisions = decide_all(&mut board(with([plain("a").into(), bound("t", "a").into()])));
    let result = decisions[0].result(NOW);
    assert_eq!(result.status.state, TaskState::ASSIGNED, "§7 preassigned fits");
    assert_eq!(&*result.status.message, "scheduler confirmed task can run on preassigned node");
    assert_eq!(result.node_id.as_str(), "a");
}

#[test]
fn preassigned_does_not_fit() {
    let mut big = bound("t", "a");
    big.spec = reserving("", 2_000_000_000, 0).spec;
    let user = running(reserving("x", 1, 0), "a");
    let view = with([plain("a").into(), plain("b").into(), user.into(), big.into()]);
    let mut board = board(view.clone());
    let decisions = decide_all(&mut board);
    let row = "§7 preassigned does not fit: the explanation alone";
    assert_eq!(all_told(&decisions), ["insufficient resources on 1 node"], "{row}");
    let result = decisions[0].result(NOW);
    assert_eq!(result.status.state, TaskState::PENDING, "§7 stays pending");
    assert_eq!(result.status.timestamp, Some(NOW), "§7 timestamp new");
    let view = carry_out(&mut board, &view, decisions);
    assert_eq!(all_told(&decide_all(&mut board)), [""; 0], "§7 said once");
    commit(&mut board, &view, |head| {
        head.remove(protocol::objects::Kind::Task, protocol::id::TaskId::from("x").as_id())
            .map(drop)
            .unwrap();
    });
    assert_eq!(all_told(&decide_all(&mut board)), ["t@a"], "§7 tried again");
}

#[test]
fn preassigned_is_not_told_again_what_is_on_its_way_to_it() {
    let big = |id| Task { spec: reserving("", 5_000_000_000, 0).spec, ..bound(id, "a") };
    let view = with([plain("a").into(), big("t").into()]);
    let mut board = board(view.clone());
    let decisions = decide_all(&mut board);
    assert_eq!(all_told(&decisions), ["insufficient resources on 1 node"]);
    // Everybody is looked at again before it is committed.
    let view = commit(&mut board, &view, |head| head.create(plain("b")).unwrap());
    assert_eq!(all_told(&decide_all(&mut board)), [""; 0], "it is on its way");
    commit(&mut board, &view, |head| {
        let meta = head.node(&"a".into()).expect("there").meta;
        head.update(Node { meta, ..node("a", drained) }).unwrap();
    });
    let changed = decide_all(&mut board);
    assert_eq!(all_told(&changed), ["1 node not available for new tasks"], "it is another reason");
    board.failed(&changed[0]);
    assert_eq!(all_told(&decide_all(&mut board)), all_told(&changed), "it was not written");
}

#[test]
fn preassigned_takes_room_and_comes_first() {
    let one = |task: Task| Task { spec: reserving("", 2_000_000_000, 0).spec, ..task };
    let objects = [plain("a").into(), one(task("1")).into(), one(bound("2", "a")).into()];
    let full = "no suitable node (insufficient resources on 1 node)";
    assert_eq!(outcome(objects), ["2@a", full], "§1: preassigned, then the tick");
}

#[test]
fn preassigned_to_an_unknown_node() {
    let view = with([bound("t", "a").into()]);
    let mut board = board(view.clone());
    assert_eq!(all_told(&decide_all(&mut board)), [""; 0], "§7 node unknown: nothing");
    commit(&mut board, &view, |head| head.create(plain("a")).unwrap());
    assert_eq!(all_told(&decide_all(&mut board)), ["t@a"]);
}

#[test]
fn no_suitable_node_keeps_the_message() {
    let mut waiting = task("t");
    waiting.status.message = "pending task scheduling".into();
    let decisions = decide_all(&mut board(with([waiting.into()])));
    let result = decisions[0].result(NOW);
    assert_eq!(&*result.status.err, "no suitable node", "§7 empty explanation");
    assert_eq!(&*result.status.message, "pending task scheduling", "§7 message unchanged");
}

#[test]
fn a_reason_is_told_once_and_told_again_when_it_changes() {
    let view = with([node("a", drained).into(), task("t").into()]);
    let mut board = board(view.clone());
    let decisions = decide_all(&mut board);
    assert_eq!(decisions.len(), 1);
    let view = carry_out(&mut board, &view, decisions);
    assert_eq!(all_told(&decide_all(&mut board)), [""; 0], "§7 no change: skip");
    commit(&mut board, &view, |head| head.create(node("b", drained)).unwrap());
    let told = all_told(&decide_all(&mut board));
    assert_eq!(told, ["no suitable node (2 nodes not available for new tasks)"]);
}

#[test]
fn the_service_is_gone() {
    let stray = Task { service_id: "gone".into(), ..task("t") };
    let view = with([node("a", drained).into(), stray.into()]);
    let mut board = board(view.clone());
    assert_eq!(all_told(&decide_all(&mut board)), [""; 0], "§7 service gone: dropped");
    commit(&mut board, &view, |head| head.create(plain("b")).unwrap());
    assert_eq!(all_told(&decide_all(&mut board)), [""; 0], "§7 service gone: not queued again");
}

#[test]
fn a_task_of_no_service_is_told() {
    let alone = Task { service_id: "".into(), spec_version: None, slot: 0, ..task("t") };
    let told = outcome([node("a", drained).into(), alone.into()]);
    assert_eq!(told, ["no suitable node (1 node not available for new tasks)"]);
}

#[test]
fn the_service_has_a_newer_spec() {
    let view = with([node("a", drained).into(), task("t").into()]);
    let mut board = board(view.clone());
    let view = commit(&mut board, &view, |head| replace_service(head, 2));
    let row = "§7 newer SpecVersion: not re-queued";
    assert_eq!(all_told(&decide_all(&mut board)), [""; 0], "{row}");
    let view = commit(&mut board, &view, |head| head.create(plain("b")).unwrap());
    assert_eq!(all_told(&decide_all(&mut board)), [""; 0], "{row}");
    commit(&mut board, &view, |head| {
        let mut task = head.task(&"t".into()).expect("there").as_ref().clone();
        task.desired_state = TaskState::SHUTDOWN;
        task.status.err = "no suitable node".into();
        head.update(task).unwrap();
    });
    let decisions = decide_all(&mut board);
    assert_eq!(all_told(&decisions), ["t stopped"], "§7 newer SpecVersion, desired ≥ SHUTDOWN");
    let result = decisions[0].result(NOW);
    assert_eq!((result.status.state, &*result.status.err), (TaskState::SHUTDOWN, ""));
}

#[test]
fn a_service_that_was_only_scaled_keeps_its_waiting_tasks() {
    let view = with([node("a", drained).into(), task("t").into()]);
    let mut board = board(view.clone());
    let view = commit(&mut board, &view, |head| {
        let spec = wire::ServiceSpec {
            task: Some((*head.task(&"t".into()).expect("there").spec).clone()),
            ..wire::ServiceSpec::default()
        };
        let meta = head.service(&"s".into()).expect("there").meta;
        let spec = Arc::new(spec);
        head.update(protocol::objects::Service { meta, spec, ..service(2) }).unwrap();
    });
    assert!(all_told(&decide_all(&mut board))[0].starts_with("no suitable node"));
    commit(&mut board, &view, |head| head.create(plain("b")).unwrap());
    assert_eq!(all_told(&decide_all(&mut board)), ["t@b"]);
}

#[test]
fn what_is_written() {
    let view = with([plain("a").into(), task("t").into()]);
    let decisions = decide_all(&mut board(view.clone()));
    let write = |change: &dyn Fn(&mut Transaction)| {
        let mut head = Transaction::begin(&view);
        change(&mut head);
        let head = head.seal(2, NOW).view;
        let mut head = Transaction::begin(&head);
        let failed = write(&mut head, decisions.clone());
        (failed.len(), head.task(&"t".into()).map(|task| task.status.state))
    };
    assert_eq!(write(&|_| {}), (0, Some(TaskState::ASSIGNED)), "§7 commit");
    let gone = |head: &mut Transaction| {
        let id = protocol::id::TaskId::from("t");
        head.remove(protocol::objects::Kind::Task, id.as_id()).unwrap();
    };
    assert_eq!(write(&gone), (1, None), "§7 commit: task gone");
    let changed = |head: &mut Transaction| {
        let task = head.task(&"t".into()).expect("there").as_ref().clone();
        head.update(task).unwrap();
    };
    let row = "§7 commit: a conflict fails this decision";
    assert_eq!(write(&changed), (1, Some(TaskState::PENDING)), "{row}");
    let away = |head: &mut Transaction| {
        let meta = head.node(&"a".into()).expect("there").meta;
        head.update(Node { meta, ..node("a", drained) }).unwrap();
    };
    let row = "§7 commit: the node is as it was";
    assert_eq!(write(&away), (1, Some(TaskState::PENDING)), "{row}");
}

#[test]
fn what_failed_is_decided_again() {
    let view = with([plain("a").into(), reserving("t", 2_000_000_000, 0).into()]);
    let mut board = board(view);
    let decisions = decide_all(&mut board);
    assert_eq!(all_told(&decisions), ["t@a"]);
    assert!(board.is_idle());
    board.failed(&decisions[0]);
    board.verify();
    assert_eq!(all_told(&decide_all(&mut board)), ["t@a"], "§7 rolled back and queued again");
}

#[test]
fn a_failure_that_is_old_news_takes_nothing_back() {
    let view = with([plain("a").into(), reserving("t", 2_000_000_000, 0).into()]);
    let mut board = board(view.clone());
    let first = decide_all(&mut board);
    // Somebody else wrote the task before the first decision got there.
    commit(&mut board, &view, |head| {
        let task = head.task(&"t".into()).expect("there").as_ref().clone();
        head.update(task).unwrap();
    });
    assert_eq!(all_told(&decide_all(&mut board)), ["t@a"]);
    board.failed(&first[0]);
    board.verify();
    assert_eq!(all_told(&decide_all(&mut board)), [""; 0], "the second decision stands");
}
