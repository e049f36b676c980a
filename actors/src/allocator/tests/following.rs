//! Promises: what was decided is in use until it is known what came of it.

use std::collections::BTreeSet;

use super::*;
use crate::store::Changes;

/// A network with two addresses to give.
fn two() -> Object {
    configured("n", &[("10.9.0.0/29", "10.9.0.4/31", "")]).into()
}

struct Flight {
    rig: Rig,
    /// What waits to be written.
    decisions: Vec<super::super::logic::decision::Decision>,
}

impl Flight {
    /// Decides about everything, and writes nothing.
    fn new(mut rig: Rig, objects: impl IntoIterator<Item = Object>) -> Self {
        rig.commit(|head| objects.into_iter().for_each(|object| head.create(object).unwrap()));
        let view = rig.view.clone();
        let decisions = rig.board.decide(&view, NOW, 100).decisions;
        Self { rig, decisions }
    }

    /// Writes what was decided, without telling the board; returns what it has to be told.
    fn write(&mut self) -> (View, Changes, usize) {
        let mut transaction = Transaction::begin(&self.rig.view);
        let failed = write(&mut transaction, std::mem::take(&mut self.decisions)).unwrap();
        let count = failed.len();
        self.rig.board.failed(failed);
        let sealed = transaction.seal(self.rig.view.index() + 1, NOW);
        self.rig.view = sealed.view;
        (self.rig.view.clone(), sealed.changes, count)
    }
}

fn pending(rig: &Rig) -> Vec<String> {
    let tasks = rig.view.tasks().filter(|task| task.status.state == TaskState::PENDING);
    tasks.map(|task| task.id.to_string()).collect()
}

#[test]
fn what_is_promised_is_not_promised_again() {
    let mut flight = Flight::new(Rig::new([two()]), [attached("a", "", &["n"]).into()]);
    let view = flight.rig.view.clone();
    assert_eq!(flight.rig.board.decide(&view, NOW, 100).decisions.len(), 0);
    let others = ["b", "c"].map(|id| attached(id, "", &["n"]).into());
    flight.rig.create(others);
    assert_eq!(pending(&flight.rig), ["b"], "one address was left");
    let (view, changes, failed) = flight.write();
    assert_eq!(failed, 0);
    flight.rig.board.follow(view, &changes);
    flight.rig.settle();
    assert_eq!(pending(&flight.rig), ["a", "b"]);
}

#[test]
fn what_was_not_written_is_free_and_decided_again() {
    let mut flight = Flight::new(Rig::new([two()]), [attached("a", "", &["n"]).into()]);
    flight.rig.create(["b", "c"].map(|id| attached(id, "", &["n"]).into()));
    let dues: Vec<_> = flight.decisions.drain(..).map(|decision| decision.decided()).collect();
    flight.rig.board.failed(dues);
    flight.rig.settle();
    assert_eq!(pending(&flight.rig).len(), 2, "no address was lost");
    assert!(pending(&flight.rig).contains(&"b".to_owned()));
}

#[test]
fn a_write_that_failed_takes_nothing_from_a_later_decision() {
    let mut flight = Flight::new(Rig::new([two()]), [attached("a", "", &["n"]).into()]);
    // The task changes while the first write is on its way, and is decided on again.
    flight.rig.commit(|head| {
        let task = Task::clone(head.task(&"a".into()).expect("there"));
        head.update(Task { desired_state: TaskState::READY, ..task }).unwrap();
    });
    let view = flight.rig.view.clone();
    let later = flight.rig.board.decide(&view, NOW, 100).decisions;
    assert_eq!(later.len(), 1);
    let (view, changes, failed) = flight.write();
    assert_eq!(failed, 1);
    flight.rig.board.follow(view, &changes);
    flight.rig.create(["b", "c"].map(|id| attached(id, "", &["n"]).into()));
    assert_eq!(pending(&flight.rig), ["b"], "the later decision has the other address");
}

#[test]
fn a_write_holds_only_for_what_was_decided_on() {
    type Change = fn(&mut Transaction);
    let rows: [(&str, Change); 4] = [
        ("the task", |head| {
            let task = Task::clone(head.task(&"t".into()).expect("there"));
            head.update(Task { desired_state: TaskState::SHUTDOWN, ..task }).unwrap();
        }),
        ("its service", |head| {
            let mut service = Service::clone(head.service(&"s".into()).expect("there"));
            Arc::make_mut(&mut service.spec).endpoint = Some(EndpointSpec::default());
            head.update(service).unwrap();
        }),
        ("its network", |head| {
            let network = Network::clone(head.network(&"n".into()).expect("there"));
            head.update(network).unwrap();
        }),
        ("the task is gone", |head| {
            head.remove(protocol::objects::Kind::Task, &"t".into()).unwrap();
        }),
    ];
    for (row, change) in rows {
        let rig = Rig::new([two(), service("s", &[], &["n"]).into()]);
        let mut flight = Flight::new(rig, [attached("t", "s", &["n"]).into()]);
        flight.rig.commit(change);
        let (view, changes, failed) = flight.write();
        assert_eq!(failed, 1, "{row}");
        flight.rig.board.follow(view, &changes);
        flight.rig.settle();
        let others = ["u", "v"].map(|id| attached(id, "", &["n"]).into());
        flight.rig.create(others);
        let in_use: BTreeSet<_> = pending(&flight.rig).into_iter().collect();
        assert_eq!(in_use.len(), 1, "{row}: the service has the other address");
    }
}

