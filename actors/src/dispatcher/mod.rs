//! The dispatcher: the leader's end of every agent. Who is there, what each has to run, what became
//! of it. Lives as long as this manager leads.

mod connection;
mod error;
mod local;
mod logic;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseActFuture, WrapFuture,
    fut::ready,
};
use futures_util::future::join_all;
use protocol::{
    id::{NodeId, SessionId, TaskId},
    objects::TaskStatus,
    wire::{self, node_status::State},
};
use rand::{Rng, rngs::StdRng};
use tokio::sync::{mpsc, oneshot};

pub use error::Error;
pub use local::{LocalManagers, Seat};

use crate::{
    environment::Environment,
    store::{self, Change, Changes, Store, TransactError, View},
    supervised,
    supervision::{Address, Life, fail},
};

use connection::{Connection, Delivery};
use logic::{
    intake::{Intake, NodeChange, Part, Stamp, removed_nodes, write},
    registry::{Expiry, Registration, Registry, vary},
};

/// How often nodes must be heard when the cluster does not say.
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(5);
/// How often nodes are heard at most, whatever the cluster says: a shorter period would keep a
/// processor busy with nothing else.
const HEARTBEAT_PERIOD_MIN: Duration = Duration::from_millis(100);
/// How often deadlines are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long what agents say waits for more to go into the same write.
const WRITE_AFTER: Duration = Duration::from_millis(100);

const SILENT: &str = "heartbeat failure";
const NEVER_RETURNED: &str = r#"heartbeat failure for node in "unknown" state"#;
const NEW_LEADER: &str = r#"Node moved to "unknown" state due to leadership change in cluster"#;

/// The actor.
pub struct Dispatcher {
    store: Store,
    environment: Environment,
    /// The node that leads, which is this one.
    leader: NodeId,
    own: Address<Self>,
    random: StdRng,
    registry: Registry,
    intake: Intake,
    connections: BTreeMap<NodeId, Connection>,
    /// Registrations that wait for their node's status to be committed.
    registering: Vec<oneshot::Sender<()>>,
    writing: Writing,
}

/// What became of a part: what of it is left to write.
type Written = Result<Option<Part>, TransactError<store::Error>>;

/// One write of what agents say is on its way, or waits for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Idle,
    Later,
    Now,
}

supervised!(Dispatcher, mailbox = 4096);

/// Register a node, or resume its session. Answered once the node is committed as READY.
#[derive(Debug, Message)]
#[rtype(result = "Result<mpsc::Receiver<wire::SessionMessage>, Error>")]
pub struct OpenSession {
    /// Whose certificate it is.
    pub node: NodeId,
    /// Where it calls from; none for this process itself.
    pub addr: Option<IpAddr>,
    /// What it asks.
    pub request: wire::SessionRequest,
}

/// Note that a node lives. The answer is the time until it must be heard again.
#[derive(Debug, Message)]
#[rtype(result = "Result<Duration, Error>")]
pub struct Heartbeat {
    /// Whose certificate it is.
    pub node: NodeId,
    /// Its session.
    pub session: SessionId,
}

/// Open the stream of what a node has to run. A stream that was open ends.
#[derive(Debug, Message)]
#[rtype(result = "Result<mpsc::Receiver<wire::AssignmentsMessage>, Error>")]
pub struct OpenAssignments {
    /// Whose certificate it is.
    pub node: NodeId,
    /// Its session.
    pub session: SessionId,
}

/// Take what a node says of its tasks. Answered before it is committed.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Error>")]
pub struct UpdateTaskStatus {
    /// Whose certificate it is.
    pub node: NodeId,
    /// Its session.
    pub session: SessionId,
    /// The statuses.
    pub updates: Vec<(TaskId, wire::TaskStatus)>,
}

