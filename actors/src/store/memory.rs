//! The store's actor: applies what raft commits, runs transactions, tells subscribers.

use std::{cell::RefCell, convert::Infallible, mem, rc::Rc, sync::Arc};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture, WrapFuture,
    fut::wrap_future,
};
use bytes::Bytes;
use prost::Message as _;
use protocol::{objects::Interner, wire::InternalRaftRequest};
use tokio::sync::oneshot;

use super::{
    Applied, Changes, NotWritten, Published, TransactError, Transaction, View, apply,
    handle::{TRANSACTIONS_MAX, settled},
    leading::{Leading, Settled},
    subscribers::{Change, Subscribers},
    waiting::Waiting,
};
use crate::{
    environment::Environment,
    supervised,
    supervision::{Life, Recipient},
};

/// Room in the mailbox beside transactions: raft has one message on the way, and everybody who
/// subscribes one.
const OTHERS_MAX: usize = 64;

/// How many objects of an old store are dropped before others get their turn.
const DROPPED_AT_ONCE: usize = 512;

/// Holds every object of the cluster. What is committed comes from raft alone.
pub struct MemoryStore {
    environment: Environment,
    published: Published,
    subscribers: Rc<RefCell<Subscribers>>,
    committed: View,
    interner: Interner,
    raft: Option<Raft>,
    leading: Option<Leading>,
    /// What is sealed will be proposed at the end of the mailbox.
    is_collecting: bool,
}

/// The life of raft that this store works with.
struct Raft {
    epoch: u64,
    proposals: Recipient<Propose>,
}

/// Asks raft to propose a group of entries. Refused as a whole, or taken as a whole.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Refused>")]
pub struct Propose {
    /// The term in which the store was told to lead.
    pub term: u64,
    /// The index that the first entry has to get: the numbering of the store is the only one.
    pub first_index: u64,
    /// What they hold.
    pub entries: Vec<Payload>,
}

/// What an entry holds, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A request: what one transaction writes.
    Request(Bytes),
    /// A change of the members of the group. The store knows no more of it than its place.
    Members(Bytes),
}

impl Payload {
    /// How large it is, in bytes.
    pub fn size(&self) -> usize {
        let (Self::Request(data) | Self::Members(data)) = self;
        data.len()
    }

    /// What the store is told once it is committed: nothing where it is not for the store.
    pub fn for_store(self) -> Bytes {
        match self {
            Self::Request(data) => data,
            Self::Members(_) => Bytes::new(),
        }
    }

    /// Takes it out; an empty one stays.
    pub(super) fn take(&mut self) -> Self {
        mem::replace(self, Self::Request(Bytes::new()))
    }
}

/// Asks for a place among the writes for a change of the members, since the store alone numbers
/// entries. Answered with the index once the store has applied it.
#[derive(Debug, Message)]
#[rtype(result = "Result<u64, TransactError<Infallible>>")]
pub struct ChangeMembers {
    /// The term in which raft leads.
    pub term: u64,
    /// The change, encoded.
    pub change: Bytes,
}

/// Why raft does not take a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It does not lead in that term any more.
    #[error("not the leader of this term")]
    NotLeading,
    /// As much is in flight as may be.
    #[error("too much is in flight")]
    Busy,
}

/// What raft tells the store, in order. Answered when all of it is done.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Events {
    /// Which life of raft speaks; what an earlier one said does not count any more.
    pub epoch: u64,
    /// One after the other.
    pub events: Vec<Event>,
}

/// One thing that raft tells the store.
pub enum Event {
    /// Raft begins, with what a snapshot holds.
    Recovered {
        /// The objects of the snapshot.
        view: View,
        /// Where groups are proposed.
        proposals: Recipient<Propose>,
    },
    /// Entries are committed.
    Apply(Vec<Committed>),
    /// The leader sent a snapshot that replaces everything.
    Restore {
        /// Its objects.
        view: View,
    },
    /// This member leads, and has applied everything before `next_index`.
    Lead {
        /// Since which term.
        term: u64,
        /// The index of the first entry that the store may propose.
        next_index: u64,
    },
    /// This member does not lead any more.
    Follow,
}

/// An entry that is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its place in the log.
    pub index: u64,
    /// The term of the leader that proposed it.
    pub term: u64,
    /// An encoded request; empty for entries that are not for the store.
    pub data: Bytes,
}

type Run = Box<dyn FnOnce(&mut Transaction) -> (bool, Waiting) + Send>;

/// Runs a closure on the head. It says itself what it wants, and who waits for it.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Transact {
    pub(super) run: Run,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Subscribe {
    pub(super) name: &'static str,
    pub(super) subscriber: Recipient<Change>,
}

