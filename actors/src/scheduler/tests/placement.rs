//! Which of the nodes that can run a task gets it (`scheduler-and-allocator` §6, §6.3), and what
//! holds whatever happens.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;

fn on(node: &str, service: &str, id: &str) -> Object {
    Task { service_id: service.into(), ..running(task(id), node) }.into()
}

#[test]
fn fewer_tasks_of_the_service_win_then_fewer_tasks_then_the_lower_id() {
    let cases: [(&str, Vec<Object>, &[&str]); 4] = [
        ("§6.3 in turn", vec![], &["1@a", "2@b", "3@a"]),
        ("§6 rule 2", vec![on("a", "s", "x")], &["1@b", "2@a", "3@b"]),
        ("§6 rule 3", vec![on("a", "other", "x")], &["1@b", "2@a", "3@b"]),
        (
            "§6 rule 2 before rule 3",
            vec![on("a", "s", "x"), on("b", "other", "y"), on("b", "other", "z")],
            &["1@b", "2@a", "3@b"],
        ),
    ];
    for (row, tasks, expected) in cases {
        let nodes = [plain("a").into(), plain("b").into()].into_iter().chain(tasks);
        let tasks = ["1", "2", "3"].map(|id| task(id).into());
        assert_eq!(outcome(nodes.chain(tasks)), expected, "{row}");
    }
}

#[test]
fn the_emptier_nodes_fill_up_first() {
    let nodes = [plain("a").into(), plain("b").into()];
    let there = ["x", "y", "z"].map(|id| on("a", "s", id));
    let tasks = ["1", "2", "3", "4", "5"].map(|id| task(id).into());
    let told = outcome(nodes.into_iter().chain(there).chain(tasks));
    assert_eq!(told, ["1@b", "2@b", "3@b", "4@a", "5@b"], "§6.3 first pass");
}

#[test]
fn a_full_node_is_left_out_and_the_rest_is_told_why() {
    let nodes = [plain("a").into(), plain("b").into()];
    let group = (1..=5).map(|id| reserving(&id.to_string(), 1_000_000_000, 0).into());
    let reason = "no suitable node (insufficient resources on 2 nodes)";
    let told = outcome(nodes.into_iter().chain(group));
    assert_eq!(told, ["1@a", "2@b", "3@a", "4@b", reason], "§6.3 skip, and stop");
}

#[test]
fn services_come_before_tasks_that_stand_alone() {
    let alone = |id: &str| {
        let task = reserving(id, 2_000_000_000, 0);
        Object::from(Task { service_id: "".into(), spec_version: None, ..task })
    };
    let objects = [plain("a").into(), alone("1"), reserving("2", 2_000_000_000, 0).into()];
    let full = "no suitable node (insufficient resources on 1 node)";
    assert_eq!(outcome(objects), ["2@a", full], "§7 grouped ones first");
}

#[test]
fn tasks_that_stand_alone_share_what_is_known_of_nodes_only_if_they_ask_for_the_same() {
    let alone = |id: &str, nano_cpus: i64| {
        let task = reserving(id, nano_cpus, 0);
        Object::from(Task { service_id: "".into(), spec_version: None, ..task })
    };
    let objects = [
        plain("a").into(),
        plain("b").into(),
        alone("1", 1_500_000_000),
        alone("2", 1_500_000_000),
        alone("3", 500_000_000),
        alone("4", 1_500_000_000),
    ];
    let mut told = outcome(objects);
    told.sort();
    let full = "no suitable node (insufficient resources on 2 nodes)";
    assert_eq!(told, ["1@b", "2@a", "3@a", full]);
}

#[test]
fn a_pass_ends_and_the_next_goes_on() {
    let nodes = (0..50).map(|number| plain(&format!("n{number:02}")).into());
    let tasks = (0..300).map(|number| task(&format!("t{number:03}")).into());
    let mut board = board(with(nodes.chain(tasks)));
    let (mut decided, mut passes) = (BTreeMap::new(), 0);
    while !board.is_idle() {
        let decisions = board.decide(begun(), 20, 200);
        assert!(decisions.len() <= 20, "SCHED-4");
        passes += 1;
        for decision in decisions {
            assert!(decided.insert(decision.task.id.clone(), told(&decision)).is_none());
        }
    }
    assert_eq!(decided.len(), 300);
    assert!(passes >= (300 + 50) / 20);
    for number in 0..50 {
        let node = format!("@n{number:02}");
        assert_eq!(decided.values().filter(|told| told.ends_with(&node)).count(), 6, "{node}");
    }
}