impl Dispatcher {
    /// The dispatcher of a manager that leads. `leader` is its own node.
    pub fn new(
        store: Store,
        environment: Environment,
        leader: NodeId,
        life: Life,
        own: &Address<Self>,
    ) -> Self {
        let random = environment.entropy.fork("dispatcher", life.0);
        let registry = Registry::new(period(&store.view()), now());
        Self {
            store,
            environment,
            leader,
            own: own.clone(),
            random,
            registry,
            intake: Intake::default(),
            connections: BTreeMap::new(),
            registering: Vec::new(),
            writing: Writing::Idle,
        }
    }

    /// Looks at the deadlines of all nodes.
    fn look(&mut self, ctx: &mut Context<Self>) {
        for expiry in self.registry.expire(LOOK_EVERY, now()) {
            match expiry {
                Expiry::Silent(node) => self.lose(node, SILENT),
                Expiry::NeverReturned(node) => self.lose(node, NEVER_RETURNED),
                Expiry::Orphaned(node) => self.intake.orphan(node),
            }
        }
        self.write_soon(ctx);
        ctx.run_later(LOOK_EVERY, Self::look);
    }

    fn lose(&mut self, node: NodeId, why: &'static str) {
        self.connections.remove(&node);
        self.intake.change(node, moved(State::Down, why));
    }

    /// Takes a registration; the receiver hears when it is committed.
    fn register(
        &mut self,
        node: &NodeId,
        addr: Option<IpAddr>,
        request: wire::SessionRequest,
        ctx: &mut Context<Self>,
    ) -> Result<(SessionId, oneshot::Receiver<()>), Error> {
        if self.store.view().node(node).is_none() {
            return Err(Error::NodeNotFound);
        }
        let presented = SessionId::from(request.session_id);
        let fresh = SessionId::random(&mut self.random);
        let session = match self.registry.register(node, &presented, &fresh, now())? {
            Registration::Resumed => presented,
            Registration::New => fresh,
        };
        self.connections.remove(node);
        let change = NodeChange {
            addr: addr.map(|addr| addr.to_string()),
            description: request.description.map(Arc::new),
            ..moved(State::Ready, "")
        };
        self.intake.change(node.clone(), change);
        let (committed, answer) = oneshot::channel();
        self.registering.push(committed);
        self.write_now(ctx);
        Ok((session, answer))
    }

    /// Opens the stream of a session with what a node must know first.
    fn connect(
        &mut self,
        node: NodeId,
        session: SessionId,
        ctx: &mut Context<Self>,
    ) -> mpsc::Receiver<wire::SessionMessage> {
        let (connection, messages) = Connection::open(node.clone(), session);
        self.connections.insert(node.clone(), connection);
        self.deliver(node, ctx);
        messages
    }

    /// Sends a node what is due, and comes back when more is.
    fn deliver(&mut self, node: NodeId, ctx: &mut Context<Self>) {
        let Some(connection) = self.connections.get_mut(&node) else { return };
        let session = connection.session().clone();
        let again = move |dispatcher: &mut Self, ctx: &mut Context<Self>| {
            let connection = dispatcher.connections.get_mut(&node);
            // A later session of the node has timers of its own.
            if let Some(connection) = connection.filter(|found| *found.session() == session) {
                connection.woken();
                dispatcher.deliver(node, ctx);
            }
        };
        match connection.deliver(&self.store.view(), now()) {
            Delivery::Idle => {}
            Delivery::Due(at) => {
                ctx.run_later(at.saturating_duration_since(now()), again);
            }
            Delivery::Blocked(room) => {
                ctx.spawn(room.into_actor(self).map(|(), dispatcher, ctx| again(dispatcher, ctx)));
            }
        }
    }

    /// Writes what agents said, together with what they say in the next moment.
    fn write_soon(&mut self, ctx: &mut Context<Self>) {
        if self.intake.is_empty() || self.writing == Writing::Now {
            return;
        }
        if self.intake.is_full() {
            self.write_now(ctx);
        } else if self.writing == Writing::Idle {
            self.writing = Writing::Later;
            ctx.run_later(WRITE_AFTER, |dispatcher, ctx| {
                if dispatcher.writing == Writing::Later {
                    dispatcher.write_now(ctx);
                }
            });
        }
    }

