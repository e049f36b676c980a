//! The rows of `scheduler-and-allocator` Part A that belong to no other table, and those where we
//! differ on purpose, as `docs/design/scheduler.md` says.

use std::{collections::BTreeMap, time::Duration};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn all_told(board: &mut Board) -> Vec<String> {
    decide_all(board).iter().map(told).collect()
}

/// A node that has everything that a constraint can ask for.
fn described() -> Node {
    node("id1", |node| {
        let labels = [("disk".to_owned(), "ssd".to_owned())];
        let annotations = wire::Annotations { labels: labels.into(), ..Default::default() };
        node.spec.as_mut().expect("a spec").annotations = Some(annotations);
        node.status.as_mut().expect("a status").addr = "10.1.2.3".to_owned();
        node.role = wire::NodeRole::Manager.into();
        let description = node.description.as_mut().expect("a description");
        let engine = description.engine.as_mut().expect("an engine");
        engine.labels.insert("zone".to_owned(), "x".to_owned());
    })
}

#[test]
fn constraints() {
    let cases = [
        ("§5 node.id", "node.id == id1", true),
        ("§5 node.id: values in any case", "node.id == ID1", true),
        ("§5 node.id: another", "node.id != id1", false),
        ("§5 node.hostname", "node.hostname == host-id1", true),
        ("§5 node.ip: an address", "node.ip == 10.1.2.3", true),
        ("§5 node.ip: a network", "node.ip == 10.1.0.0/16", true),
        ("§5 node.ip: outside", "node.ip != 10.1.0.0/16", false),
        ("§5 node.ip: neither, ==", "node.ip == somewhere", false),
        ("§5 node.ip: neither, !=", "node.ip != somewhere", false),
        ("§5 node.role: the observed one", "node.role == manager", true),
        ("§5 node.role: names in any case", "NODE.ROLE != Worker", true),
        ("§5 node.platform.os", "node.platform.os == linux", true),
        ("§5 node.platform.arch: as it is", "node.platform.arch == x86_64", true),
        ("§5 node.platform.arch: not normalised", "node.platform.arch == amd64", false),
        ("§5 node.labels", "node.labels.disk == SSD", true),
        ("§5 node.labels: the name in its case", "node.labels.Disk == ssd", false),
        ("§5 node.labels: missing, ==", "node.labels.none == x", false),
        ("§5 node.labels: missing, !=", "node.labels.none != x", true),
        ("§5 engine.labels", "engine.labels.zone == x", true),
        ("§5 engine.labels: missing, !=", "engine.labels.none != x", true),
        ("§5 anything else, ==", "node.colour == red", false),
        ("§5 anything else, !=", "node.colour != red", false),
        ("§5 no globbing", "node.hostname == host-*", false),
        ("§5 the whole string", "node.hostname == host", false),
    ];
    for (row, expression, expected) in cases {
        let asks = asking("t", |spec| {
            let constraints = vec![expression.to_owned()];
            spec.placement = Some(wire::Placement { constraints, ..Default::default() });
        });
        assert_eq!(fits(described(), &asks), expected, "{row}");
    }
}

#[test]
fn what_is_free_again() {
    let ended = |task: Task| {
        let status = TaskStatus { state: TaskState::COMPLETE, ..TaskStatus::default() };
        Task { status, ..task }
    };
    let cases = [
        ("§2 available: processors", reserving("x", 2_000_000_000, 0), reserving("t", 1, 0)),
        ("§2 available: memory", reserving("x", 0, 4 * GIB), reserving("t", 0, 1)),
        ("§2 used host ports", publishing("x", 80), publishing("t", 80)),
    ];
    for (row, holder, asking) in cases {
        let view = with([plain("a").into(), running(holder.clone(), "a").into(), asking.into()]);
        let mut board = board(view.clone());
        let waits = all_told(&mut board);
        assert!(waits[0].starts_with("no suitable node ("), "{row}: taken");
        commit(&mut board, &view, |head| {
            let meta = head.task(&"x".into()).expect("there").meta;
            head.update(Task { meta, ..ended(running(holder.clone(), "a")) }).unwrap();
        });
        assert_eq!(all_told(&mut board), ["t@a"], "{row}: free again");
    }
}

/// SwarmKit counts only what it looked at since the last node that passed.
#[test]
fn every_node_counts_in_what_a_task_is_told() {
    let objects = [
        node("a", drained).into(),
        plain("b").into(),
        node("c", drained).into(),
        reserving("1", 2_000_000_000, 0).into(),
        reserving("2", 2_000_000_000, 0).into(),
    ];
    let all = "no suitable node (2 nodes not available for new tasks; \
               insufficient resources on 1 node)";
    assert_eq!(outcome(objects), ["1@b", all], "§3 counters");
}

/// Tasks that failed on node `a`, and the board that has seen it.
fn failed_on_a(count: usize, spec_version: Option<u64>) -> (Board, View) {
    let mut view = with([plain("a").into(), plain("b").into()]);
    let mut board = board(view.clone());
    for number in 0..count {
        let id = format!("x{number}");
        let ran = Task { spec_version, ..running(task(&id), "a") };
        view = commit(&mut board, &view, |head| head.create(ran).unwrap());
        view = commit(&mut board, &view, |head| {
            let mut task = head.task(&id.as_str().into()).expect("there").as_ref().clone();
            task.status.state = TaskState::FAILED;
            head.update(task).unwrap();
        });
    }
    (board, view)
}