#[test]
fn no_more_is_decided_than_may_be() {
    let tasks = (0..30).map(|number| task(&format!("t{number:02}")).into());
    let mut board = board(with(tasks.chain([plain("a").into()])));
    assert_eq!(board.decide(begun(), 1000, 7).len(), 7);
    assert_eq!(board.decide(begun(), 1000, 0).len(), 0);
    assert_eq!(board.decide(begun(), 1000, 100).len(), 23);
    assert!(board.is_idle());
}

/// One step in the life of a task or of a node.
#[derive(Clone, Debug)]
enum Step {
    Task { id: u8, node: u8, state: u8, size: u8, stops: bool },
    Node { id: u8, ready: bool, rack: u8, size: u8 },
    Remove { id: u8, is_node: bool },
    Decide { steps: usize },
    Fail { id: usize },
    Commit,
    Resync,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12u8, 0..4u8, 0..6u8, 0..4u8, any::<bool>())
            .prop_map(|(id, node, state, size, stops)| Step::Task { id, node, state, size, stops }),
        2 => (0..4u8, any::<bool>(), 0..3u8, 0..4u8)
            .prop_map(|(id, ready, rack, size)| Step::Node { id, ready, rack, size }),
        1 => (0..12u8, any::<bool>()).prop_map(|(id, is_node)| Step::Remove { id, is_node }),
        4 => (1..40usize).prop_map(|steps| Step::Decide { steps }),
        1 => (0..4usize).prop_map(|id| Step::Fail { id }),
        3 => Just(Step::Commit),
        1 => Just(Step::Resync),
    ]
}

/// A board and a store that it follows, with decisions on their way between them.
struct Course {
    board: Board,
    view: View,
    in_flight: Vec<Decision>,
}

impl Course {
    fn commit(&mut self, write: impl FnOnce(&mut Transaction)) {
        self.view = commit(&mut self.board, &self.view.clone(), write);
    }

    fn put_task(&mut self, id: u8, node: u8, state: u8, size: u8, stops: bool) {
        let id = format!("t{id:02}");
        let state = [
            TaskState::PENDING,
            TaskState::PENDING,
            TaskState::RUNNING,
            TaskState::FAILED,
            TaskState::COMPLETE,
            TaskState::NEW,
        ][usize::from(state)];
        let mut after = match size {
            0 => publishing(&id, 80),
            size => reserving(&id, i64::from(size) * 400_000_000, GIB / 8),
        };
        let spread = wire::SpreadOver { spread_descriptor: "node.labels.rack".to_owned() };
        let preference = Some(wire::placement_preference::Preference::Spread(spread));
        if size == 2 {
            Arc::make_mut(&mut after.spec).placement = Some(wire::Placement {
                preferences: vec![wire::PlacementPreference { preference }],
                max_replicas: 2,
                ..Default::default()
            });
        }
        after.status.state = state;
        if state > TaskState::PENDING {
            after.node_id = ["n0", "n1", "n2", "gone"][usize::from(node)].into();
        }
        if stops {
            after.desired_state = TaskState::SHUTDOWN;
        }
        self.commit(|head| match head.task(&after.id).cloned() {
            // The spec of a task never changes, nor does its node once it has one.
            Some(before) if before.node_id.is_empty() || state >= before.status.state => {
                let node_id = match before.node_id.is_empty() {
                    true => after.node_id.clone(),
                    false => before.node_id.clone(),
                };
                let spec = before.spec.clone();
                let endpoint = before.endpoint.clone();
                let meta = before.meta;
                head.update(Task { node_id, spec, endpoint, meta, ..after }).unwrap();
            }
            Some(_) => {}
            None => head.create(after).unwrap(),
        });
    }

