//! The store's actor: applies what raft commits, runs transactions, tells subscribers.

use std::{cell::RefCell, mem, rc::Rc, sync::Arc};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use bytes::Bytes;
use prost::Message as _;
use protocol::{objects::Interner, wire::InternalRaftRequest};

use super::{
    Changes, NotWritten, Published, Transaction, View, apply,
    handle::TRANSACTIONS_MAX,
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

/// Holds every object of the cluster. What is committed comes from raft alone.
pub struct MemoryStore {
    environment: Environment,
    published: Published,
    subscribers: Rc<RefCell<Subscribers>>,
    committed: View,
    interner: Interner,
    raft: Option<Raft>,
    leading: Option<Leading>,
    flush: Flush,
}

/// The life of raft that this store works with.
struct Raft {
    epoch: u64,
    proposals: Recipient<Propose>,
}

/// Whether a group is being collected or proposed. One at a time is.
#[derive(PartialEq, Eq)]
enum Flush {
    Idle,
    Collecting,
    Proposing,
}

/// Asks raft to propose a group of entries. Refused as a whole, or taken as a whole.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Refused>")]
pub struct Propose {
    /// The term in which the store was told to lead.
    pub term: u64,
    /// The index that the first entry has to get: the numbering of the store is the only one.
    pub first_index: u64,
    /// Encoded requests.
    pub entries: Vec<Bytes>,
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
                flush: Flush::Idle,
            }
        }
    }

    fn lead(&mut self, term: u64, next_index: u64) {
        self.follow();
        self.leading = Some(Leading::new(term, next_index));
    }

    fn follow(&mut self) {
        if let Some(leading) = self.leading.take() {
            leading.lost();
        }
    }

    /// Starts over from a snapshot.
    fn restore(&mut self, view: View) {
        self.follow();
        self.committed = view;
        self.published.publish(&self.committed);
        self.subscribers.borrow_mut().resync();
    }

    fn apply(&mut self, entries: Vec<Committed>) {
        // After a restart, entries come again that readers have seen: no news, and out of order.
        let seen = self.committed.index() < self.published.view().index();
        let (mut changes, mut settled) = (Changes::default(), Vec::new());
        for entry in entries {
            changes.then(&self.apply_one(entry, &mut settled));
        }
        self.published.publish(&self.committed);
        match seen {
            true => self.subscribers.borrow_mut().resync(),
            false => self.subscribers.borrow_mut().note(&Arc::new(changes)),
        }
        settled.into_iter().for_each(Settled::answer);
    }

    fn apply_one(&mut self, entry: Committed, settled: &mut Vec<Settled>) -> Changes {
        let Committed { index, term, data } = entry;
        let ours = self.leading.as_mut().and_then(|leading| leading.committed(index, term));
        if let Some(mut ours) = ours {
            self.committed = ours.view.clone();
            let changes = mem::take(&mut ours.changes);
            settled.push(ours);
            return changes;
        }
        let actions = match InternalRaftRequest::decode(data) {
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

    /// Proposes the next group, unless one is with raft.
    fn propose(&mut self, ctx: &mut Context<Self>) {
        self.flush = Flush::Idle;
        let (Some(leading), Some(raft)) = (&mut self.leading, &self.raft) else { return };
        let Some(group) = leading.group() else { return };
        let (term, first_index) = (leading.term, group.first_index);
        self.flush = Flush::Proposing;
        let proposed = raft.proposals.send(Propose { term, first_index, entries: group.entries });
        ctx.spawn(proposed.into_actor(self).map(move |outcome, store, ctx| {
            // A raft that died leaves the group in doubt; its successor will say who leads.
            if let Ok(Err(refused)) = outcome {
                store.refused(term, first_index, refused);
            }
            store.propose(ctx);
        }));
    }

    fn refused(&mut self, term: u64, first_index: u64, refused: Refused) {
        let reason = match refused {
            Refused::NotLeading => NotWritten::NotLeading,
            Refused::Busy => NotWritten::Busy,
        };
        if let Some(leading) = self.leading.as_mut().filter(|leading| leading.term == term) {
            leading.refused(first_index, reason);
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
                    self.restore(view);
                }
                Event::Apply(entries) if known == Some(epoch) => self.apply(entries),
                Event::Restore { view } if known == Some(epoch) => self.restore(view),
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
        let mut transaction = Transaction::begin(leading.head(&self.committed));
        let (wanted, waiting) = run(&mut transaction);
        leading.take(transaction, wanted, self.environment.clock.now(), waiting);
        if self.flush == Flush::Idle {
            self.flush = Flush::Collecting;
            ctx.notify(Collected);
        }
    }
}

impl Handler<Collected> for MemoryStore {
    type Result = ();

    fn handle(&mut self, _: Collected, ctx: &mut Context<Self>) {
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