    fn write_now(&mut self, ctx: &mut Context<Self>) {
        if self.writing == Writing::Now {
            return;
        }
        self.writing = Writing::Now;
        let stamp = Stamp { by: self.leader.clone().into(), at: self.environment.clock.now() };
        let waiting = std::mem::take(&mut self.registering);
        let parts = self.intake.take().into_iter().map(|part| {
            let (written, stamp) = (part.clone(), stamp.clone());
            let outcome = self.store.transact(move |head| write(head, written, &stamp));
            async move { (part, outcome.await) }
        });
        let written = join_all(parts).into_actor(self);
        ctx.spawn(written.map(move |outcomes, dispatcher, ctx| {
            dispatcher.written(ctx, outcomes, waiting);
        }));
    }

    fn written(
        &mut self,
        ctx: &mut Context<Self>,
        outcomes: Vec<(Part, Written)>,
        mut waiting: Vec<oneshot::Sender<()>>,
    ) {
        self.writing = Writing::Idle;
        let mut whole = true;
        for (part, outcome) in outcomes {
            let left = match outcome {
                Ok(left) => left,
                Err(TransactError::NotWritten(_) | TransactError::OutcomeUnknown) => Some(part),
                Err(error @ TransactError::TooLarge { .. }) => {
                    tracing::error!(%error, of = part.first(), "an update is dropped");
                    if part.is_awaited() {
                        // Whoever it is tries again; nobody is told that it is committed.
                        waiting.clear();
                    }
                    part.without_first()
                }
                // Decided and written on one state of the store, so only a fault of ours can be
                // refused.
                Err(TransactError::Aborted(error)) => fail(&error),
            };
            if let Some(left) = left {
                whole &= !left.is_awaited();
                self.intake.give_back(left);
            }
        }
        if whole {
            for committed in waiting {
                committed.send(()).ok();
            }
        } else {
            self.registering.extend(waiting);
        }
        self.write_soon(ctx);
    }

    /// Notes what changed for which node.
    fn touch(&mut self, changes: &Changes, view: &View) -> BTreeSet<NodeId> {
        let mut touched = BTreeSet::new();
        for (id, task) in &changes.tasks {
            for task in task.before.iter().chain(&task.after) {
                if let Some(connection) = self.connections.get_mut(&task.node_id) {
                    connection.touch_task(id.clone(), now());
                    touched.insert(task.node_id.clone());
                }
            }
        }
        for (id, node) in &changes.nodes {
            if node.after.is_none() {
                self.registry.forget(id);
                self.connections.remove(id);
                self.intake.orphan(id.clone());
            } else if let Some(connection) = self.connections.get_mut(id) {
                connection.touch_node();
                touched.insert(id.clone());
            }
        }
        if !changes.clusters.is_empty() {
            self.registry.set_period(period(view));
            // Session messages carry the root certificate.
            for (id, connection) in &mut self.connections {
                connection.touch_node();
                touched.insert(id.clone());
            }
        }
        touched
    }

    /// Notes that anything may have changed for anyone.
    fn touch_all(&mut self, view: &View) -> BTreeSet<NodeId> {
        self.registry.set_period(period(view));
        let removed = self.connections.extract_if(.., |node, _| view.node(node).is_none());
        for (node, _) in removed {
            self.registry.forget(&node);
        }
        removed_nodes(view).into_iter().for_each(|node| self.intake.orphan(node));
        for connection in self.connections.values_mut() {
            connection.touch_all(view, now());
        }
        self.connections.keys().cloned().collect()
    }
}

/// Deadlines follow the clock that timers follow.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn moved(state: State, message: &'static str) -> NodeChange {
    NodeChange { state, message, addr: None, description: None }
}

