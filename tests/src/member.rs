//! One machine of the cluster: a disk that stays, and lives that come and go. It is a member as
//! long as the group wants it; with a new disk it may become another.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use actix::{Actor, Context, Handler, ResponseFuture};
use actors::{
    dispatcher::Seat,
    environment::{Entropy, Environment},
    leadership::{Fatal, Leadership},
    log::{
        Member as LogMember, Options,
        simulated::{Crash, Damage, SimulatedDisk, Temper, ToyCipher},
    },
    raft::{self, Config, Ended, Error, Founder, LeadershipChanged, Links, Peer},
    roles,
    store::{MemoryStore, Store, Transaction},
    supervised,
    supervision::{ActorState, Address, Budget, Census, Closed, Tree, fail, testing::pardon},
    tree::{Core, LeaderParts, Log, Loops},
};
use protocol::{objects::Node, wire};

use crate::{
    clock::WallClock,
    counts::Counts,
    identity::{self, Identity},
    net::Network,
    node::First,
    subscriber::{Heard, Subscriber},
    trace::Trace,
};

/// Enough that only the faults of a run end a member, never the patience of its trees.
const BUDGET: Budget = Budget { restarts: 1_000, within: Duration::from_secs(60) };

/// After how many entries a member writes a snapshot: so few that a minute of a run holds several.
pub const SNAPSHOT_INTERVAL: u64 = 40;
/// How many entries a snapshot leaves.
pub const ENTRIES_KEPT: u64 = 10;

/// What the listener dies of when nobody behind it has heard.
pub const LOOPS_DIED: &str = "the loops have died of what they were told";

/// Who leads, as the members say: raft id and term.
pub type Claims = Rc<RefCell<Vec<(u64, u64)>>>;

/// What a machine is to the group, as far as the harness has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has never been a member.
    Outside,
    /// It was let in.
    Member,
    /// It was taken out. Its disk is as it was.
    Removed,
}

/// One machine.
pub struct Member {
    /// Its number, by which faults and scenarios call it. A founder has the same raft id.
    pub id: u64,
    /// What it shows others, where machines have certificates.
    identity: Option<Identity>,
    /// What it is to the group.
    pub standing: Standing,
    /// Whether the loops of a leader run while it leads.
    pub has_loops: bool,
    config: Config,
    /// It goes on whatever becomes of the process.
    clock: WallClock,
    disk: SimulatedDisk,
    /// How its disk behaves now.
    temper: Temper,
    /// How often it has become a member.
    memberships: u64,
    damage: Damage,
    network: Network,
    counts: Counts,
    trace: Trace,
    claims: Claims,
    /// How often it was started.
    pub lives: u64,
    disk_is_broken: bool,
    /// Whether it was broken in this life.
    disk_has_failed: bool,
    alive: Option<Alive>,
}

struct Alive {
    tree: Tree,
    census: Census,
    core: Core,
    leads: Rc<RefCell<Option<u64>>>,
    /// Why its process ends, once it does.
    end: Rc<RefCell<Option<Error>>>,
    heard: Rc<RefCell<Heard>>,
    /// Where its dispatcher is.
    seat: Seat,
    /// Who leads, as it knows.
    standing: raft::Standing,
}

/// Hears what raft tells the rest of the program.
struct Listener {
    id: u64,
    raft_id: u64,
    leads: Rc<RefCell<Option<u64>>>,
    end: Rc<RefCell<Option<Error>>>,
    /// Starts the loops of a leader, over this store.
    loops: Option<(Store, Address<Leadership>)>,
    /// Those who founded the group.
    founders: Vec<Founder>,
    claims: Claims,
    counts: Counts,
    trace: Trace,
}

/// The node that a machine is.
pub fn node_id(id: u64) -> String {
    format!("node-{id}")
}

/// Where other managers reach it.
pub fn address(id: u64) -> String {
    format!("node-{id}:4242")
}

impl Actor for Listener {
    type Context = Context<Self>;
}

supervised!(Listener, mailbox = 64);

