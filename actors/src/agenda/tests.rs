//! How much is looked at and handed over at once, with a planner that only counts.

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix::Actor;
use protocol::{objects::Secret, wire};
use tokio::{task::LocalSet, time::sleep};

use super::*;
use crate::{
    supervised,
    supervision::{Budget, Census, Tree},
};

/// Needs every key from `first_needed` on, and nothing of them in the store. It behaves as if the
/// store had so many objects.
struct Counter {
    store: Store,
    agenda: Agenda<usize>,
    objects: usize,
    first_needed: usize,
    /// What no entry can hold.
    heavy: Option<usize>,
    /// Keys below are due again as soon as they were decided about, a hundred times.
    endless: usize,
    /// How many keys a transaction has room for.
    room: usize,
    counts: Rc<RefCell<Counts>>,
}

/// How many transactions leave as much to do as there was.
const AGAIN_MAX: usize = 100;

/// What the planner was asked for.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    /// How many keys each transaction was handed.
    handed_over: Vec<usize>,
    /// The keys that there was room for, by transaction.
    written: Vec<BTreeSet<usize>>,
    /// The keys that were looked at, by the handler that did: each asks for the store first.
    looked_at: Vec<Vec<usize>>,
}

supervised!(Counter, mailbox = 4);

impl Counter {
    fn new(store: Store, agenda: Agenda<usize>, counts: Rc<RefCell<Counts>>) -> Self {
        let (objects, first_needed, heavy, endless, room) = (0, 0, None, 0, KEYS_MAX);
        Self { store, agenda, objects, first_needed, heavy, endless, room, counts }
    }
}

impl Actor for Counter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        repeat_full_pass(ctx);
        proceed(self, ctx);
    }
}

impl Planner for Counter {
    type Key = usize;

    fn agenda(&mut self) -> &mut Agenda<usize> {
        &mut self.agenda
    }

    fn store(&self) -> &Store {
        self.counts.borrow_mut().looked_at.push(Vec::new());
        &self.store
    }

    fn next(
        &mut self,
        _: &View,
        after: Option<&Id>,
        count: usize,
        _: &mut Context<Self>,
    ) -> Next<usize> {
        assert!(count <= LOOKED_AT_MAX);
        let first = after.map_or(0, |id| id.as_str().parse::<usize>().expect("a number") + 1);
        let keys: BTreeSet<_> = (first..self.objects).take(count).collect();
        let last = keys.last().filter(|_| keys.len() == count);
        let last = last.map(|last| Id::from(format!("{last:09}").as_str()));
        Next { keys, last }
    }

    fn is_needed(&self, _: &View, key: &usize) -> bool {
        self.counts.borrow_mut().looked_at.last_mut().expect("a handler").push(*key);
        *key >= self.first_needed
    }

    fn decide(&mut self, mut keys: BTreeSet<usize>) -> Decide<usize> {
        self.counts.borrow_mut().handed_over.push(keys.len());
        let is_heavy = self.heavy.is_some_and(|heavy| keys.contains(&heavy));
        let is_over = self.counts.borrow().handed_over.len() > AGAIN_MAX;
        let endless = if is_over { 0 } else { self.endless };
        let left = keys.iter().nth(self.room).copied().map(|first| keys.split_off(&first));
        self.agenda.add(keys.iter().filter(|key| **key < endless).copied());
        self.counts.borrow_mut().written.push(keys);
        Box::new(move |head| {
            if is_heavy {
                let labels = [("x".to_owned(), "y".repeat(2 << 20))].into();
                let annotations = wire::Annotations { labels, ..Default::default() };
                let spec =
                    wire::SecretSpec { annotations: Some(annotations), ..Default::default() };
                let (id, spec) = ("heavy".to_owned(), Some(spec));
                head.create(Secret::from(wire::Secret { id, spec, ..Default::default() }))?;
            }
            Ok(left.unwrap_or_default())
        })
    }
}

/// What a planner does that begins with an agenda, for a while.
fn counts(
    objects: usize,
    first_needed: usize,
    begin: impl Fn(&mut Agenda<usize>) + 'static,
    during: Duration,
) -> Counts {
    let counter = move |store, counts| {
        let mut agenda = Agenda::default();
        begin(&mut agenda);
        Counter { objects, first_needed, ..Counter::new(store, agenda, counts) }
    };
    counts_of(counter, during)
}

fn counts_of(
    counter: impl Fn(Store, Rc<RefCell<Counts>>) -> Counter + 'static,
    during: Duration,
) -> Counts {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let budget = Budget { restarts: 5, within: Duration::from_secs(60) };
        let tree = Tree::root("test", budget, Census::default(), |_| {});
        let store = store::testing::start(&tree, View::default());
        let counts = Rc::<RefCell<Counts>>::default();
        let counted = counts.clone();
        tree.child("counter", move |_| counter(store.clone(), counted.clone()));
        sleep(during).await;
        tree.stop().await;
        counts.take()
    })
}

/// How many keys each transaction was handed, of so many that are due.
fn handed_over(due: usize, first_needed: usize) -> Vec<usize> {
    let begin = move |agenda: &mut Agenda<usize>| agenda.add(0..due);
    counts(0, first_needed, begin, Duration::from_secs(1)).handed_over
}

#[test]
fn no_transaction_is_handed_more_than_it_can_write() {
    assert_eq!(handed_over(3, 0), [3]);
    assert_eq!(handed_over(2 * KEYS_MAX + 1, 0), [KEYS_MAX, KEYS_MAX, 1]);
}

