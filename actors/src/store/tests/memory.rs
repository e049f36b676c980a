//! The actor: groups, the head, what callers and subscribers are told.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use bytes::Bytes;
use tokio::{
    task::LocalSet,
    time::{Instant, sleep, timeout},
};

use super::*;
use crate::{
    environment::testing::environment,
    store::{
        Change, Committed, Event, Events, MemoryStore, NotWritten, Propose, Published, Refused,
        Store, TransactError, leading::GROUP_ENTRIES, testing,
    },
    supervised,
    supervision::{
        Address, Budget, Census, Tree,
        testing::{When, doom, listen},
    },
};

type Outcome = Result<(), TransactError<Error>>;

pub(super) fn run<T>(test: impl AsyncFnOnce(&Tree) -> T) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let budget = Budget { restarts: 5, within: Duration::from_secs(60) };
        let tree = Tree::root("test", budget, Census::default(), |_| {});
        let result = test(&tree).await;
        tree.stop().await;
        result
    })
}

pub(super) fn create(store: &Store, id: &'static str) -> impl Future<Output = Outcome> + use<> {
    store.transact(move |head| head.create(service(id, id)))
}

/// A raft that takes proposals, and commits, refuses or loses what the test says.
struct Raft {
    taken: Rc<RefCell<Vec<Propose>>>,
    refuse: Rc<RefCell<Option<Refused>>>,
}

impl Actor for Raft {
    type Context = Context<Self>;
}

supervised!(Raft, mailbox = 16);

impl Handler<Propose> for Raft {
    type Result = Result<(), Refused>;

    fn handle(&mut self, propose: Propose, _: &mut Context<Self>) -> Self::Result {
        match *self.refuse.borrow() {
            Some(refused) => Err(refused),
            None => {
                self.taken.borrow_mut().push(propose);
                Ok(())
            }
        }
    }
}

/// Lets raft be busy for a second, and then die.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Die;

impl Handler<Die> for Raft {
    type Result = ();

    fn handle(&mut self, _: Die, ctx: &mut Context<Self>) {
        let busy = sleep(Duration::from_secs(1)).into_actor(self);
        ctx.wait(busy.map(|(), _, _| panic!("a bug in raft")));
    }
}

pub(super) struct Rig {
    pub(super) store: Store,
    memory: Address<MemoryStore>,
    raft: Address<Raft>,
    taken: Rc<RefCell<Vec<Propose>>>,
    refuse: Rc<RefCell<Option<Refused>>>,
}

impl Rig {
    pub(super) async fn leading(tree: &Tree) -> Self {
        let (published, taken) = (Published::default(), Rc::<RefCell<Vec<_>>>::default());
        let refuse = Rc::new(RefCell::new(None));
        let memory = MemoryStore::factory(published.clone(), environment());
        let memory = tree.child("store", memory);
        let raft = {
            let (taken, refuse) = (taken.clone(), refuse.clone());
            move |_| Raft { taken: taken.clone(), refuse: refuse.clone() }
        };
        let raft = tree.child("raft", raft);
        let store = Store::new(memory.clone(), published);
        let rig = Self { store, memory, raft, taken, refuse };
        rig.recover(1).await;
        rig.tell(1, vec![Event::Lead { term: 2, next_index: 1 }]).await;
        rig
    }

    async fn recover(&self, epoch: u64) {
        let proposals = self.raft.recipient();
        self.tell(epoch, vec![Event::Recovered { view: View::default(), proposals }]).await;
    }

    pub(super) async fn tell(&self, epoch: u64, events: Vec<Event>) {
        self.memory.send(Events { epoch, events }).await.expect("handled");
    }

    /// What raft has taken since the last question, as entries of a term.
    pub(super) fn taken(&self, term: u64) -> Vec<Committed> {
        let groups = self.taken.take();
        let entries = groups.into_iter().flat_map(|group| (group.first_index..).zip(group.entries));
        entries.map(|(index, entry)| Committed { index, term, data: entry.for_store() }).collect()
    }
}