    fn put_node(&mut self, id: u8, ready: bool, rack: u8, size: u8) {
        let after = node(&format!("n{id}"), |node| {
            let labels = [("rack".to_owned(), rack.to_string())].into();
            let spec = node.spec.as_mut().expect("a spec");
            spec.annotations = Some(wire::Annotations { labels, ..Default::default() });
            if !ready {
                spec.set_availability(Availability::Drain);
            }
            let description = node.description.as_mut().expect("a description");
            let resources = description.resources.as_mut().expect("resources");
            resources.nano_cpus = i64::from(size) * 1_000_000_000;
        });
        self.commit(|head| match head.node(&after.id).map(|node| node.meta) {
            Some(meta) => head.update(Node { meta, ..after }).unwrap(),
            None => head.create(after).unwrap(),
        });
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Task { id, node, state, size, stops } => {
                self.put_task(id, node, state, size, stops);
            }
            Step::Node { id, ready, rack, size } => self.put_node(id, ready, rack, size),
            Step::Remove { id, is_node } => self.commit(|head| {
                let (kind, id) = match is_node {
                    true => (protocol::objects::Kind::Node, format!("n{}", id % 4)),
                    false => (protocol::objects::Kind::Task, format!("t{id:02}")),
                };
                head.remove(kind, &id.as_str().into()).ok();
            }),
            Step::Decide { steps } => {
                self.in_flight.extend(self.board.decide(begun(), steps, 200));
            }
            Step::Fail { id } if id < self.in_flight.len() => {
                let decision = self.in_flight.remove(id);
                self.board.failed(&decision);
            }
            Step::Fail { .. } => {}
            Step::Commit => {
                let (decisions, mut failed) = (std::mem::take(&mut self.in_flight), Vec::new());
                self.commit(|head| failed = write(head, decisions));
                failed.iter().for_each(|decision| self.board.failed(decision));
            }
            Step::Resync => self.board.resync(self.view.clone()),
        }
        self.board.verify();
    }

    /// Lets everything come to rest, and returns which task is where, or what it is told.
    fn rest(mut self) -> BTreeMap<String, String> {
        for _ in 0..20 {
            self.take(Step::Decide { steps: 1000 });
            self.take(Step::Commit);
        }
        assert!(self.board.is_idle() && self.in_flight.is_empty());
        let said = |task: &Arc<Task>| {
            let text = match task.node_id.is_empty() {
                true => task.status.err.to_string(),
                false => format!("@{}", task.node_id),
            };
            (task.id.to_string(), text)
        };
        self.view.tasks().map(said).collect()
    }
}

fn three_nodes() -> View {
    with(["n0", "n1", "n2"].map(|id| plain(id).into()))
}

proptest! {
    /// What is kept up equals what a fresh look says (SCHED-5), whatever comes in whatever order,
    /// and a board that has seen it all decides as one that has not.
    #[test]
    fn the_board_follows_the_store(steps in vec(step(), 1..60)) {
        let view = three_nodes();
        let mut course = Course { board: board(view.clone()), view, in_flight: Vec::new() };
        steps.into_iter().for_each(|step| course.take(step));
        course.take(Step::Commit);
        let fresh = Course {
            board: board(course.view.clone()),
            view: course.view.clone(),
            in_flight: Vec::new(),
        };
        prop_assert_eq!(course.rest(), fresh.rest());
    }

    /// Deciding again what is decided changes nothing.
    #[test]
    fn deciding_twice_decides_nothing_more(steps in vec(step(), 1..40)) {
        let view = three_nodes();
        let mut course = Course { board: board(view.clone()), view, in_flight: Vec::new() };
        steps.into_iter().for_each(|step| course.take(step));
        for _ in 0..20 {
            course.take(Step::Decide { steps: 1000 });
            course.take(Step::Commit);
        }
        let mut again = board(course.view);
        prop_assert_eq!(decide_all(&mut again), []);
    }

    /// No node is promised more than it has, and the order in which tasks came is no matter.
    #[test]
    fn no_node_is_promised_more_than_it_has(
        sizes in vec((1..4i64, 0..5i64), 1..80),
        count in 1..6usize,
        turn in 0..80usize,
    ) {
        let nodes = || (0..count).map(|id| Object::from(plain(&format!("n{id}"))));
        let tasks: Vec<_> = sizes.iter().enumerate().map(|(number, (cpus, memory))| {
            reserving(&number.to_string(), cpus * 300_000_000, memory * GIB / 4)
        }).collect();
        let decisions = decide_all(&mut board(with(nodes().chain(tasks.iter().cloned().map(Object::from)))));
        let (mut used, mut placed) = (BTreeMap::<_, (i64, i64)>::new(), 0);
        for decision in &decisions {
            if let Outcome::Placed { node, .. } = &decision.outcome {
                let number: usize = decision.task.id.as_str().parse().expect("a number");
                let used = used.entry(node.clone()).or_default();
                used.0 += sizes[number].0 * 300_000_000;
                used.1 += sizes[number].1 * GIB / 4;
                placed += 1;
            }
        }
        prop_assert!(used.values().all(|(cpus, memory)| *cpus <= 2_000_000_000 && *memory <= 4 * GIB));
        prop_assert_eq!(decisions.len(), tasks.len(), "all are placed or told, once: {}", placed);

        let mut turned = tasks.clone();
        turned.rotate_left(turn % tasks.len());
        let view = with(nodes());
        let mut one_by_one = board(view.clone());
        commit(&mut one_by_one, &view, |head| {
            turned.into_iter().for_each(|task| head.create(task).unwrap());
        });
        let again: Vec<_> = decide_all(&mut one_by_one).iter().map(told).collect();
        prop_assert_eq!(again, decisions.iter().map(told).collect::<Vec<_>>());
    }
}
