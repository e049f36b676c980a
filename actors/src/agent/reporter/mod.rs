//! The reporter: carries the newest status of every task to the manager of the present session,
//! one at a time, for ever.

mod logic;
#[cfg(test)]
mod tests;

use std::{rc::Rc, sync::Arc};

use actix::{Actor, Context, Handler, Message};
use protocol::{id::TaskId, wire};

use super::{
    Shared,
    port::{Manager, ManagerError},
    session::{Failed, Reopen},
    work::Work,
};
use crate::supervised;

use logic::Outbox;

/// The actor.
pub(super) struct Reporter {
    shared: Rc<Shared>,
    outbox: Outbox,
    connection: Option<Connected>,
    sending: Option<Work>,
}

supervised!(Reporter, mailbox = 64);

impl Reporter {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        Self { shared, outbox: Outbox::default(), connection: None, sending: None }
    }
}

/// Statuses that a manager must hear of, all of them in the database.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Submit(pub(super) Vec<(TaskId, wire::TaskStatus)>);

/// A session has begun.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Connected {
    /// The manager that hears the statuses.
    pub(super) manager: Arc<dyn Manager>,
    /// The session's id.
    pub(super) id: String,
    /// Which of the node's sessions it is.
    pub(super) ordinal: u64,
}

/// A session is over.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Disconnected;

impl Actor for Reporter {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        // An earlier life took what it had not sent with it: a new session sends all again.
        self.shared.peers().session.try_send(Reopen).ok();
    }
}

impl Handler<Submit> for Reporter {
    type Result = ();

    fn handle(&mut self, Submit(statuses): Submit, ctx: &mut Self::Context) {
        for (task, status) in statuses {
            self.outbox.submit(task, status);
        }
        self.send_next(ctx);
    }
}

impl Handler<Connected> for Reporter {
    type Result = ();

    fn handle(&mut self, connected: Connected, ctx: &mut Self::Context) {
        self.drop_connection();
        self.connection = Some(connected);
        self.send_next(ctx);
    }
}

impl Handler<Disconnected> for Reporter {
    type Result = ();

    fn handle(&mut self, _: Disconnected, _: &mut Self::Context) {
        self.drop_connection();
    }
}

impl Reporter {
    fn drop_connection(&mut self) {
        self.sending = None;
        self.outbox.returned();
        self.connection = None;
    }

    fn send_next(&mut self, ctx: &mut Context<Self>) {
        let Some(Connected { manager, id, .. }) = &self.connection else { return };
        let Some((task, status)) = self.outbox.next() else { return };
        let update = wire::update_task_status_request::TaskStatusUpdate {
            task_id: task.to_string(),
            status: Some(status),
        };
        let request =
            wire::UpdateTaskStatusRequest { session_id: id.clone(), updates: vec![update] };
        let sent = manager.update_task_status(request);
        self.sending = Some(Work::begin(ctx, sent, |reporter, answer, ctx| {
            reporter.answered(answer.map(drop), ctx);
        }));
    }

    fn answered(&mut self, answer: Result<(), ManagerError>, ctx: &mut Context<Self>) {
        match answer {
            // What the manager does not know, nobody waits for.
            Ok(()) | Err(ManagerError::NotFound(_)) => {
                self.outbox.settled();
                self.send_next(ctx);
            }
            Err(error) => {
                let ordinal = self.connection.as_ref().map(|connection| connection.ordinal);
                self.drop_connection();
                tracing::debug!(%error, "a status was not taken");
                let ordinal = ordinal.expect("nothing is sent without a connection");
                self.shared.peers().session.try_send(Failed { ordinal }).ok();
            }
        }
    }
}