/// Lets everything run that can.
pub(super) async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

pub(super) fn spawn<T: 'static>(
    future: impl Future<Output = T> + 'static,
) -> tokio::task::JoinHandle<T> {
    #[expect(clippy::disallowed_methods, reason = "the callers of a store are many")]
    tokio::task::spawn_local(future)
}

#[test]
fn a_write_is_answered_once_it_is_committed_and_visible() {
    run(async |tree| {
        let store = testing::start_slow(tree, View::default(), Duration::from_millis(500));
        let began = Instant::now();
        settle().await;
        create(&store, "a").await.expect("written");
        assert!(began.elapsed() >= Duration::from_millis(500));
        let view = store.view();
        let written = view.service(&"a".into()).expect("visible");
        assert_eq!((written.meta.version, view.index()), (1, 1));
        assert!(written.meta.created_at.is_some());
    });
}

#[test]
fn transactions_that_wait_together_are_one_group_and_read_each_other() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        let first = spawn(create(&rig.store, "a"));
        let second = spawn(rig.store.transact(|head| {
            assert!(head.service(&"a".into()).is_some(), "the head has what is in flight");
            head.create(service("b", "b"))
        }));
        settle().await;
        let groups: Vec<_> = rig
            .taken
            .borrow()
            .iter()
            .map(|group| (group.first_index, group.entries.len()))
            .collect();
        assert_eq!(groups, [(1, 2)]);
        assert_eq!(rig.store.view().services().count(), 0, "readers see what is committed");
        let entries = rig.taken(2);
        rig.tell(1, vec![Event::Apply(entries)]).await;
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(()), Ok(())));
        assert_eq!(rig.store.view().services().count(), 2);
        rig.store.view().verify_indices();
    });
}

#[test]
fn raft_has_each_full_group_before_more_of_a_long_mailbox_is_decided_about() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        let (decided, seen) = (Rc::new(Cell::new(0)), Rc::<RefCell<Vec<_>>>::default());
        let (counted, noted) = (decided.clone(), seen.clone());
        listen(Some(Box::new(move |actor, _| match actor {
            "test/store" => counted.set(counted.get() + 1),
            _ => noted.borrow_mut().push(counted.get()),
        })));
        for number in 0..2 * GROUP_ENTRIES + 5 {
            let id = format!("s{number}");
            spawn(rig.store.transact(move |head| head.create(service(&id, &id))));
        }
        settle().await;
        listen(None);
        let whole = 2 * GROUP_ENTRIES + 5;
        assert_eq!(*seen.borrow(), [GROUP_ENTRIES, 2 * GROUP_ENTRIES, whole]);
        let sizes: Vec<_> = rig.taken.borrow().iter().map(|group| group.entries.len()).collect();
        assert_eq!(sizes, [GROUP_ENTRIES, GROUP_ENTRIES, 5]);
        let entries = rig.taken(2);
        rig.tell(1, vec![Event::Apply(entries)]).await;
        assert_eq!(rig.store.view().services().count(), whole);
    });
}

#[test]
fn what_reads_a_write_in_flight_waits_for_it() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        let write = spawn(create(&rig.store, "a"));
        let refusal = spawn(create(&rig.store, "a"));
        settle().await;
        assert!(!refusal.is_finished(), "it may yet turn out that there is no a");
        let entries = rig.taken(2);
        rig.tell(1, vec![Event::Apply(entries)]).await;
        assert_eq!(write.await.unwrap(), Ok(()));
        assert_eq!(refusal.await.unwrap(), Err(TransactError::Aborted(Error::Exists)));
        let reading = rig.store.transact(|head| Ok::<_, Error>(head.services().count()));
        assert_eq!(reading.await, Ok(1), "nothing is in flight, nothing is proposed");
        assert!(rig.taken.borrow().is_empty());
    });
}