#[test]
fn what_is_needed_is_found_behind_any_number_of_keys_that_are_not() {
    assert_eq!(handed_over(3 * LOOKED_AT_MAX, 3 * LOOKED_AT_MAX - 2), [2]);
    assert_eq!(handed_over(3 * LOOKED_AT_MAX, usize::MAX), []);
}

#[test]
fn what_no_entry_can_hold_is_found_and_holds_up_nobody_else() {
    let counter = |store, counts| {
        let mut agenda = Agenda::default();
        agenda.add(0..8);
        Counter { heavy: Some(5), ..Counter::new(store, agenda, counts) }
    };
    let counts = counts_of(counter, Duration::from_secs(1));
    assert_eq!(counts.handed_over, [8, 4, 4, 2, 1, 3, 1, 1, 1]);
}

/// Everything was looked at in order, `times` times, and never too much of it at once.
#[track_caller]
fn check_walk(counts: &Counts, objects: usize, times: usize) {
    let most = counts.looked_at.iter().map(Vec::len).max().unwrap_or_default();
    assert!(most <= LOOKED_AT_MAX, "one handler looked at {most}");
    let looked_at: Vec<_> = counts.looked_at.iter().flatten().copied().collect();
    let all: Vec<_> = (0..times).flat_map(|_| 0..objects).collect();
    assert!(looked_at == all, "{} looked at of {}", looked_at.len(), all.len());
}

#[test]
fn a_store_of_any_size_is_gone_through_a_few_objects_at_a_time() {
    for objects in [0, 1, LOOKED_AT_MAX, LOOKED_AT_MAX + 1, 20 * LOOKED_AT_MAX + 7] {
        let counts = counts(objects, usize::MAX, Agenda::add_everything, Duration::from_secs(1));
        check_walk(&counts, objects, 1);
        assert_eq!(counts.handed_over, [0; 0]);
    }
}

#[test]
fn what_a_walk_finds_is_written_before_it_goes_on() {
    let (objects, needed) = (3 * LOOKED_AT_MAX, KEYS_MAX + 1);
    let begin = Agenda::add_everything;
    let counts = counts(objects, objects - needed, begin, Duration::from_secs(1));
    assert_eq!(counts.handed_over, [KEYS_MAX, 1]);
    check_walk(&counts, objects, 1);
}

/// What is due is never done: a walk gets on all the same, and what it finds is written.
#[test]
fn a_walk_is_not_held_up_by_keys_that_are_due_again_and_again() {
    let (endless, objects) = (3 * KEYS_MAX, 20 * KEYS_MAX);
    let counter = move |store, counts| {
        let mut agenda = Agenda::default();
        agenda.add(0..endless);
        agenda.add_everything();
        Counter { objects, endless, ..Counter::new(store, agenda, counts) }
    };
    let counts = counts_of(counter, Duration::from_secs(1));
    let meanwhile = counts.looked_at.iter().take(2 * AGAIN_MAX).flatten();
    assert_eq!(meanwhile.collect::<BTreeSet<_>>().len(), objects, "everything was looked at");
    let most = counts.looked_at.iter().map(Vec::len).max();
    assert!(most <= Some(LOOKED_AT_MAX), "one handler looked at {most:?}");
    assert!(counts.handed_over.iter().all(|count| *count <= KEYS_MAX));
}

/// Each comes by before any comes by twice, whether they are too many for a look or for a
/// transaction.
#[test]
fn keys_that_are_due_again_and_again_take_turns_with_the_others() {
    for (endless, room) in [(3 * KEYS_MAX, KEYS_MAX), (3 * KEYS_MAX, 100), (KEYS_MAX, 150)] {
        let due = endless + 1;
        let counter = move |store, counts| {
            let mut agenda = Agenda::default();
            agenda.add(0..due);
            Counter { endless, room, ..Counter::new(store, agenda, counts) }
        };
        let counts = counts_of(counter, Duration::from_secs(1));
        let round = counts.written.iter().take(due.div_ceil(room)).flatten();
        let round: BTreeSet<_> = round.copied().collect();
        assert_eq!(round.len(), due, "{due} with room for {room}");
    }
}

#[test]
fn the_rare_full_pass_goes_the_same_way() {
    let objects = 5 * LOOKED_AT_MAX + 7;
    let counts = counts(objects, usize::MAX, |_| {}, 2 * FULL_PASS_EVERY + Duration::from_secs(1));
    check_walk(&counts, objects, 2);
}

#[test]
fn a_walk_that_is_asked_for_again_ends_where_it_was_then() {
    let id = |number: usize| Id::from(format!("{number:09}").as_str());
    let mut agenda = Agenda::<usize>::default();
    let mut step = |last: Option<usize>, asked_again: bool| {
        if asked_again {
            agenda.add_everything();
        }
        let walk = agenda.walk.take()?;
        let after = walk.after.clone();
        agenda.walk = walk.behind(last.map(id));
        Some(after)
    };
    assert_eq!(step(Some(3), true), Some(None), "from the start");
    assert_eq!(step(Some(6), true), Some(Some(id(3))), "it goes on where it is");
    assert_eq!(step(None, false), Some(Some(id(6))));
    assert_eq!(step(Some(2), false), Some(None), "what is in front of that comes after");
    assert_eq!(step(Some(4), true), Some(Some(id(2))), "asked for in the second round");
    assert_eq!(step(None, false), Some(Some(id(4))));
    assert_eq!(step(Some(2), false), Some(None));
    assert_eq!(step(None, false), None, "all that may have changed was looked at");
}