impl Handler<LeadershipChanged> for Listener {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, changed: LeadershipChanged, _: &mut Context<Self>) -> Self::Result {
        *self.leads.borrow_mut() = changed.term;
        let effect = match changed.term {
            Some(term) => format!("leads term {term}"),
            None => "does not lead".to_owned(),
        };
        self.trace.note(format_args!("m{}", self.id), "leadership changed", effect);
        if let Some(term) = changed.term {
            self.counts.count("seen: leader elected");
            self.claims.borrow_mut().push((self.raft_id, term));
        }
        let Some((store, loops)) = self.loops.clone() else { return Box::pin(async {}) };
        let founders = changed.term.map(|_| self.founders.clone());
        Box::pin(async move {
            if let Some(founders) = founders {
                admit(&store, founders).await;
            }
            // Raft has to know that nobody knows.
            if let Err(Closed) = loops.send(changed).await {
                fail(&LOOPS_DIED);
            }
        })
    }
}

/// Writes the nodes of the founders, unless somebody has led before. Elsewhere, whoever is a member was let in by the certificate
/// authority, and has a node before. Where it fails, leadership is lost.
async fn admit(store: &Store, founders: Vec<Founder>) {
    let written = store.transact(move |head: &mut Transaction| {
        if head.default_cluster().is_some() {
            return Ok(());
        }
        founders.iter().try_for_each(|founder| match head.node(&founder.node_id[..].into()) {
            Some(_) => Ok(()),
            None => head.create(Node::from(manager(&founder.node_id))),
        })
    });
    written.await.ok();
}

fn manager(id: &str) -> wire::Node {
    let spec = wire::NodeSpec {
        desired_role: wire::NodeRole::Manager.into(),
        membership: wire::node_spec::Membership::Accepted.into(),
        ..wire::NodeSpec::default()
    };
    let role = wire::NodeRole::Manager.into();
    wire::Node { id: id.to_owned(), spec: Some(spec), role, ..wire::Node::default() }
}

impl Handler<Ended> for Listener {
    type Result = ();

    fn handle(&mut self, ended: Ended, _: &mut Context<Self>) {
        self.trace.note(format_args!("m{}", self.id), "ends", &ended.error);
        *self.end.borrow_mut() = Some(ended.error);
    }
}

impl Member {
    /// A machine that has never lived. It is a member if it founds the group.
    pub fn new(
        id: u64,
        founders: &[Founder],
        seed: u64,
        network: Network,
        counts: Counts,
        trace: Trace,
        claims: Claims,
    ) -> Self {
        let founds = founders.iter().any(|founder| founder.raft_id == id);
        let member = LogMember {
            raft_id: if founds { id } else { 0 },
            node_id: node_id(id),
            cluster_id: "cluster".to_owned(),
        };
        let config = Config {
            founders: if founds { founders.to_vec() } else { Vec::new() },
            snapshot_interval: SNAPSHOT_INTERVAL,
            snapshot_bytes: 1 << 20,
            entries_kept: ENTRIES_KEPT,
            ..Config::alone(member, address(id), seed)
        };
        Self {
            id,
            identity: None,
            standing: if founds { Standing::Member } else { Standing::Outside },
            has_loops: false,
            config,
            clock: WallClock::new(),
            disk: SimulatedDisk::new(seed.wrapping_add(id)),
            temper: Temper::default(),
            memberships: 0,
            damage: Damage::default(),
            network,
            counts,
            trace,
            claims,
            lives: 0,
            disk_is_broken: false,
            disk_has_failed: false,
            alive: None,
        }
    }

    /// The group has let it in: it begins with an empty disk, and is told everything by the leader.
    pub fn enroll(&mut self, raft_id: u64) {
        self.crash(Crash::Process);
        self.memberships += 1;
        let seed = self.config.seed.wrapping_add(self.id + 100 * self.memberships);
        self.disk = SimulatedDisk::new(seed);
        self.disk.set_temper(self.temper.clone());
        self.damage = Damage::default();
        self.config.member.raft_id = raft_id;
        self.config.member.node_id = self.node_id();
        self.config.founders.clear();
        self.standing = Standing::Member;
    }