#[test]
fn a_group_that_is_committed_in_parts_shows_no_more_than_is_committed() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        let writes = ["a", "b", "c"].map(|id| spawn(create(&rig.store, id)));
        settle().await;
        let mut entries = rig.taken(2);
        for committed in 1..=3 {
            rig.tell(1, vec![Event::Apply(vec![entries.remove(0)])]).await;
            let view = rig.store.view();
            assert_eq!((view.index(), view.services().count()), (committed as u64, committed));
            assert!(writes[committed - 1].is_finished());
            view.verify_indices();
        }
        let head = rig.store.transact(|head| Ok::<_, Error>(head.services().count()));
        assert_eq!(head.await, Ok(3));
    });
}

#[test]
fn a_closure_that_says_no_leaves_nothing_on_the_head() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        let write = spawn(create(&rig.store, "a"));
        let refusal = spawn(rig.store.transact(|head| {
            let mut renamed = Service::clone(head.service(&"a".into()).expect("on the head"));
            renamed.spec = service("a", "another").spec;
            head.update(renamed)?;
            head.create(service("b", "a"))?;
            head.create(service("c", "a"))
        }));
        let after = spawn(rig.store.transact(|head| {
            let names: Vec<_> = head.services().map(|service| service.name().to_owned()).collect();
            assert_eq!(names, ["a"]);
            head.create(service("d", "another"))
        }));
        settle().await;
        let entries = rig.taken(2);
        assert_eq!(entries.len(), 2);
        rig.tell(1, vec![Event::Apply(entries)]).await;
        assert_eq!(write.await.unwrap(), Ok(()));
        assert_eq!(refusal.await.unwrap(), Err(TransactError::Aborted(Error::NameConflict)));
        assert_eq!(after.await.unwrap(), Ok(()));
        rig.store.view().verify_indices();
    });
}

#[test]
fn a_refused_group_is_not_written_and_its_numbers_are_used_again() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        for (refused, reason) in
            [(Refused::Busy, NotWritten::Busy), (Refused::NotLeading, NotWritten::NotLeading)]
        {
            *rig.refuse.borrow_mut() = Some(refused);
            let (write, behind) = (create(&rig.store, "a"), create(&rig.store, "b"));
            let (write, behind) = tokio::join!(write, behind);
            assert_eq!(write, Err(TransactError::NotWritten(reason)));
            assert_eq!(behind, Err(TransactError::NotWritten(NotWritten::CutOff)));
        }
        *rig.refuse.borrow_mut() = None;
        let write = spawn(create(&rig.store, "a"));
        settle().await;
        let entries = rig.taken(2);
        assert_eq!(entries[0].index, 1);
        rig.tell(1, vec![Event::Apply(entries)]).await;
        assert_eq!(write.await.unwrap(), Ok(()));
    });
}

#[test]
fn who_loses_leadership_says_what_is_known() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        let proposed = spawn(create(&rig.store, "a"));
        let reader = spawn(rig.store.transact(|head| Ok::<_, Error>(head.services().count())));
        settle().await;
        let late = spawn(create(&rig.store, "b"));
        rig.tell(1, vec![Event::Follow]).await;
        assert_eq!(proposed.await.unwrap(), Err(TransactError::OutcomeUnknown));
        let not_leading = NotWritten::NotLeading;
        assert_eq!(reader.await.unwrap(), Err(TransactError::NotWritten(not_leading)));
        assert_eq!(late.await.unwrap(), Err(TransactError::NotWritten(not_leading)));
        let entries = rig.taken(2);
        rig.tell(1, vec![Event::Apply(entries)]).await;
        assert!(rig.store.view().service(&"a".into()).is_some(), "it was written after all");
        assert_eq!(create(&rig.store, "c").await, Err(TransactError::NotWritten(not_leading)));
    });
}

#[test]
fn an_entry_of_another_leader_takes_nobodys_place() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        let write = spawn(create(&rig.store, "a"));
        settle().await;
        let mut entries = rig.taken(2);
        entries[0].term = 3;
        entries[0].data = Bytes::new();
        rig.tell(1, vec![Event::Follow, Event::Apply(entries)]).await;
        assert_eq!(write.await.unwrap(), Err(TransactError::OutcomeUnknown));
        assert_eq!((rig.store.view().index(), rig.store.view().services().count()), (1, 0));
    });
}

