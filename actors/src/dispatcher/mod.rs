//! The dispatcher: the leader's end of every agent. Who is there, what each has to run, what became
//! of it. Lives as long as this manager leads.

mod connection;
mod error;
mod following;
mod local;
mod logic;
mod looking;
mod sessions;
#[cfg(test)]
mod tests;
mod writing;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseActFuture, WrapFuture,
    fut::ready,
};
use prost_types::Timestamp;
use protocol::{
    id::{NodeId, SessionId, TaskId},
    objects::TaskStatus,
    wire::{self, node_status::State},
};
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot};

pub use error::Error;
pub use local::{Doubt, LocalManagers, Seat};

use crate::{
    environment::Environment,
    raft::Group,
    store::{Store, View},
    supervised,
    supervision::{Address, Life},
};

use connection::{Connection, Delivery, Told};
use logic::{
    intake::{Intake, NodeChange},
    managers::named,
    registry::{Registration, Registry},
};
use writing::{Writing, moved};

/// How often nodes must be heard when the cluster does not say.
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(5);
/// How often nodes are heard at most, whatever the cluster says: a shorter period would keep a
/// processor busy with nothing else.
const HEARTBEAT_PERIOD_MIN: Duration = Duration::from_millis(100);
/// How often deadlines are looked at, unless nodes are to be heard more often.
const LOOK_EVERY: Duration = Duration::from_millis(500);

const NEW_LEADER: &str = r#"Node moved to "unknown" state due to leadership change in cluster"#;

/// The actor.
pub struct Dispatcher {
    store: Store,
    environment: Environment,
    /// The node that leads, which is this one.
    leader: NodeId,
    seat: Seat,
    own: Address<Self>,
    random: StdRng,
    /// The members of the raft group when they were last looked at.
    group: Arc<Group>,
    /// What nodes are told of them.
    managers: Vec<wire::WeightedPeer>,
    /// Since when the leader doubts that it hears.
    doubting: Option<Timestamp>,
    registry: Registry,
    /// How long after the last look at the deadlines the next one comes.
    looks_after: Duration,
    intake: Intake,
    connections: BTreeMap<NodeId, Connection>,
    /// Registrations that wait for their node's status to be committed.
    registering: Vec<oneshot::Sender<()>>,
    writing: Writing,
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

/// Count the nodes that have a session.
#[derive(Debug, Message)]
#[rtype(result = "usize")]
pub struct CountSessions;

impl UpdateTaskStatus {
    /// Returns what a node asks. An update without a status says nothing.
    pub fn new(node: NodeId, request: wire::UpdateTaskStatusRequest) -> Self {
        let updates = request.updates.into_iter();
        let updates = updates.filter_map(|update| Some((update.task_id.into(), update.status?)));
        Self { node, session: request.session_id.into(), updates: updates.collect() }
    }
}

/// Ask whether a session is still the node's. Whoever carries a stream asks why it has ended.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Error>")]
pub struct CheckSession {
    /// Whose certificate it is.
    pub node: NodeId,
    /// The session.
    pub session: SessionId,
}

/// Give up at once the nodes that the leader holds because it doubts itself: an operator says that
/// they are lost.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct BelieveSilence;

impl Dispatcher {
    /// The dispatcher of a manager that leads. `leader` is its own node, `seat` where it is found.
    pub fn new(
        store: Store,
        environment: Environment,
        leader: NodeId,
        seat: Seat,
        life: Life,
        own: &Address<Self>,
    ) -> Self {
        let random = environment.entropy.fork("dispatcher", life.0);
        let registry = Registry::new(period(&store.view()), now());
        let group = seat.standing().group();
        Self {
            store,
            environment,
            leader,
            own: own.clone(),
            random,
            managers: named(&group.members),
            group,
            seat,
            doubting: None,
            registry,
            looks_after: LOOK_EVERY,
            intake: Intake::default(),
            connections: BTreeMap::new(),
            registering: Vec::new(),
            writing: Writing::Idle(now()),
        }
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
        self.hear(node);
        let presented = SessionId::from(request.session_id);
        let fresh = SessionId::random(&mut self.random);
        let session = match self.registry.register(node, &presented, &fresh, now())? {
            Registration::Resumed => presented,
            Registration::New => fresh,
        };
        self.publish();
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

    /// Says which sessions are valid, and how often nodes are to be heard. Whoever changes that in
    /// the registry does this before anything else is handled.
    fn publish(&mut self) {
        let (period, changed) = (self.registry.period(), self.registry.take_changed());
        self.seat.sessions.follow(period, changed, &mut self.random);
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
        let told = Told { view: &self.store.view(), managers: &self.managers };
        match connection.deliver(&told, now()) {
            Delivery::Idle => {}
            Delivery::Due(at) => {
                ctx.run_later(at.saturating_duration_since(now()), again);
            }
            Delivery::Blocked(room) => {
                ctx.spawn(room.into_actor(self).map(|(), dispatcher, ctx| again(dispatcher, ctx)));
            }
        }
    }
}

impl Drop for Dispatcher {
    /// No heartbeat counts any more. Nodes hear once more who the managers are, and look for
    /// another; there may be one that has come since the last look.
    fn drop(&mut self) {
        self.seat.sessions.close();
        let managers = named(&self.seat.standing().group().members);
        let told = Told { view: &self.store.view(), managers: &managers };
        for connection in self.connections.values_mut() {
            connection.part(&told);
        }
    }
}

/// Deadlines follow the clock that timers follow.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
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
        self.seat.sessions.open(self.registry.period());
        self.publish();
        // An earlier life may have doubted.
        self.seat.show_doubt(None);
        self.store.subscribe("dispatcher", self.own.recipient());
        self.write_soon(ctx);
        self.look_later(ctx);
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
            dispatcher.registry.answer(&node, now());
            Ok(dispatcher.connect(node, session, ctx))
        }))
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

impl Handler<CountSessions> for Dispatcher {
    type Result = usize;

    fn handle(&mut self, _: CountSessions, _: &mut Self::Context) -> Self::Result {
        self.registry.sessions()
    }
}

impl Handler<CheckSession> for Dispatcher {
    type Result = Result<(), Error>;

    fn handle(&mut self, message: CheckSession, _: &mut Self::Context) -> Self::Result {
        self.registry.check(&message.node, &message.session)
    }
}

impl Handler<BelieveSilence> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: BelieveSilence, ctx: &mut Self::Context) {
        self.registry.believe(now());
        self.expire(ctx);
    }
}
