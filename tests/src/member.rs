//! One member of the cluster: a disk that stays, and lives that come and go.

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix::{Actor, Context, Handler};
use actors::{
    environment::{Entropy, Environment, testing},
    log::{
        Member as LogMember, Options,
        simulated::{Crash, Damage, SimulatedDisk, Temper, ToyCipher},
    },
    raft::{Config, Ended, Founder, LeadershipChanged, Links, Peer},
    store::Store,
    supervised,
    supervision::{Address, Budget, Census, Tree, testing::pardon},
    tree::{Core, Log},
};

use crate::{counts::Counts, net::Network, trace::Trace};

/// Enough that only the faults of a run end a member, never the patience of its trees.
const BUDGET: Budget = Budget { restarts: 1_000, within: Duration::from_secs(60) };

/// Who leads, as the members say: raft id and term.
pub type Claims = Rc<RefCell<Vec<(u64, u64)>>>;

/// One member.
pub struct Member {
    /// Its raft id.
    pub id: u64,
    config: Config,
    disk: SimulatedDisk,
    damage: Damage,
    network: Network,
    counts: Counts,
    trace: Trace,
    claims: Claims,
    /// How often it was started.
    pub lives: u64,
    alive: Option<Alive>,
}

struct Alive {
    tree: Tree,
    census: Census,
    core: Core,
    leads: Rc<RefCell<Option<u64>>>,
}

/// Hears what raft tells the rest of the program.
struct Listener {
    id: u64,
    leads: Rc<RefCell<Option<u64>>>,
    claims: Claims,
    counts: Counts,
    trace: Trace,
}

impl Actor for Listener {
    type Context = Context<Self>;
}

supervised!(Listener, mailbox = 64);

impl Handler<LeadershipChanged> for Listener {
    type Result = ();

    fn handle(&mut self, changed: LeadershipChanged, _: &mut Context<Self>) {
        *self.leads.borrow_mut() = changed.term;
        self.trace.note(format_args!("{} leads {:?}", self.id, changed.term));
        if let Some(term) = changed.term {
            self.counts.count("seen: leader elected");
            self.claims.borrow_mut().push((self.id, term));
        }
    }
}

impl Handler<Ended> for Listener {
    type Result = ();

    fn handle(&mut self, ended: Ended, _: &mut Context<Self>) {
        panic!("member {} has ended: {}", self.id, ended.error);
    }
}

impl Member {
    /// A member that has never lived.
    pub fn new(
        founders: &[Founder],
        founder: &Founder,
        seed: u64,
        network: Network,
        counts: Counts,
        trace: Trace,
        claims: Claims,
    ) -> Self {
        let id = founder.raft_id;
        let member = LogMember {
            raft_id: id,
            node_id: founder.node_id.clone(),
            cluster_id: "cluster".to_owned(),
        };
        let config = Config {
            founders: founders.to_vec(),
            // Small, so that a minute of a run holds several.
            snapshot_interval: 40,
            entries_kept: 10,
            ..Config::alone(member, founder.address.clone(), seed)
        };
        Self {
            id,
            config,
            disk: SimulatedDisk::new(seed.wrapping_add(id)),
            damage: Damage::default(),
            network,
            counts,
            trace,
            claims,
            lives: 0,
            alive: None,
        }
    }

    /// Whether it lives now.
    pub fn is_alive(&self) -> bool {
        self.alive.is_some()
    }

    /// Begins a life.
    pub async fn start(&mut self) {
        self.trace.note(format_args!("{} starts", self.id));
        let census = Census::default();
        let tree = Tree::root(&format!("m{}", self.id), BUDGET, census.clone(), |lost| {
            panic!("{lost}");
        });
        let options = Options { segment_bytes: 32 * 1024, ..Options::default() };
        let Log { writer } = Log::start(&tree, self.disk.mount(), ToyCipher { key: 7 }, options);
        let leads = Rc::<RefCell<Option<u64>>>::default();
        let listener = {
            let (id, leads, claims) = (self.id, leads.clone(), self.claims.clone());
            let (counts, trace) = (self.counts.clone(), self.trace.clone());
            tree.child("listener", move |_| Listener {
                id,
                leads: leads.clone(),
                claims: claims.clone(),
                counts: counts.clone(),
                trace: trace.clone(),
            })
        };
        let environment =
            Environment { entropy: Entropy::new(self.config.seed), ..testing::environment() };
        let (network, id) = (self.network.clone(), self.id);
        let link = async |_: &Store, store, published| Links {
            log: writer,
            store,
            published,
            transport: network.plug(id),
            leadership: listener.recipient(),
            ended: listener.recipient(),
        };
        let core = Core::start(&tree, &environment, self.config.clone(), link).await;
        self.network.attach(self.id, core.raft.clone());
        self.lives += 1;
        self.alive = Some(Alive { tree, census, core, leads });
    }

    /// Ends the life at once, and does to the disk what such an end does.
    pub fn crash(&mut self, crash: Crash) {
        let Some(Alive { tree, .. }) = self.alive.take() else { return };
        self.trace.note(format_args!("{} crashes: {crash:?}", self.id));
        tree.abort();
        pardon(&self.path(""));
        self.network.detach(self.id);
        self.disk.crash(crash);
        self.counts.count(match crash {
            Crash::Process => "fault: crash of a process",
            Crash::Power => "fault: crash of a machine",
        });
        let damage = self.disk.damage();
        self.counts.add("fault: disk lost a write", damage.lost - self.damage.lost);
        self.counts.add("fault: disk tore a write", damage.torn - self.damage.torn);
        self.counts.add("fault: disk reordered writes", damage.reordered - self.damage.reordered);
        self.counts.add("fault: disk undid a name", damage.names - self.damage.names);
        self.damage = damage;
    }

    /// Changes how its disk behaves.
    pub fn set_disk(&self, temper: Temper) {
        self.disk.set_temper(temper);
    }

    /// The place of one of its actors in its tree.
    pub fn path(&self, actor: &str) -> String {
        format!("m{}/{actor}", self.id)
    }

    /// Its store, while it lives.
    pub fn store(&self) -> Option<Store> {
        self.alive.as_ref().map(|alive| alive.core.store.clone())
    }

    /// Its raft peer, while it lives.
    pub fn peer(&self) -> Option<Address<Peer>> {
        self.alive.as_ref().map(|alive| alive.core.raft.clone())
    }

    /// Why its actors have died in this life, as far as each still knows.
    pub fn deaths(&self) -> Vec<String> {
        let reports = self.alive.iter().flat_map(|alive| alive.census.report());
        reports.filter_map(|report| report.last_failure).collect()
    }

    /// The term in which it says that it leads.
    pub fn leads(&self) -> Option<u64> {
        self.alive.as_ref().and_then(|alive| *alive.leads.borrow())
    }
}