/// How often nodes must be heard, as the cluster says.
fn period(view: &View) -> Duration {
    let cluster = view.default_cluster();
    let stored = cluster.and_then(|cluster| cluster.spec.dispatcher?.heartbeat_period);
    let stored = stored.and_then(|stored| Duration::try_from(stored).ok());
    let period = stored.filter(|period| !period.is_zero()).unwrap_or(HEARTBEAT_PERIOD);
    period.max(HEARTBEAT_PERIOD_MIN)
}

impl Actor for Dispatcher {
    type Context = Context<Self>;

    /// What an earlier leader, or an earlier life, knew of sessions is lost.
    fn started(&mut self, ctx: &mut Self::Context) {
        for node in self.store.view().nodes() {
            match node.status.state() {
                State::Down => self.registry.remember_lost(node.id.clone(), now()),
                State::Unknown | State::Ready | State::Disconnected => {
                    self.registry.await_return(node.id.clone(), now());
                    self.intake.change(node.id.clone(), moved(State::Unknown, NEW_LEADER));
                }
            }
        }
        self.store.subscribe("dispatcher", self.own.recipient());
        self.write_soon(ctx);
        ctx.run_later(LOOK_EVERY, Self::look);
    }
}

impl Handler<OpenSession> for Dispatcher {
    type Result = ResponseActFuture<Self, Result<mpsc::Receiver<wire::SessionMessage>, Error>>;

    fn handle(&mut self, message: OpenSession, ctx: &mut Self::Context) -> Self::Result {
        let OpenSession { node, addr, request } = message;
        let (session, committed) = match self.register(&node, addr, request, ctx) {
            Ok(registered) => registered,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        Box::pin(committed.into_actor(self).map(move |committed, dispatcher, ctx| {
            committed.map_err(|_| Error::Stopped)?;
            // It may have registered again meanwhile, or fallen silent.
            dispatcher.registry.check(&node, &session)?;
            Ok(dispatcher.connect(node, session, ctx))
        }))
    }
}

impl Handler<Heartbeat> for Dispatcher {
    type Result = Result<Duration, Error>;

    fn handle(&mut self, message: Heartbeat, _: &mut Self::Context) -> Self::Result {
        let Heartbeat { node, session } = message;
        let period = vary(self.registry.period(), self.random.r#gen());
        self.registry.hear(&node, &session, period, now())?;
        Ok(period)
    }
}

impl Handler<OpenAssignments> for Dispatcher {
    type Result = Result<mpsc::Receiver<wire::AssignmentsMessage>, Error>;

    fn handle(&mut self, message: OpenAssignments, ctx: &mut Self::Context) -> Self::Result {
        let OpenAssignments { node, session } = message;
        self.registry.check(&node, &session)?;
        let connection = self.connections.get_mut(&node).ok_or(Error::SessionInvalid)?;
        let stream = connection.open_assignments(node.clone(), now());
        self.deliver(node, ctx);
        Ok(stream)
    }
}

impl Handler<UpdateTaskStatus> for Dispatcher {
    type Result = Result<(), Error>;

    fn handle(&mut self, message: UpdateTaskStatus, ctx: &mut Self::Context) -> Self::Result {
        let UpdateTaskStatus { node, session, updates } = message;
        self.registry.check(&node, &session)?;
        let view = self.store.view();
        let mut known = Vec::with_capacity(updates.len());
        for (id, status) in updates {
            let Some(task) = view.task(&id) else { continue };
            if task.node_id != node {
                return Err(Error::NotAssigned);
            }
            known.push((id, TaskStatus::from(status)));
        }
        for (task, status) in known {
            self.intake.report(task, status);
        }
        self.write_soon(ctx);
        Ok(())
    }
}

impl Handler<Change> for Dispatcher {
    type Result = ();

    fn handle(&mut self, change: Change, ctx: &mut Self::Context) {
        let touched = match change {
            Change::Committed { changes, view } => self.touch(&changes, &view),
            Change::Resync { view } => self.touch_all(&view),
        };
        self.write_soon(ctx);
        for node in touched {
            self.deliver(node, ctx);
        }
    }
}