/// Proposes what has been collected, once the mailbox is empty.
#[derive(Message)]
#[rtype(result = "()")]
struct Collected;

impl MemoryStore {
    /// Returns what supervision calls for each life of the store.
    pub fn factory(
        published: Published,
        environment: Environment,
    ) -> impl FnMut(Life) -> Self + 'static {
        let subscribers = Rc::new(RefCell::new(Subscribers::default()));
        move |_| {
            subscribers.borrow_mut().forget_sent();
            Self {
                environment: environment.clone(),
                published: published.clone(),
                subscribers: subscribers.clone(),
                committed: View::default(),
                interner: Interner::default(),
                raft: None,
                leading: None,
                is_collecting: false,
            }
        }
    }

    fn lead(&mut self, term: u64, next_index: u64) {
        self.follow();
        self.leading = Some(Leading::new(term, next_index, &self.committed));
    }

    fn follow(&mut self) {
        if let Some(leading) = self.leading.take() {
            leading.lost();
        }
    }

    /// Starts over from a snapshot.
    fn restore(&mut self, ctx: &mut Context<Self>, view: View) {
        self.follow();
        let old = mem::replace(&mut self.committed, view);
        Self::dismantle_later(ctx, old);
        self.published.publish(&self.committed);
        self.published.feed().restart(self.committed.index());
        if !planted!(ResyncLost) {
            self.subscribers.borrow_mut().resync();
        }
    }

    /// Drops what a snapshot has replaced, little by little.
    fn dismantle_later(ctx: &mut Context<Self>, mut old: View) {
        ctx.spawn(wrap_future(tokio::task::yield_now()).map(move |(), _: &mut Self, ctx| {
            if old.dismantle(DROPPED_AT_ONCE) {
                Self::dismantle_later(ctx, old);
            }
        }));
    }

    fn apply(&mut self, entries: Vec<Committed>) {
        // After a restart, entries come again that readers have seen: no news, and out of order.
        let seen = self.committed.index() < self.published.view().index();
        let (mut changes, mut settled, mut applied) = (Changes::default(), Vec::new(), Vec::new());
        let mut behind = Vec::new();
        for entry in entries {
            let (index, data) = (entry.index, entry.data.clone());
            let leading = self.leading.as_mut();
            let changed = match leading.and_then(|leading| leading.committed(index, entry.term)) {
                Some(mut ours) => {
                    let changed = Arc::new(mem::take(&mut ours.changes));
                    behind.push((index, changed.clone()));
                    if let Some(view) = ours.view.take() {
                        self.committed = view;
                        behind.clear();
                    }
                    settled.push(ours);
                    changed
                }
                None => {
                    self.catch_up(&mut behind);
                    Arc::new(self.apply_one(entry))
                }
            };
            if !changed.is_empty() {
                changes.then(&changed);
                applied.push(Applied::new(index, data, changed));
            }
        }
        self.catch_up(&mut behind);
        self.published.publish(&self.committed);
        self.published.feed().push(applied, self.committed.index());
        match seen {
            true => self.subscribers.borrow_mut().resync(),
            false => self.subscribers.borrow_mut().note(&Arc::new(changes)),
        }
        settled.into_iter().for_each(Settled::answer);
    }

    /// Applies writes of this leader whose group is not committed to its end.
    fn catch_up(&mut self, behind: &mut Vec<(u64, Arc<Changes>)>) {
        for (index, changes) in behind.drain(..) {
            self.committed.follow(index, &changes);
        }
    }

    /// Applies an entry that another leader wrote, or this one in another term.
    fn apply_one(&mut self, Committed { index, data, .. }: Committed) -> Changes {
        // From a slice: what is decoded must not keep the whole entry in memory.
        let actions = match InternalRaftRequest::decode(&*data) {
            Ok(request) => request.action,
            Err(error) => {
                tracing::error!(index, %error, "an entry of the log is no request, and changes nothing");
                Vec::new()
            }
        };
        let (view, changes, skipped) = apply(&self.committed, index, actions, &mut self.interner);
        for skip in skipped {
            tracing::error!(index, position = skip.position, reason = %skip.reason, "action skipped");
        }
        self.committed = view;
        if let Some(leading) = &mut self.leading {
            leading.applied(&self.committed);
        }
        changes
    }

    /// Sends each subscriber what it may be sent.
    fn tell(&mut self, ctx: &mut Context<Self>) {
        let view = self.published.view();
        let due = self.subscribers.borrow_mut().due(&view);
        for due in due {
            let (name, subscription) = (due.name, due.subscription);
            let told = due.recipient.send(due.change).into_actor(self);
            ctx.spawn(told.map(move |told, store, ctx| {
                store.subscribers.borrow_mut().told(name, subscription, told.is_ok());
                store.tell(ctx);
            }));
        }
    }

    /// Proposes what is sealed: a full group at once, so that raft has it before the rest of a long
    /// mailbox is decided about; what is not full, once the mailbox is empty.
    fn collect(&mut self, ctx: &mut Context<Self>) {
        if self.leading.as_ref().is_some_and(Leading::has_full_group) {
            self.propose(ctx);
        } else if !mem::replace(&mut self.is_collecting, true) {
            ctx.notify(Collected);
        }
    }

    /// Proposes the next group. Nothing else is handled until raft has taken it or not.
    fn propose(&mut self, ctx: &mut Context<Self>) {
        let (Some(leading), Some(raft)) = (&mut self.leading, &self.raft) else { return };
        let Some(group) = leading.group() else { return };
        let (term, first_index) = (leading.term, group.first_index);
        let proposed = raft.proposals.send(Propose { term, first_index, entries: group.entries });
        ctx.wait(proposed.into_actor(self).map(move |outcome, store, _| {
            // A raft that died leaves the group in doubt; its successor will say who leads.
            if let Ok(Err(refused)) = outcome {
                store.refused(term, first_index, refused);
            }
        }));
    }

    fn refused(&mut self, term: u64, first_index: u64, refused: Refused) {
        let reason = match refused {
            Refused::NotLeading => NotWritten::NotLeading,
            Refused::Busy => NotWritten::Busy,
        };
        if let Some(leading) = self.leading.as_mut().filter(|leading| leading.term == term) {
            leading.refused(first_index, reason, &self.committed);
        }
    }
}