#[test]
fn what_an_earlier_life_of_raft_says_does_not_count() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        rig.recover(2).await;
        let entry = Committed { index: 1, term: 2, data: Bytes::new() };
        rig.tell(1, vec![Event::Apply(vec![entry]), Event::Lead { term: 9, next_index: 2 }]).await;
        assert_eq!(rig.store.view().index(), 0);
        let refused = create(&rig.store, "a").await;
        assert_eq!(refused, Err(TransactError::NotWritten(NotWritten::NotLeading)));
        rig.recover(1).await;
        rig.tell(2, vec![Event::Lead { term: 9, next_index: 1 }]).await;
        let write = spawn(create(&rig.store, "a"));
        settle().await;
        assert_eq!(rig.taken(9).len(), 1, "the newest life goes on");
        drop(write);
    });
}

#[test]
fn an_entry_that_is_no_request_changes_nothing() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        let garbage = Committed { index: 1, term: 1, data: Bytes::from_static(&[0xff; 9]) };
        rig.tell(1, vec![Event::Follow, Event::Apply(vec![garbage])]).await;
        assert_eq!(rig.store.view().index(), 1);
    });
}

#[test]
fn what_no_entry_can_hold_is_refused() {
    run(async |tree| {
        let store = testing::start(tree, View::default());
        settle().await;
        let outcome = create_large(&store, "a").await;
        assert!(matches!(outcome, Err(TransactError::TooLarge { bytes }) if bytes > 2 << 20));
        create(&store, "a").await.expect("nothing of it was written");
    });
}

fn create_large(store: &Store, id: &'static str) -> impl Future<Output = Outcome> + use<> {
    store.transact(move |head| {
        let mut large = service(id, id);
        let labels = [("x".to_owned(), "y".repeat(2 << 20))].into();
        let annotations = wire::Annotations { labels, ..named(id) };
        let spec = wire::ServiceSpec { annotations: Some(annotations), ..(*large.spec).clone() };
        large.spec = Arc::new(spec);
        head.create(large)
    })
}

#[test]
fn what_no_entry_can_hold_leaves_no_trace_in_the_group_that_it_ends() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        let (small, large) = (create(&rig.store, "a"), create_large(&rig.store, "b"));
        let small = spawn(small);
        let large = spawn(large);
        settle().await;
        large.await.expect("not killed").expect_err("too large");
        rig.tell(1, vec![Event::Apply(rig.taken(2))]).await;
        small.await.expect("not killed").expect("written");
        assert_eq!(rig.store.view().index(), 1, "nothing but the small one is there");
    });
}

#[test]
fn a_dead_store_leaves_nobody_without_an_answer() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        let proposed = spawn(create(&rig.store, "a"));
        settle().await;
        let deadly = rig.store.transact(|_| -> Result<(), Error> { panic!("a bug in a closure") });
        assert_eq!(deadly.await, Err(TransactError::NotWritten(NotWritten::NotLeading)));
        assert_eq!(proposed.await.unwrap(), Err(TransactError::OutcomeUnknown));
    });
}

