//! Stores that are too large to be looked at in one pass.

use super::*;
use crate::allocator::logic::board::Due;

/// How much a pass decides about in these tests, and so ten times as many objects it looks at.
const AT_MOST: usize = 2;

/// A store where everything that holds something holds it, and a board that begins with it.
fn large() -> Rig {
    let nodes = (0..20).map(|number| Object::from(node(&format!("m{number:02}"))));
    let networks = [overlay("n").into(), ingress("i").into()];
    let mut rig = Rig::new(networks.into_iter().chain(nodes));
    let ports = [port("web", 80, 0)];
    rig.create((0..20).map(|number| service(&format!("s{number:02}"), &ports, &["n"]).into()));
    let task = |number| attached(&format!("t{number:02}"), &format!("s{:02}", number % 20), &["n"]);
    rig.create((0..60).map(|number| task(number).into()));
    rig
}

/// Decides until nothing is left; returns how many passes that took, and what was decided about.
fn passes(rig: &mut Rig) -> (usize, Vec<Due>) {
    let (mut passes, mut dues) = (0, Vec::new());
    while !rig.board.is_idle() {
        let view = rig.view.clone();
        let pass = rig.board.decide(&view, NOW, AT_MOST);
        assert!(pass.decisions.len() <= AT_MOST && pass.overlooked.is_empty());
        dues.extend(pass.decisions.iter().map(|decision| decision.due.clone()));
        passes += 1;
    }
    (passes, dues)
}

#[test]
fn nothing_is_decided_before_all_is_known_and_a_pass_takes_in_no_more_than_it_may() {
    let mut rig = large();
    rig.commit(|head| head.create(attached("new", "", &["n"])).unwrap());
    let mut rig = rig.restarted();
    let objects = rig.view.objects().count();
    let whole = objects / (10 * AT_MOST);
    for _ in 0..whole {
        let view = rig.view.clone();
        let pass = rig.board.decide(&view, NOW, AT_MOST);
        assert!(pass.decisions.is_empty() && !rig.board.is_idle());
        assert!(!rig.board.is_taken_in(), "a pass takes in too much");
    }
    let (_, dues) = passes(&mut rig);
    assert_eq!(dues, [Due::Task("new".into())]);
    rig.board.verify();
}

#[test]
fn what_changes_while_a_store_is_taken_in_is_neither_lost_nor_counted_twice() {
    let first = large();
    for steps in 0..12 {
        let mut rig = first.restarted();
        for _ in 0..steps {
            let view = rig.view.clone();
            assert!(rig.board.decide(&view, NOW, 1).decisions.is_empty());
        }
        // In front of where it is, and behind.
        rig.commit(|head| {
            for id in ["t00", "t59"] {
                let mut task = Task::clone(head.task(&id.into()).expect("there"));
                task.status.state = TaskState::FAILED;
                head.update(task).unwrap();
                head.create(attached(&format!("{id}-again"), "", &["n"])).unwrap();
            }
            for id in ["s01", "s18"] {
                let id = protocol::id::ServiceId::from(id);
                head.remove(protocol::objects::Kind::Service, id.as_id()).unwrap();
            }
            head.create(node("m005")).unwrap();
        });
        rig.settle();
        assert_eq!(rig.state("t00-again").0, TaskState::PENDING, "after {steps} passes");
        assert_eq!(rig.state("t59-again").0, TaskState::PENDING, "after {steps} passes");
        assert_eq!(rig.restarted().settle(), 0, "after {steps} passes");
    }
}

#[test]
fn a_board_that_begins_anew_looks_on_where_it_left_off() {
    let mut rig = large();
    for _ in 0..3 {
        let view = rig.view.clone();
        rig.board.resync(view.clone());
        rig.board.decide(&view, NOW, 1);
    }
    let mut other = large();
    for rig in [&mut rig, &mut other] {
        rig.remove(task("t59", ""));
        rig.create([attached("new", "", &["n"]).into()]);
    }
    assert_eq!(rig.places("new"), other.places("new"), "it does not give the oldest again at once");
}

#[test]
fn what_changed_networks_may_ask_for_is_looked_at_a_few_at_a_time() {
    let mut rig = large();
    rig.create([overlay("other").into()]);
    let change = |head: &mut Transaction| {
        let network = Network::clone(head.network(&"other".into()).expect("there"));
        head.update(network).unwrap();
    };
    let go = |head: &mut Transaction| {
        let id = protocol::id::NetworkId::from("other");
        head.remove(protocol::objects::Kind::Network, id.as_id()).unwrap();
    };
    // Twenty nodes, and as many services where a network is gone.
    rig.commit(change);
    assert_eq!(sweep(&mut rig, 7), 3);
    rig.commit(change);
    rig.board.sweep_on(&mut 7);
    rig.commit(change);
    assert_eq!(sweep(&mut rig, 7), 2 + 3, "it goes once more, from the first one on");
    rig.commit(go);
    assert_eq!(sweep(&mut rig, 7), 6);
    assert_eq!(passes(&mut rig).1, [], "they need nothing else");
}

/// Goes on until everything was swept, by so many objects at a time; returns how often that took.
fn sweep(rig: &mut Rig, steps: usize) -> usize {
    let mut slices = 0;
    while rig.board.sweep.is_some() {
        rig.board.sweep_on(&mut { steps });
        slices += 1;
    }
    slices
}

#[test]
fn the_rare_look_at_everything_takes_many_passes_and_wakes_what_waits() {
    let mut rig = large();
    let objects = rig.view.objects().count();
    rig.create([attached("waits", "", &["unknown"]).into(), task("stray", "gone").into()]);
    assert_eq!(rig.state("stray").0, TaskState::NEW, "its service is not there");
    rig.board.retry();
    let (passes, dues) = passes(&mut rig);
    assert!(passes >= objects / (10 * AT_MOST), "{passes} passes for {objects} objects");
    assert_eq!(dues, [], "it is told what it was told before");
}