    /// The group does without it, and its process goes on as that of a worker.
    pub fn retire(&mut self) {
        self.standing = Standing::Removed;
        let Some(Alive { tree, .. }) = self.alive.take() else { return };
        self.trace.note(format_args!("m{}", self.id), "retires", "");
        tree.abort();
        pardon(&self.path(""));
        self.network.detach(self.raft_id());
        self.disk.crash(Crash::Process);
    }

    /// Shows this to others from now on.
    pub fn show(&mut self, identity: Option<Identity>) {
        let text = identity.as_ref().map_or_else(String::new, |shown| {
            format!("{} {:?}", shown.subject.node_id, shown.subject.role)
        });
        self.trace.note(format_args!("m{}", self.id), "shows", text);
        self.identity = identity;
    }

    /// What it shows others.
    pub fn identity(&self) -> Option<Identity> {
        self.identity.clone()
    }

    /// The node that it is: by its certificate, if it has one.
    pub fn node_id(&self) -> String {
        let shown = self.identity.as_ref().map(|shown| shown.subject.node_id.to_string());
        shown.unwrap_or_else(|| node_id(self.id))
    }

    /// Who leads and who the members are, as it knows, while it lives.
    pub fn standing(&self) -> Option<raft::Standing> {
        self.alive.as_ref().map(|alive| alive.standing.clone())
    }

    /// Its raft id; 0 while it is outside.
    pub fn raft_id(&self) -> u64 {
        self.config.member.raft_id
    }

    /// Its wall clock.
    pub fn clock(&self) -> &WallClock {
        &self.clock
    }

    /// Whether it lives now.
    pub fn is_alive(&self) -> bool {
        self.alive.is_some()
    }

    /// Begins a life.
    pub async fn start(&mut self) {
        self.trace.note(
            format_args!("m{}", self.id),
            "starts",
            format_args!("life {}", self.lives + 1),
        );
        let census = Census::default();
        let tree = Tree::root(&format!("m{}", self.id), BUDGET, census.clone(), |lost| {
            panic!("{lost}");
        });
        let options = Options { segment_bytes: 16 * 1024, ..Options::default() };
        let log = tree.subtree("log", BUDGET);
        let Log { writer } = Log::start(&log, self.disk.mount(), ToyCipher { key: 7 }, options);
        let leads = Rc::<RefCell<Option<u64>>>::default();
        let end = Rc::<RefCell<Option<Error>>>::default();
        // What it draws must not be what another member or life has drawn.
        let entropy = self.config.seed.wrapping_add(self.id << 32 | self.lives << 40);
        let environment =
            Environment { clock: Arc::new(self.clock.clone()), entropy: Entropy::new(entropy) };
        let (standing, raft) = (raft::Standing::default(), roles::Raft::default());
        let seat = Seat::new(standing.clone());
        let (network, id) = (self.network.clone(), self.id);
        network.name(self.raft_id(), id);
        let link = async |store: &Store, memory, published| {
            let loops = self.has_loops.then(|| {
                let parts = LeaderParts {
                    node_id: self.node_id().into(),
                    environment: environment.clone(),
                    seat: seat.clone(),
                    signer: identity::signer(),
                    raft: raft.clone(),
                };
                let on_fatal = Arc::new(|fatal: Fatal| panic!("loops: {fatal}"));
                let loops = Loops::start(&tree, store.clone(), parts, Box::new(First), on_fatal);
                (store.clone(), loops.leadership)
            });
            let listener = self.listener(&tree, &leads, &end, loops);
            Links {
                log: writer,
                store: memory,
                published,
                standing: standing.clone(),
                transport: network.plug(id),
                leadership: listener.recipient(),
                ended: listener.recipient(),
            }
        };
        let core = Core::start(&tree, &environment, self.config.clone(), link).await;
        raft.bind(core.raft.recipient(), core.raft.recipient());
        self.network.attach(self.raft_id(), core.raft.clone());
        self.lives += 1;
        self.disk_has_failed = self.disk_is_broken;
        let heard = Rc::<RefCell<Heard>>::default();
        let hears = heard.clone();
        let subscriber = tree.child("subscriber", move |_| Subscriber { heard: hears.clone() });
        core.store.subscribe("subscriber", subscriber.recipient());
        self.alive = Some(Alive { tree, census, core, leads, end, heard, seat, standing });
    }

