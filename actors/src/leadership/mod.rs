//! From winning an election to losing it: makes the store ready, then starts and stops the loops
//! of a leader.

mod logic;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use self::logic::{Next, Seeded};
use crate::{
    cluster::{self, Founding},
    raft::{Ended, LeadershipChanged},
    store::Store,
    supervised,
    supervision::{Life, Tree},
    tree::{Leader, LeaderParts},
};
use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture,
    fut::LocalBoxActorFuture as Running,
};

/// How long to wait before the store is tried again, which leads and yet did not write.
const SEED_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What the node knows of a cluster that it founds.
pub trait Bootstrap: Send + 'static {
    /// The secrets of the cluster, until it holds them itself.
    fn founding(&self) -> Option<Founding>;

    /// The cluster holds them, durably. Called by every leader; doing it again does nothing.
    fn founded(&mut self);
}

/// What cannot be mended by starting again. The process has to end, with this as its last words.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fatal {
    /// Raft cannot go on.
    #[error(transparent)]
    Raft(#[from] crate::raft::Error),
    /// The store is not what this node believes it to be.
    #[error(transparent)]
    Cluster(Arc<cluster::Error>),
    /// One entry cannot hold the first objects.
    #[error("the first objects of the cluster are too large: {bytes} bytes")]
    TooLarge {
        /// How large they are, encoded.
        bytes: usize,
    },
}

/// Takes the last words of a manager.
pub type OnFatal = Arc<dyn Fn(Fatal) + Send + Sync>;

/// Starts the leader's loops when this manager begins to lead, and stops them when it ceases to.
pub struct Leadership {
    store: Store,
    parts: LeaderParts,
    on_fatal: OnFatal,
    tree: Tree,
    life: Life,
    /// Outlives a life, as the loops do.
    held: Rc<RefCell<Held>>,
}

/// What leadership there is.
struct Held {
    bootstrap: Box<dyn Bootstrap>,
    term: Option<u64>,
    /// The loops that run, and in which term they began.
    leader: Option<(u64, Leader)>,
}

impl Leadership {
    /// Returns what supervision calls for each life. The loops run in a tree inside `tree`.
    pub fn factory(
        store: Store,
        parts: LeaderParts,
        bootstrap: Box<dyn Bootstrap>,
        on_fatal: OnFatal,
        tree: Tree,
    ) -> impl FnMut(Life) -> Self {
        let held = Rc::new(RefCell::new(Held { bootstrap, term: None, leader: None }));
        move |life| Self {
            life,
            store: store.clone(),
            parts: parts.clone(),
            on_fatal: on_fatal.clone(),
            tree: tree.clone(),
            held: held.clone(),
        }
    }

    /// Stops the loops of an earlier term. They are held until they are gone: a life that dies
    /// meanwhile leaves the rest to the next.
    fn stop(&mut self) -> Running<Self, ()> {
        let held = self.held.clone();
        let stopped = async move {
            let term = held.borrow().term;
            let leader = held.borrow().leader.clone();
            let Some((_, leader)) = leader.filter(|(began, _)| term != Some(*began)) else {
                return;
            };
            if !planted!(LoopsOutliveTerm) {
                leader.stop().await;
            }
            held.borrow_mut().leader = None;
        };
        Box::pin(stopped.into_actor(self))
    }

    /// Leaves what belongs to the term that there is, and nothing else.
    fn follow(&mut self, ctx: &mut Context<Self>) {
        // What comes next waits until the loops of the last term are gone.
        ctx.wait(self.stop().map(|(), leadership: &mut Self, ctx| {
            let term = leadership.held.borrow().term;
            if let Some(term) = term.filter(|term| leadership.awaits(*term)) {
                leadership.begin(ctx, term);
            }
        }));
    }

    /// Writes what every leader relies on, unless it is there.
    fn seed(&mut self) -> Running<Self, Seeded> {
        let (node_id, founding) =
            (self.parts.node_id.clone(), self.held.borrow().bootstrap.founding());
        let mut random = self.parts.environment.entropy.fork("leadership", self.life.0);
        let seeded = self.store.transact(move |head| {
            cluster::seed(head, &node_id, founding.as_ref(), &mut random).map_err(Arc::new)
        });
        Box::pin(seeded.into_actor(self))
    }

    /// Whether this manager leads in this term, and its loops do not run yet.
    fn awaits(&self, term: u64) -> bool {
        let held = self.held.borrow();
        held.term == Some(term) && held.leader.is_none()
    }

    fn begin(&mut self, ctx: &mut Context<Self>, term: u64) {
        let seeded = self.seed().map(move |seeded, leadership: &mut Self, ctx| {
            leadership.seeded(ctx, term, seeded);
        });
        ctx.wait(seeded);
    }

    fn seeded(&mut self, ctx: &mut Context<Self>, term: u64, seeded: Seeded) {
        match logic::after(seeded) {
            Next::StartLoops => {
                let mut held = self.held.borrow_mut();
                held.bootstrap.founded();
                tracing::info!(term, "this manager leads");
                let parts = self.parts.of_term(term);
                let leader = Leader::start(&self.tree, &self.store, &parts);
                held.leader = Some((term, leader));
            }
            Next::SeedAgain => {
                tracing::debug!(term, "the leader's first write has to be repeated");
                ctx.run_later(SEED_AGAIN_AFTER, move |leadership, ctx| {
                    if leadership.awaits(term) {
                        leadership.begin(ctx, term);
                    }
                });
            }
            Next::End(fatal) => (self.on_fatal)(fatal),
        }
    }
}

impl Actor for Leadership {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // An earlier life may have died between the news and what follows from it.
        self.follow(ctx);
    }
}

supervised!(Leadership, mailbox = 16);

impl Handler<LeadershipChanged> for Leadership {
    type Result = ();

    fn handle(&mut self, changed: LeadershipChanged, ctx: &mut Context<Self>) {
        self.held.borrow_mut().term = changed.term;
        self.follow(ctx);
    }
}

impl Handler<Ended> for Leadership {
    type Result = ();

    fn handle(&mut self, Ended { error }: Ended, _: &mut Context<Self>) {
        (self.on_fatal)(error.into());
    }
}
