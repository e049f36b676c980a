//! A store that leads alone, without raft and without a disk. For tests of everything around it.

use std::{collections::VecDeque, time::Duration};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Committed, Event, Events, MemoryStore, Propose, Published, Refused, Store, View};
use crate::{
    environment::{Environment, testing},
    supervised,
    supervision::{Address, Recipient, Tree},
};

/// The only term there is.
const TERM: u64 = 1;

/// Starts a leading store that holds `view`, and commits at once.
pub fn start(tree: &Tree, view: View) -> Store {
    start_slow(tree, view, Duration::ZERO)
}

/// Starts a leading store whose commits take `commits_after`.
pub fn start_slow(tree: &Tree, view: View, commits_after: Duration) -> Store {
    start_in(testing::environment(), tree, view, commits_after)
}

/// As [`start_slow`], with the clock and chance of `environment`.
pub fn start_in(
    environment: Environment,
    tree: &Tree,
    view: View,
    commits_after: Duration,
) -> Store {
    let published = Published::default();
    // Readers see the view before the actors have run for the first time.
    published.publish(&view);
    let memory = tree.child("store", MemoryStore::factory(published.clone(), environment));
    tree.child_with_address("raft", {
        let memory = memory.clone();
        move |life, own: &Address<Alone>| Alone {
            epoch: life.0,
            memory: memory.clone(),
            proposals: own.recipient(),
            view: view.clone(),
            next_index: view.index() + 1,
            commits_after,
            untold: VecDeque::new(),
            telling: false,
        }
    });
    Store::new(memory, published)
}

/// Waits until a store that was just started leads.
pub async fn until_leading(store: &Store) {
    while store.transact(|_| Ok::<_, ()>(())).await.is_err() {
        sleep(Duration::from_millis(1)).await;
    }
}

/// Stands in for raft: whatever is proposed is committed.
struct Alone {
    epoch: u64,
    memory: Address<MemoryStore>,
    proposals: Recipient<Propose>,
    view: View,
    next_index: u64,
    commits_after: Duration,
    untold: VecDeque<(Instant, Vec<Event>)>,
    telling: bool,
}

impl Alone {
    fn tell(&mut self, ctx: &mut Context<Self>, after: Duration, events: Vec<Event>) {
        self.untold.push_back((Instant::now() + after, events));
        self.proceed(ctx);
    }

    /// Tells one thing after the other, as raft does.
    fn proceed(&mut self, ctx: &mut Context<Self>) {
        if self.telling {
            return;
        }
        let Some((due, events)) = self.untold.pop_front() else { return };
        self.telling = true;
        let (memory, epoch) = (self.memory.clone(), self.epoch);
        let told = async move {
            // Even a moment that has come takes the clock a whole tick.
            if due > Instant::now() {
                sleep_until(due).await;
            }
            memory.send(Events { epoch, events }).await.ok();
        };
        ctx.spawn(told.into_actor(self).map(|(), alone, ctx| {
            alone.telling = false;
            alone.proceed(ctx);
        }));
    }
}

impl Actor for Alone {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (view, proposals) = (self.view.clone(), self.proposals.clone());
        let recovered = Event::Recovered { view, proposals };
        let lead = Event::Lead { term: TERM, next_index: self.next_index };
        self.tell(ctx, Duration::ZERO, vec![recovered, lead]);
    }
}

supervised!(Alone, mailbox = 16);

impl Handler<Propose> for Alone {
    type Result = Result<(), Refused>;

    fn handle(&mut self, propose: Propose, ctx: &mut Context<Self>) -> Self::Result {
        assert_eq!((propose.term, propose.first_index), (TERM, self.next_index));
        let entries = propose.entries.into_iter().zip(self.next_index..);
        let committed: Vec<_> = entries
            .map(|(entry, index)| Committed { index, term: TERM, data: entry.for_store() })
            .collect();
        self.next_index += committed.len() as u64;
        self.tell(ctx, self.commits_after, vec![Event::Apply(committed)]);
        Ok(())
    }
}