impl Actor for MemoryStore {
    type Context = Context<Self>;
}

supervised!(MemoryStore, mailbox = TRANSACTIONS_MAX + OTHERS_MAX);

impl Handler<Events> for MemoryStore {
    type Result = ();

    fn handle(&mut self, Events { epoch, events }: Events, ctx: &mut Context<Self>) {
        for event in events {
            let known = self.raft.as_ref().map(|raft| raft.epoch);
            match event {
                Event::Recovered { view, proposals } if known.is_none_or(|known| epoch > known) => {
                    self.raft = Some(Raft { epoch, proposals });
                    self.restore(ctx, view);
                }
                Event::Apply(entries) if known == Some(epoch) => self.apply(entries),
                Event::Restore { view } if known == Some(epoch) => self.restore(ctx, view),
                Event::Lead { term, next_index } if known == Some(epoch) => {
                    self.lead(term, next_index);
                }
                Event::Follow if known == Some(epoch) => self.follow(),
                Event::Recovered { .. }
                | Event::Apply(_)
                | Event::Restore { .. }
                | Event::Lead { .. }
                | Event::Follow => {}
            }
        }
        self.tell(ctx);
    }
}

impl Handler<Transact> for MemoryStore {
    type Result = ();

    fn handle(&mut self, Transact { run }: Transact, ctx: &mut Context<Self>) {
        let Some(leading) = &mut self.leading else {
            // Dropping it unrun tells the caller.
            return;
        };
        let now = self.environment.clock.now();
        let mut transaction = match planted!(DecidedOnCommitted) {
            true => Transaction::begin(&self.committed),
            false => leading.begin(now),
        };
        let (wanted, waiting) = run(&mut transaction);
        leading.take(transaction, wanted, now, waiting);
        self.collect(ctx);
    }
}

impl Handler<ChangeMembers> for MemoryStore {
    type Result = ResponseFuture<Result<u64, TransactError<Infallible>>>;

    fn handle(&mut self, asked: ChangeMembers, ctx: &mut Context<Self>) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        if let Some(leading) = self.leading.as_mut().filter(|leading| leading.term == asked.term) {
            let now = self.environment.clock.now();
            leading.take_change(asked.change, now, |index| {
                Waiting::new(move |fate| drop(answer.send(settled(Ok(index), fate))))
            });
            self.collect(ctx);
        }
        let not_leading = Err(TransactError::NotWritten(NotWritten::NotLeading));
        Box::pin(async move { answered.await.unwrap_or(not_leading) })
    }
}

impl Handler<Collected> for MemoryStore {
    type Result = ();

    fn handle(&mut self, _: Collected, ctx: &mut Context<Self>) {
        self.is_collecting = false;
        self.propose(ctx);
    }
}

impl Handler<Subscribe> for MemoryStore {
    type Result = ();

    fn handle(&mut self, Subscribe { name, subscriber }: Subscribe, ctx: &mut Context<Self>) {
        self.subscribers.borrow_mut().add(name, subscriber);
        self.tell(ctx);
    }
}