    fn listener(
        &self,
        tree: &Tree,
        leads: &Rc<RefCell<Option<u64>>>,
        end: &Rc<RefCell<Option<Error>>>,
        loops: Option<(Store, Address<Leadership>)>,
    ) -> Address<Listener> {
        let (id, raft_id, claims) = (self.id, self.raft_id(), self.claims.clone());
        let (leads, end, founders) = (leads.clone(), end.clone(), self.config.founders.clone());
        let (counts, trace) = (self.counts.clone(), self.trace.clone());
        tree.child("listener", move |_| Listener {
            id,
            raft_id,
            leads: leads.clone(),
            end: end.clone(),
            loops: loops.clone(),
            founders: founders.clone(),
            claims: claims.clone(),
            counts: counts.clone(),
            trace: trace.clone(),
        })
    }

    /// Ends the life at once, and does to the disk what such an end does.
    pub fn crash(&mut self, crash: Crash) {
        let Some(Alive { tree, .. }) = self.alive.take() else { return };
        self.trace.note(format_args!("m{}", self.id), "crashes", format_args!("{crash:?}"));
        tree.abort();
        pardon(&self.path(""));
        self.network.detach(self.raft_id());
        if crash == Crash::Process {
            self.network.close(self.raft_id());
        }
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
    pub fn set_disk(&mut self, temper: Temper) {
        self.disk_is_broken = temper.broken.is_some() || temper.changes_until_off.is_some();
        self.disk_has_failed |= self.disk_is_broken;
        self.temper = temper.clone();
        self.disk.set_temper(temper);
    }

    /// How often its disk has been changed, in all its lives.
    pub fn disk_changes(&self) -> u64 {
        self.disk.changes()
    }

    /// Why its process ends, once it does.
    pub fn end(&self) -> Option<Error> {
        self.alive.as_ref().and_then(|alive| alive.end.borrow().clone())
    }

    /// Whether it has ended since it is no member any more.
    pub fn knows_removal(&self) -> bool {
        matches!(self.end(), Some(Error::Removed(_)))
    }

    /// Whether its disk has been broken in this life.
    pub fn disk_has_failed(&self) -> bool {
        self.disk_has_failed
    }

    /// The place of one of its actors in its tree.
    pub fn path(&self, actor: &str) -> String {
        format!("m{}/{actor}", self.id)
    }

    /// Its store, while it lives.
    pub fn store(&self) -> Option<Store> {
        self.alive.as_ref().map(|alive| alive.core.store.clone())
    }

    /// The store's actor, while it lives: for what only raft asks of it.
    pub fn memory(&self) -> Option<Address<MemoryStore>> {
        self.alive.as_ref().map(|alive| alive.core.memory.clone())
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

    /// What its subscriber has been told in this life.
    pub fn heard(&self) -> Option<Rc<RefCell<Heard>>> {
        self.alive.as_ref().map(|alive| alive.heard.clone())
    }

    /// How many messages wait for each of its actors.
    pub fn mailboxes(&self) -> Vec<(String, usize)> {
        let reports = self.alive.iter().flat_map(|alive| alive.census.report());
        reports.map(|report| (report.path, report.mailbox_depth)).collect()
    }

    /// Where its dispatcher is, while it lives.
    pub fn seat(&self) -> Option<Seat> {
        self.alive.as_ref().map(|alive| alive.seat.clone())
    }

    /// How many actors the loops of a leader have that run here.
    pub fn loops(&self) -> usize {
        let reports = self.alive.iter().flat_map(|alive| alive.census.report());
        let loops = self.path("leader/");
        let live = reports.filter(|report| report.state != ActorState::Stopped);
        live.filter(|report| report.path.starts_with(&loops)).count()
    }

    /// The term in which it says that it leads.
    pub fn leads(&self) -> Option<u64> {
        self.alive.as_ref().and_then(|alive| *alive.leads.borrow())
    }
}
