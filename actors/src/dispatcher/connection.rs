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

/// What is left to do for a connection after an attempt to send.
pub(super) enum Delivery {
    /// Nothing, until something changes or an earlier wait is over.
    Idle,
    /// The next message is due then.
    Due(Instant),
    /// The node has not taken the last message; resolves once it has, or is gone.
    Blocked(LocalBoxFuture<'static, ()>),
}

/// What sessions are told from.
pub(super) struct Told<'a> {
    /// What is committed.
    pub(super) view: &'a View,
    /// Who the managers are.
    pub(super) managers: &'a [wire::WeightedPeer],
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

    pub(super) fn touch_task(&mut self, task: TaskId) {
        if let Some((stream, _)) = &mut self.assignments {
            stream.touch(task);
        }
    }

    pub(super) fn touch_node(&mut self) {
        self.changed = true;
    }

    pub(super) fn touch_all(&mut self, view: &View) {
        self.changed = true;
        if let Some((stream, _)) = &mut self.assignments {
            stream.touch_all(view);
        }
    }

    /// The wait that a delivery asked for is over.
    pub(super) fn woken(&mut self) {
        self.waiting = false;
    }

    /// Sends what is due. Unless idle, the caller comes back, and says so by [`Connection::woken`].
    pub(super) fn deliver(&mut self, told: &Told<'_>, now: Instant) -> Delivery {
        let delivery = match self.deliver_session(told) {
            Delivery::Idle => self.deliver_assignments(told.view, now),
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

    /// Says a last time who the managers are, if there is room: this one serves no more.
    pub(super) fn part(&mut self, told: &Told<'_>) {
        self.changed = true;
        self.deliver_session(told);
    }

    fn deliver_session(&mut self, told: &Told<'_>) -> Delivery {
        if !self.changed {
            return Delivery::Idle;
        }
        match self.messages.try_reserve() {
            Ok(room) => {
                self.changed = false;
                room.send(session_message(&self.node, &self.session, told));
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
            if let Some(message) = stream.next(view, now) {
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
fn session_message(
    node: &NodeId,
    session: &SessionId,
    Told { view, managers }: &Told<'_>,
) -> wire::SessionMessage {
    let cluster = view.default_cluster();
    wire::SessionMessage {
        session_id: session.to_string(),
        node: view.node(node).map(|node| (&**node).into()),
        managers: managers.to_vec(),
        network_bootstrap_keys: cluster
            .map(|cluster| cluster.rest.network_bootstrap_keys.clone())
            .unwrap_or_default(),
        root_ca: cluster.map(|cluster| cluster.root_ca.ca_cert.clone()).unwrap_or_default(),
    }
}