#[test]
fn a_promise_outlives_a_fresh_look_while_it_may_be_kept() {
    let mut flight = Flight::new(Rig::new([two()]), [attached("a", "", &["n"]).into()]);
    let view = flight.rig.view.clone();
    flight.rig.board.resync(view);
    flight.rig.create(["b", "c"].map(|id| attached(id, "", &["n"]).into()));
    assert_eq!(pending(&flight.rig), ["b"]);
    let (view, ..) = flight.write();
    // The announcement is lost in a resync.
    flight.rig.board.resync(view);
    flight.rig.settle();
    assert_eq!(pending(&flight.rig), ["a", "b"]);
}

#[test]
fn what_is_announced_may_be_older_than_what_was_decided_on() {
    let mut rig = Rig::new([two()]);
    rig.commit(|head| head.create(attached("a", "", &["n"])).unwrap());
    // Two changes that the board is told late.
    let mut announcements = Vec::new();
    for _ in 0..2 {
        let mut transaction = Transaction::begin(&rig.view);
        let task = Task::clone(transaction.task(&"a".into()).expect("there"));
        transaction.update(task).unwrap();
        let sealed = transaction.seal(rig.view.index() + 1, NOW);
        rig.view = sealed.view.clone();
        announcements.push((sealed.view, sealed.changes));
    }
    let view = rig.view.clone();
    let mut flight = Flight { decisions: rig.board.decide(&view, NOW, 100).decisions, rig };
    assert_eq!(flight.decisions.len(), 1);
    for (view, changes) in announcements {
        flight.rig.board.follow(view, &changes);
    }
    flight.rig.create(["b", "c"].map(|id| attached(id, "", &["n"]).into()));
    assert_eq!(pending(&flight.rig), ["b"]);
    let (view, changes, failed) = flight.write();
    assert_eq!(failed, 0);
    flight.rig.board.follow(view, &changes);
    assert_eq!(pending(&flight.rig), ["a", "b"]);
}

#[test]
fn what_may_be_written_yet_stays_promised_until_all_is_known() {
    let mut flight = Flight::new(Rig::new([two()]), [attached("a", "", &["n"]).into()]);
    flight.decisions.clear();
    flight.rig.create(["b", "c"].map(|id| attached(id, "", &["n"]).into()));
    assert_eq!(pending(&flight.rig), ["b"]);
    let view = flight.rig.view.clone();
    flight.rig.board.begin(view);
    flight.rig.settle();
    assert_eq!(pending(&flight.rig), ["a", "b"], "it was not written");
}

#[test]
fn what_comes_late_does_not_lead_back() {
    let mut flight = Flight::new(Rig::new([two()]), [attached("a", "", &["n"]).into()]);
    let old = flight.rig.view.clone();
    let (view, changes, _) = flight.write();
    // An allocator that begins sees the write before it is announced.
    flight.rig.board.begin(view.clone());
    flight.rig.board.resync(old);
    flight.rig.create(["b", "c"].map(|id| attached(id, "", &["n"]).into()));
    assert_eq!(pending(&flight.rig), ["a", "b"]);
    flight.rig.board.follow(view, &changes);
    flight.rig.settle();
    assert_eq!(pending(&flight.rig), ["a", "b"]);
}

#[test]
fn a_number_that_two_have_is_free_when_both_are_gone() {
    let mut rig = Rig::new([two()]);
    rig.create([attached("a", "", &["n"]).into()]);
    // A store from elsewhere.
    let twin = Task { id: "twin".into(), ..Task::clone(&rig.task("a")) };
    rig.create([twin.into(), attached("b", "", &["n"]).into(), attached("c", "", &["n"]).into()]);
    assert_eq!(rig.state("c").0, TaskState::NEW);
    rig.remove(task("a", ""));
    assert_eq!(rig.state("c").0, TaskState::NEW, "the twin has it still");
    rig.remove(task("twin", ""));
    assert_eq!(rig.state("c").0, TaskState::PENDING);
}

#[test]
fn what_cannot_be_written_waits_for_time_to_pass() {
    let mut flight = Flight::new(Rig::new([two()]), [attached("a", "", &["n"]).into()]);
    let decided = flight.decisions.remove(0).decided();
    flight.rig.board.give_up(decided);
    assert_eq!(flight.rig.settle(), 0);
    flight.rig.board.retry();
    assert_eq!(flight.rig.settle(), 1);
}