#[test]
fn failures() {
    let (mut board, view) = failed_on_a(5, None);
    let unversioned = Task { spec_version: None, ..task("t") };
    commit(&mut board, &view, |head| head.create(unversioned).unwrap());
    let row = "§4 tasks without SpecVersion count together";
    assert_eq!(told(&board.decide(begun(), 1000, 1000)[0]), "t@b", "{row}");

    let (mut board, view) = failed_on_a(5, Some(1));
    commit(&mut board, &view, |head| {
        head.create(running(task("y"), "b")).unwrap();
        head.create(running(task("z"), "b")).unwrap();
        head.create(task("t")).unwrap();
    });
    let row = "§6 rule 1: failures before tasks of the service";
    assert_eq!(told(&board.decide(begun(), 1000, 1000)[0]), "t@b", "{row}");

    let (mut board, mut view) = failed_on_a(5, Some(1));
    for number in 0..5 {
        let id = format!("y{number}");
        view = commit(&mut board, &view, |head| head.create(running(task(&id), "b")).unwrap());
        view = commit(&mut board, &view, |head| {
            let mut task = head.task(&id.as_str().into()).expect("there").as_ref().clone();
            task.status.state = TaskState::FAILED;
            head.update(task).unwrap();
        });
    }
    commit(&mut board, &view, |head| {
        head.create(running(task("z"), "a")).unwrap();
        head.create(task("t")).unwrap();
    });
    let row = "§6 rule 1: equal, so the next rule decides";
    assert_eq!(told(&board.decide(begun(), 1000, 1000)[0]), "t@b", "{row}");
}

#[test]
fn what_nobody_remembers_of_a_node_does_not_count_against_it() {
    let (mut board, view) = failed_on_a(5, Some(1));
    let view = commit(&mut board, &view, |head| head.create(task("t")).unwrap());
    let decisions = board.decide(begun(), 1000, 1000);
    assert_eq!(told(&decisions[0]), "t@b", "§4 avoided");
    let view = carry_out(&mut board, &view, decisions);
    board.forget_old_failures(begun() + HOUR);
    commit(&mut board, &view, |head| head.create(task("u")).unwrap());
    let later = board.decide(begun() + HOUR, 1000, 1000);
    assert_eq!(told(&later[0]), "u@a", "§4 purged");
}

#[test]
fn distribution_over_branches() {
    let labelled = |id: &str, rack: &str| {
        node(id, |node| {
            let labels = [("rack".to_owned(), rack.to_owned())].into();
            let annotations = Some(wire::Annotations { labels, ..Default::default() });
            node.spec.as_mut().expect("a spec").annotations = annotations;
        })
    };
    let over = |id: &str| {
        let spread = wire::SpreadOver { spread_descriptor: "node.labels.rack".to_owned() };
        let preference = Some(wire::placement_preference::Preference::Spread(spread));
        asking(id, |spec| {
            spec.placement = Some(wire::Placement {
                preferences: vec![wire::PlacementPreference { preference }],
                ..Default::default()
            });
        })
    };
    // Racks a, b and c have five, one and no tasks; how the next are shared out.
    let cases = [
        ("§6.2 the emptiest first", 1, [0, 0, 1]),
        ("§6.2 up to the target", 3, [0, 1, 2]),
        ("§6.2 a branch above the target gets nothing", 9, [0, 4, 5]),
        ("§6.2 then evenly", 12, [1, 5, 6]),
        ("§6.2 the remainder, one each", 14, [2, 6, 6]),
    ];
    for (row, count, expected) in cases {
        let racks = ["a", "b", "c"].map(|rack| Object::from(labelled(rack, rack)));
        let there = [("a", 5), ("b", 1)].into_iter().flat_map(|(node, count)| {
            (0..count).map(move |number| (node, format!("{node}{number}")))
        });
        let there = there.map(|(node, id)| Object::from(running(over(&id), node)));
        let asked = (0..count).map(|number| Object::from(over(&format!("t{number:02}"))));
        let mut shares = BTreeMap::from([("a", 0), ("b", 0), ("c", 0)]);
        for told in outcome(racks.into_iter().chain(there).chain(asked)) {
            let (_, node) = told.split_once('@').expect("it has a node");
            *shares.get_mut(node).expect("one of three") += 1;
        }
        assert_eq!(shares.into_values().collect::<Vec<_>>(), expected, "{row}");
    }
}

#[test]
fn groups() {
    let of = |id: &str, version: u64| Task { spec_version: Some(version), ..reserving(id, 1, 0) };
    let view = with([of("1", 1).into(), of("2", 2).into(), of("3", 1).into()]);
    let mut board = board(view.clone());
    let view = commit(&mut board, &view, |head| {
        let meta = head.service(&"s".into()).expect("there").meta;
        let spec_version = Some(wire::Version { index: 2 });
        let newer = wire::Service { id: "s".to_owned(), spec_version, ..Default::default() };
        head.update(protocol::objects::Service { meta, ..newer.into() }).unwrap();
    });
    let decisions = decide_all(&mut board);
    let ids: Vec<_> = decisions.iter().map(|decision| decision.task.id.as_str()).collect();
    assert_eq!(ids, ["2"], "§7 grouped by service and spec version: the older waits no longer");
    assert_eq!(told(&decisions[0]), "no suitable node", "§7 leftover tasks");
    commit(&mut board, &view, |head| head.create(plain("a")).unwrap());
    assert_eq!(all_told(&mut board), ["2@a"], "§7 re-queued");
}

#[test]
fn a_batch_that_was_not_written_is_decided_again_as_a_whole() {
    let view = with([plain("a").into(), task("1").into(), task("2").into(), task("3").into()]);
    let mut board = board(view);
    let decisions = decide_all(&mut board);
    assert_eq!(decisions.len(), 3);
    decisions.iter().for_each(|decision| board.failed(decision));
    board.verify();
    assert_eq!(decide_all(&mut board), decisions, "§7 whole batch error: all decisions fail");
}