/// The raft that comes after it does not lead before it says so.
#[test]
fn a_raft_that_dies_with_a_proposal_leaves_nobody_without_an_answer() {
    let not_written = Err(TransactError::NotWritten(NotWritten::NotLeading));
    let in_doubt = Err(TransactError::OutcomeUnknown);
    for (dies, expected) in [
        (None, not_written.clone()),
        (Some(When::BeforeHandling), in_doubt.clone()),
        (Some(When::AfterHandling), in_doubt),
    ] {
        run(async |tree| {
            let rig = Rig::leading(tree).await;
            match dies {
                Some(when) => doom("test/raft", when),
                // With the proposal in its mailbox.
                None => rig.raft.try_send(Die).expect("there is room"),
            }
            settle().await;
            let proposed = spawn(create(&rig.store, "a"));
            settle().await;
            *rig.refuse.borrow_mut() = Some(Refused::NotLeading);
            let behind = spawn(create(&rig.store, "b"));
            sleep(Duration::from_secs(2)).await;
            assert_eq!(behind.await.unwrap(), not_written, "{dies:?}");
            rig.recover(2).await;
            assert_eq!(proposed.await.unwrap(), expected, "{dies:?}");
            rig.taken.borrow_mut().clear();

            *rig.refuse.borrow_mut() = None;
            rig.tell(2, vec![Event::Lead { term: 3, next_index: 1 }]).await;
            let later = spawn(create(&rig.store, "a"));
            settle().await;
            let entries = rig.taken(3);
            rig.tell(2, vec![Event::Apply(entries)]).await;
            assert_eq!(later.await.unwrap(), Ok(()), "{dies:?}");
            assert_eq!(rig.store.view().services().count(), 1);
        });
    }
}

/// Notes what it is told; handles each message for a second.
pub(super) struct Listener {
    pub(super) heard: Rc<RefCell<Vec<String>>>,
}

impl Actor for Listener {
    type Context = Context<Self>;
}

supervised!(Listener, mailbox = 4);

impl Handler<Change> for Listener {
    type Result = actix::ResponseFuture<()>;

    fn handle(&mut self, change: Change, _: &mut Context<Self>) -> Self::Result {
        let index = change.view().index();
        self.heard.borrow_mut().push(match change {
            Change::Committed { changes, .. } => {
                let ids: Vec<_> = changes.services.keys().map(ToString::to_string).collect();
                format!("{} at {index}", ids.join(" "))
            }
            Change::Resync { .. } => format!("all at {index}"),
        });
        Box::pin(sleep(Duration::from_secs(1)))
    }
}

#[test]
fn a_slow_subscriber_hears_everything_in_few_messages() {
    run(async |tree| {
        let store = testing::start(tree, View::default());
        let heard = Rc::<RefCell<Vec<_>>>::default();
        let listener = {
            let heard = heard.clone();
            tree.child("listener", move |_| Listener { heard: heard.clone() })
        };
        settle().await;
        store.subscribe("listener", listener.recipient());
        for id in ["a", "b", "c"] {
            create(&store, id).await.expect("written");
        }
        sleep(Duration::from_secs(5)).await;
        create(&store, "d").await.expect("written");
        sleep(Duration::from_secs(5)).await;
        assert_eq!(*heard.borrow(), ["all at 0", "a b c at 3", "d at 4"]);
    });
}

#[test]
fn a_second_subscription_replaces_the_first() {
    run(async |tree| {
        let store = testing::start(tree, View::default());
        let heard = Rc::<RefCell<Vec<_>>>::default();
        let listener = {
            let heard = heard.clone();
            tree.child("listener", move |_| Listener { heard: heard.clone() })
        };
        settle().await;
        store.subscribe("listener", listener.recipient());
        store.subscribe("listener", listener.recipient());
        create(&store, "a").await.expect("written");
        sleep(Duration::from_secs(9)).await;
        assert_eq!(*heard.borrow(), ["all at 0", "all at 0", "a at 1"]);
    });
}

#[test]
fn more_callers_than_may_wait_their_turn() {
    run(async |tree| {
        let store = testing::start_slow(tree, View::default(), Duration::from_millis(10));
        settle().await;
        let callers: Vec<_> = (0..3000)
            .map(|number| {
                let id = format!("s{number}");
                spawn(store.transact(move |head| head.create(service(&id, &id))))
            })
            .collect();
        for caller in callers {
            let outcome = timeout(Duration::from_secs(10), caller).await.expect("in time");
            assert_eq!(outcome.unwrap(), Ok::<_, TransactError<Error>>(()));
        }
        assert_eq!(store.view().services().count(), 3000);
        store.view().verify_indices();
    });
}
