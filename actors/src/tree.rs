//! Who starts whom. Every actor that lives as long as its node or its leadership is started in this
//! file and nowhere else, but for those of the agent; each struct is a tree, or a part of one, with
//! its fields in start order.

use std::time::Duration;

use protocol::id::NodeId;

use crate::{
    allocator::Allocator,
    ca,
    dispatcher::{Dispatcher, Seat},
    environment::Environment,
    leadership::{Bootstrap, Leadership, OnFatal},
    log::{Cipher, Disk, Options, Writer},
    orchestrator::{reaper::Reaper, replicated::Replicated, restart::Restart},
    raft::{Config, Links, Peer},
    roles::{self, Roles},
    scheduler::Scheduler,
    store::{MemoryStore, Published, Store},
    supervision::{Address, Budget, Tree},
};

/// The log of a manager; on a thread of its own, which syncs hold up.
pub const LOG: Budget = Budget { restarts: 3, within: Duration::from_secs(60) };
/// Raft and the store, which live and die together.
pub const CORE: Budget = Budget { restarts: 5, within: Duration::from_secs(60) };
/// What follows leadership, and within it the loops of a leader.
pub const LOOPS: Budget = Budget { restarts: 5, within: Duration::from_secs(60) };
/// The agent; each of its tasks has a tree of its own beside this one.
pub const AGENT: Budget = Budget { restarts: 5, within: Duration::from_secs(60) };

/// What makes entries durable.
pub struct Log {
    /// The one writer of the raft directory.
    pub writer: Address<Writer>,
}

impl Log {
    /// Starts the log in its tree.
    pub fn start(tree: &Tree, disk: impl Disk, cipher: impl Cipher, options: Options) -> Self {
        Self { writer: tree.child("writer", Writer::factory(disk, cipher, options)) }
    }
}

/// What agrees on entries and applies them.
pub struct Core {
    /// Applies entries, runs transactions.
    pub memory: Address<MemoryStore>,
    /// The member of the raft group.
    pub raft: Address<Peer>,
    /// The handle on `memory`.
    pub store: Store,
}

impl Core {
    /// Starts store and raft as one unit in `tree`. `link` is given the store, and says whom raft
    /// works with beside it.
    pub async fn start(
        tree: &Tree,
        environment: &Environment,
        config: Config,
        link: impl AsyncFnOnce(&Store, Address<MemoryStore>, Published) -> Links,
    ) -> Self {
        let unit = tree.unit("core", CORE);
        let published = Published::default();
        let memory = MemoryStore::factory(published.clone(), environment.clone());
        let memory = unit.child("store", memory);
        let store = Store::new(memory.clone(), published.clone());
        let links = link(&store, memory.clone(), published).await;
        let raft = unit.child_with_address("raft", Peer::factory(config, links));
        Self { memory, raft, store }
    }
}

/// What follows leadership.
pub struct Loops {
    /// Starts the loops of a leader, and stops them.
    pub leadership: Address<Leadership>,
}

/// What the loops of a leader work with.
#[derive(Clone)]
pub struct LeaderParts {
    /// The node that leads.
    pub node_id: NodeId,
    /// Clock and chance.
    pub environment: Environment,
    /// Where the agent of this process finds the dispatcher.
    pub seat: Seat,
    /// Signs certificates.
    pub signer: ca::port::Shared,
    /// Where raft is, once it has been started; whoever starts it binds it.
    pub raft: roles::Raft,
}

impl LeaderParts {
    /// The same for one term: no two terms of a node draw the same ids.
    pub(crate) fn of_term(&self, term: u64) -> Self {
        let entropy = self.environment.entropy.branch("leader", term);
        let environment = Environment { entropy, ..self.environment.clone() };
        Self { environment, ..self.clone() }
    }
}

impl Loops {
    /// Starts what follows leadership; a leader's loops will be in a tree inside `tree`.
    pub fn start(
        tree: &Tree,
        store: Store,
        parts: LeaderParts,
        bootstrap: Box<dyn Bootstrap>,
        on_fatal: OnFatal,
    ) -> Self {
        let factory = Leadership::factory(store, parts, bootstrap, on_fatal, tree.clone());
        Self { leadership: tree.child("leadership", factory) }
    }
}

/// From winning an election to losing it. Clones are the same one.
#[derive(Clone)]
pub struct Leader {
    tree: Tree,
    seat: Seat,
    /// Gives tasks what they need before they can be placed.
    pub allocator: Address<Allocator>,
    /// Places tasks on nodes.
    pub scheduler: Address<Scheduler>,
    /// Keeps replicated services at their size.
    pub replicated: Address<Replicated>,
    /// Replaces what ended.
    pub restart: Address<Restart>,
    /// Forgets what nobody needs.
    pub reaper: Address<Reaper>,
    /// Signs what nodes ask for.
    pub ca: Address<ca::Server>,
    /// Makes managers of workers, and the other way round.
    pub roles: Address<Roles>,
    /// The leader's end of every agent.
    pub dispatcher: Address<Dispatcher>,
}

impl Leader {
    /// Starts the loops in field order, under one budget.
    pub fn start(around: &Tree, store: &Store, parts: &LeaderParts) -> Self {
        let tree = around.subtree("leader", LOOPS);
        let LeaderParts { node_id, environment, seat, signer, raft } = parts;
        macro_rules! child {
            ($name:literal, $actor:ty $(, $more:expr)*) => {{
                let (store, environment) = (store.clone(), environment.clone());
                tree.child_with_address($name, move |life, own| {
                    <$actor>::new(store.clone(), environment.clone(), $($more,)* life, own)
                })
            }};
        }
        let leader = node_id.clone();
        let allocator = child!("allocator", Allocator);
        let scheduler = child!("scheduler", Scheduler);
        let replicated = child!("replicated", Replicated);
        let restart = child!("restart", Restart);
        let for_reaper = store.clone();
        let reaper =
            tree.child_with_address("reaper", move |_, own| Reaper::new(for_reaper.clone(), own));
        let for_ca = signer.clone();
        let ca = child!("ca", ca::Server, for_ca.clone());
        let (for_roles, raft) = (store.clone(), raft.clone());
        let roles = tree.child_with_address("roles", move |_, own| {
            Roles::new(for_roles.clone(), raft.clone(), own)
        });
        let for_dispatcher = seat.clone();
        let dispatcher = child!("dispatcher", Dispatcher, leader.clone(), for_dispatcher.clone());
        seat.take(dispatcher.clone());
        let seat = seat.clone();
        Self {
            tree,
            seat,
            allocator,
            scheduler,
            replicated,
            restart,
            reaper,
            ca,
            roles,
            dispatcher,
        }
    }

    /// Stops the loops, last started first. Once broken off, it can be begun again.
    pub async fn stop(self) {
        self.seat.leave();
        self.tree.stop().await;
    }
}
