//! One node's streams: what waits to be sent on them, and at most one message on the way on each.

use std::time::Instant;

use futures_util::future::LocalBoxFuture;
use protocol::{
    id::{NodeId, SessionId, TaskId},
    wire,
};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::logic::assignments::Stream;
use crate::store::View;

/// How likely a node calls a manager that it knows nothing of (cluster-security-dispatch §10.1).
const MANAGER_WEIGHT: i64 = 10;

/// What is left to do for a connection after an attempt to send.
pub(super) enum Delivery {
    /// Nothing, until something changes or an earlier wait is over.
    Idle,
    /// The next message is due then.
    Due(Instant),
    /// The node has not taken the last message; resolves once it has, or is gone.
    Blocked(LocalBoxFuture<'static, ()>),
}

/// A registered node. Dropping it ends both streams.
pub(super) struct Connection {
    node: NodeId,
    session: SessionId,
    messages: mpsc::Sender<wire::SessionMessage>,
    /// Something that session messages tell may have changed.
    changed: bool,
    assignments: Option<(Stream, mpsc::Sender<wire::AssignmentsMessage>)>,
    /// Somebody comes back to deliver: a timer, or room in a stream.
    waiting: bool,
}

impl Connection {
    /// Opens a session, with its first message due.
    pub(super) fn open(
        node: NodeId,
        session: SessionId,
    ) -> (Self, mpsc::Receiver<wire::SessionMessage>) {
        let (messages, receiver) = mpsc::channel(1);
        let connection =
            Self { node, session, messages, changed: true, assignments: None, waiting: false };
        (connection, receiver)
    }

    pub(super) fn session(&self) -> &SessionId {
        &self.session
    }

    /// Opens the stream of assignments; one that was open ends.
    pub(super) fn open_assignments(
        &mut self,
        node: NodeId,
        now: Instant,
    ) -> mpsc::Receiver<wire::AssignmentsMessage> {
        let (messages, receiver) = mpsc::channel(1);
        self.assignments = Some((Stream::new(node, now), messages));
        receiver
    }

    pub(super) fn touch_task(&mut self, task: TaskId, now: Instant) {
        if let Some((stream, _)) = &mut self.assignments {
            stream.touch(task, now);
        }
    }

    pub(super) fn touch_node(&mut self) {
        self.changed = true;
    }

    pub(super) fn touch_all(&mut self, view: &View, now: Instant) {
        self.changed = true;
        if let Some((stream, _)) = &mut self.assignments {
            stream.touch_all(view, now);
        }
    }

    /// The wait that a delivery asked for is over.
    pub(super) fn woken(&mut self) {
        self.waiting = false;
    }

    /// Sends what is due. Unless idle, the caller comes back, and says so by [`Connection::woken`].
    pub(super) fn deliver(&mut self, view: &View, now: Instant) -> Delivery {
        let delivery = match self.deliver_session(view) {
            Delivery::Idle => self.deliver_assignments(view, now),
            blocked @ (Delivery::Blocked(_) | Delivery::Due(_)) => blocked,
        };
        match delivery {
            Delivery::Idle => Delivery::Idle,
            // One wait at a time: who comes back finds everything else that is due.
            Delivery::Due(_) | Delivery::Blocked(_) if self.waiting => Delivery::Idle,
            delivery @ (Delivery::Due(_) | Delivery::Blocked(_)) => {
                self.waiting = true;
                delivery
            }
        }
    }

    fn deliver_session(&mut self, view: &View) -> Delivery {
        if !self.changed {
            return Delivery::Idle;
        }
        match self.messages.try_reserve() {
            Ok(room) => {
                self.changed = false;
                room.send(session_message(&self.node, &self.session, view));
                Delivery::Idle
            }
            Err(TrySendError::Full(())) => blocked(&self.messages),
            // Nobody listens; the node falls silent or registers anew.
            Err(TrySendError::Closed(())) => Delivery::Idle,
        }
    }

    fn deliver_assignments(&mut self, view: &View, now: Instant) -> Delivery {
        loop {
            let Some((stream, messages)) = &mut self.assignments else { return Delivery::Idle };
            let Some(due) = stream.due() else { return Delivery::Idle };
            if due > now {
                return Delivery::Due(due);
            }
            if messages.is_closed() {
                self.assignments = None;
                return Delivery::Idle;
            }
            let Ok(room) = messages.try_reserve() else { return blocked(messages) };
            if let Some(message) = stream.next(view) {
                room.send(message);
            }
        }
    }
}

fn blocked<T: Send + 'static>(messages: &mpsc::Sender<T>) -> Delivery {
    let messages = messages.clone();
    Delivery::Blocked(Box::pin(async move {
        messages.reserve().await.ok();
    }))
}

/// What a node must know of itself and of the managers.
fn session_message(node: &NodeId, session: &SessionId, view: &View) -> wire::SessionMessage {
    let managers = view.nodes().filter_map(|node| {
        let addr = node.rest.manager_status.as_ref()?.addr.clone();
        let peer = wire::Peer { node_id: node.id.to_string(), addr };
        Some(wire::WeightedPeer { peer: Some(peer), weight: MANAGER_WEIGHT })
    });
    let root = view.default_cluster().map(|cluster| cluster.root_ca.ca_cert.clone());
    wire::SessionMessage {
        session_id: session.to_string(),
        node: view.node(node).map(|node| (&**node).into()),
        managers: managers.collect(),
        root_ca: root.unwrap_or_default(),
        ..Default::default()
    }
}
