//! A store that answers the scheduler long before it tells it what there is (SCHED-2).

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, WrapFuture};
use tokio::{task::LocalSet, time::sleep};

use super::*;
use crate::{
    environment::testing::environment,
    scheduler::Scheduler,
    store::{Change, Committed, Event, Events, MemoryStore, Propose, Published, Refused, Store},
    supervised,
    supervision::{Address, Budget, Census, Tree, testing::listen},
};

const TERM: u64 = 1;

/// Takes a second to take a group, for which the store waits, and another to commit it.
struct Slow {
    memory: Address<MemoryStore>,
}

impl Actor for Slow {
    type Context = Context<Self>;
}

supervised!(Slow, mailbox = 16);

impl Handler<Propose> for Slow {
    type Result = ResponseFuture<Result<(), Refused>>;

    fn handle(&mut self, propose: Propose, ctx: &mut Context<Self>) -> Self::Result {
        let entries = (propose.first_index..).zip(propose.entries);
        let committed = entries
            .map(|(index, entry)| Committed { index, term: TERM, data: entry.for_store() })
            .collect();
        let memory = self.memory.clone();
        let applied = async move {
            sleep(Duration::from_secs(2)).await;
            memory.send(Events { epoch: 1, events: vec![Event::Apply(committed)] }).await.ok();
        };
        ctx.spawn(applied.into_actor(self).map(|(), _, _| ()));
        Box::pin(async {
            sleep(Duration::from_secs(1)).await;
            Ok(())
        })
    }
}

/// So large that its group is full, and proposed before the store handles anything else.
async fn write_much(store: Store) {
    let labels = [("x".to_owned(), "y".repeat(600_000))].into();
    let annotations = Some(wire::Annotations { labels, ..Default::default() });
    let spec = Some(wire::SecretSpec { annotations, ..Default::default() });
    let secret = wire::Secret { id: "large".to_owned(), spec, ..Default::default() };
    let secret = protocol::objects::Secret::from(secret);
    store.transact(move |head| head.create(secret)).await.expect("written");
}

#[test]
fn nothing_is_decided_before_the_board_shows_all_that_was_written() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let budget = Budget { restarts: 0, within: Duration::from_secs(60) };
        let tree = Tree::root("test", budget, Census::default(), |lost| panic!("{lost}"));
        let big = |id: &str| reserving(id, 2_000_000_000, 0);
        let older = with([plain("a").into(), big("t").into()]);
        let mut newer = Transaction::begin(&older);
        newer.create(running(big("old"), "a")).unwrap();
        let newer = newer.seal(2, NOW).view;

        let published = Published::default();
        let memory = tree.child("store", MemoryStore::factory(published.clone(), environment()));
        let for_raft = memory.clone();
        let raft = tree.child("raft", move |_| Slow { memory: for_raft.clone() });
        let store = Store::new(memory.clone(), published);
        let recovered = Event::Recovered { view: newer, proposals: raft.recipient() };
        let lead = Event::Lead { term: TERM, next_index: 3 };
        memory.send(Events { epoch: 1, events: vec![recovered, lead] }).await.expect("lives");

        // The store is busy between the question of the scheduler and its subscription.
        let handled = Rc::<RefCell<Vec<String>>>::default();
        let (heard, for_writer) = (handled.clone(), store.clone());
        listen(Some(Box::new(move |actor, message| {
            if actor == "test/store" {
                if heard.borrow().is_empty() {
                    #[expect(clippy::disallowed_methods, reason = "somebody else writes")]
                    tokio::task::spawn_local(write_much(for_writer.clone()));
                }
                let message = message.rsplit("::").next().unwrap_or_default();
                heard.borrow_mut().push(message.to_owned());
            }
        })));
        let for_scheduler = store.clone();
        let scheduler = tree.child_with_address("scheduler", move |life, own| {
            Scheduler::new(for_scheduler.clone(), environment(), life, own)
        });
        sleep(Duration::from_millis(100)).await;
        assert_eq!(*handled.borrow(), ["Transact", "Transact"], "answered, and told nothing");
        scheduler.send(Change::Resync { view: older }).await.expect("lives");
        sleep(Duration::from_secs(20)).await;
        listen(None);
        assert!(handled.borrow().contains(&"Subscribe".to_owned()));
        let view = store.view();
        let waiting = view.task(&"t".into()).expect("there");
        assert!(waiting.node_id.is_empty(), "the node is full");
        assert_eq!(&*waiting.status.err, "no suitable node (insufficient resources on 1 node)");
        tree.stop().await;
    });
}
