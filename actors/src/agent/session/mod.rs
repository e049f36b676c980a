//! The session: registers this node with a manager, stays in touch, and begins anew when any part
//! of that fails. When to do what is decided in `logic.rs`.

mod logic;
mod news;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    future::{Future, pending},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, fut::wrap_future};
use futures_util::{FutureExt, StreamExt};
use protocol::wire;
use rand::{Rng, rngs::StdRng};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    Apply, AwaitResumption, Registered, Shared,
    heartbeats::{ANSWER_TIMEOUT, beat},
    port::{Manager, ManagerError, Messages},
    reporter::{Connected, Disconnected},
    work::Work,
};
use crate::{supervised, supervision::Life};

use logic::{Effect, Input, Sessions};
use news::Heard;

/// How often the machine is asked whether it has changed.
const DESCRIBE_EVERY: Duration = Duration::from_secs(20);

/// The actor.
pub(super) struct Session {
    shared: Rc<Shared>,
    random: StdRng,
    sessions: Sessions,
    heard: Heard,
    /// What managers are to know of the node's certificate; what was looked at is marked as seen.
    tls_info: watch::Receiver<wire::NodeTlsInfo>,
    /// Counts sessions, so that news of one that is over is known as such.
    ordinal: u64,
    /// What is done before a session is open: waiting, describing, opening.
    preparing: Option<Work>,
    open: Option<Open>,
}

supervised!(Session, mailbox = 64);

/// A session with one manager. Dropping it ends every part of it.
struct Open {
    manager: Arc<dyn Manager>,
    /// Reads session messages.
    receiving: Option<Work>,
    /// Sends heartbeats.
    beating: Option<Work>,
    /// Reads assignments, or waits until the agent has taken them.
    assigning: Option<Work>,
    assignments: Option<Messages<wire::AssignmentsMessage>>,
    /// Waits for the time to look at the machine again, or looks.
    describing: Option<Work>,
}

impl Session {
    pub(super) fn new(shared: Rc<Shared>, life: Life) -> Self {
        let random = shared.environment.entropy.fork("agent/session", life.0);
        let tls_info = shared.ports.tls_info.clone();
        Self {
            tls_info,
            shared,
            random,
            sessions: Sessions::new(),
            heard: Heard::default(),
            ordinal: 0,
            preparing: None,
            open: None,
        }
    }
}

/// The session cannot go on: part of what it had brought is lost on this side.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Reopen;

/// A status could not be sent over a session.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Failed {
    /// Which session.
    pub(super) ordinal: u64,
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.await_resumption(ctx);
    }
}

impl Handler<Reopen> for Session {
    type Result = ();

    fn handle(&mut self, _: Reopen, ctx: &mut Self::Context) {
        self.step(Input::Failed, ctx);
    }
}

impl Handler<Failed> for Session {
    type Result = ();

    fn handle(&mut self, Failed { ordinal }: Failed, ctx: &mut Self::Context) {
        if ordinal == self.ordinal {
            self.step(Input::Failed, ctx);
        }
    }
}

impl Session {
    /// Tasks that survived the daemon go on before any manager is asked.
    fn await_resumption(&mut self, ctx: &mut Context<Self>) {
        let resumed = self.shared.peers().agent.send(AwaitResumption);
        self.preparing = Some(Work::begin(ctx, resumed, |session, resumed, ctx| match resumed {
            Ok(()) => session.step(Input::Begin, ctx),
            // It died while it resumed; the next life tries again.
            Err(_) => session.await_resumption(ctx),
        }));
    }

    fn step(&mut self, input: Input, ctx: &mut Context<Self>) {
        let mut effects = VecDeque::from(self.sessions.step(input));
        while let Some(effect) = effects.pop_front() {
            self.perform(effect, ctx);
        }
    }

    fn fail(&mut self, error: &dyn std::fmt::Display, ctx: &mut Context<Self>) {
        tracing::info!(%error, "the session with a manager failed");
        self.step(Input::Failed, ctx);
    }

    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Describe => {
                let described = self.describe();
                self.preparing = Some(Work::begin(ctx, described, Self::described));
            }
            Effect::DescribeLater => {
                let mut tls_info = self.tls_info.clone();
                let later = async move {
                    let changed = async {
                        if tls_info.changed().await.is_err() {
                            pending::<()>().await;
                        }
                    };
                    timeout(DESCRIBE_EVERY, changed).await.ok();
                };
                let work = Work::begin(ctx, later, |session: &mut Self, (), ctx| {
                    let described = session.describe();
                    let work = Work::begin(ctx, described, Self::described);
                    session.opened().describing = Some(work);
                });
                self.opened().describing = Some(work);
            }
            Effect::Open(request) => self.begin_open(*request, ctx),
            Effect::Register(id) => self.register(id, ctx),
            Effect::KeepAlive(id) => self.keep_alive(id, ctx),
            Effect::OpenAssignments(session_id) => {
                let open = self.opened();
                let request = wire::AssignmentsRequest { session_id };
                open.assignments = Some(open.manager.assignments(request));
                // While the agent takes the last message, reading goes on after that.
                if open.assigning.is_none() {
                    self.read_assignments(ctx);
                }
            }
            Effect::Apply(message) => self.apply(message, ctx),
            Effect::Close => self.close(ctx),
            Effect::LetGo => {
                self.opened().manager.let_go();
                self.close(ctx);
            }
            Effect::BeginAfter(bound) => {
                let wait = sleep(self.random.gen_range(Duration::ZERO..bound));
                self.preparing = Some(Work::begin(ctx, wait, |session: &mut Self, (), ctx| {
                    session.step(Input::Begin, ctx);
                }));
            }
        }
    }

    fn opened(&mut self) -> &mut Open {
        self.open.as_mut().expect("only an open session asks for this")
    }

    fn describe(&mut self) -> impl Future<Output = Option<Box<wire::NodeDescription>>> + use<> {
        let executor = self.shared.ports.executor.clone();
        let tls_info = Some(self.tls_info.borrow_and_update().clone());
        async move {
            match timeout(ANSWER_TIMEOUT, executor.describe()).await {
                Ok(Ok(description)) => {
                    Some(Box::new(wire::NodeDescription { tls_info, ..description }))
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the machine does not say what it offers");
                    None
                }
                Err(_) => None,
            }
        }
    }

    fn described(&mut self, found: Option<Box<wire::NodeDescription>>, ctx: &mut Context<Self>) {
        let is_outdated = self.open.as_ref().is_some_and(|open| open.manager.is_outdated());
        let input = if is_outdated { Input::Outdated(found) } else { Input::Described(found) };
        self.step(input, ctx);
    }

    fn begin_open(&mut self, request: wire::SessionRequest, ctx: &mut Context<Self>) {
        let chosen = self.shared.ports.managers.choose();
        let opened = async move {
            let opened = timeout(ANSWER_TIMEOUT, async move {
                let manager = chosen.await?;
                let mut messages = manager.session(request);
                let first = next(&mut messages).await?;
                Ok((manager, messages, first))
            });
            opened.await.unwrap_or_else(|_| Err(timed_out("session initiation timed out")))
        };
        self.preparing =
            Some(Work::begin(ctx, opened, |session: &mut Self, opened, ctx| match opened {
                Ok((manager, messages, first)) => {
                    session.preparing = None;
                    session.ordinal += 1;
                    session.open = Some(Open {
                        manager,
                        receiving: None,
                        beating: None,
                        assigning: None,
                        assignments: None,
                        describing: None,
                    });
                    session.receive(messages, ctx);
                    let id = session.hear(first);
                    session.step(Input::Received(id), ctx);
                }
                Err(error) => session.fail(&error, ctx),
            }));
    }

    /// Reads session messages, one after the other.
    fn receive(&mut self, mut messages: Messages<wire::SessionMessage>, ctx: &mut Context<Self>) {
        let received = async move {
            let message = next(&mut messages).await;
            (message, messages)
        };
        let work =
            Work::begin(
                ctx,
                received,
                |session: &mut Self, (message, messages), ctx| match message {
                    Ok(message) => {
                        session.receive(messages, ctx);
                        let id = session.hear(message);
                        session.step(Input::Received(id), ctx);
                    }
                    Err(error) => session.fail(&error, ctx),
                },
            );
        self.opened().receiving = Some(work);
    }

    fn register(&mut self, id: String, ctx: &mut Context<Self>) {
        let ordinal = self.ordinal;
        let manager = self.opened().manager.clone();
        let peers = self.shared.peers();
        let connected = peers.reporter.send(Connected { manager, id, ordinal });
        let registered = peers.agent.send(Registered);
        tracing::info!("registered with a manager");
        // Either of them that dies over it asks for a new session when it lives again.
        ctx.spawn(wrap_future::<_, Self>(async move {
            connected.await.ok();
            registered.await.ok();
        }));
    }

    fn close(&mut self, ctx: &mut Context<Self>) {
        self.preparing = None;
        if self.open.take().is_some() {
            let told = self.shared.peers().reporter.send(Disconnected);
            ctx.spawn(wrap_future::<_, Self>(told).map(|_, _, _| ()));
        }
    }

    fn keep_alive(&mut self, id: String, ctx: &mut Context<Self>) {
        let managers = self.shared.ports.managers.clone();
        let manager = self.opened().manager.clone();
        let beating = managers.aside(Box::new(move || beat(manager, id).boxed_local()));
        let work = Work::begin(ctx, beating, |session: &mut Self, error, ctx| {
            session.fail(&error, ctx);
        });
        self.opened().beating = Some(work);
    }

    /// Hands on what is news in a session message, and returns the session's id.
    fn hear(&mut self, message: wire::SessionMessage) -> String {
        let id = message.session_id.clone();
        for news in self.heard.take(message) {
            self.shared.ports.managers.hear(news);
        }
        id
    }

    fn read_assignments(&mut self, ctx: &mut Context<Self>) {
        let Some(mut assignments) = self.opened().assignments.take() else { return };
        let read = async move {
            let message = next(&mut assignments).await;
            (message, assignments)
        };
        let work = Work::begin(ctx, read, |session: &mut Self, (message, assignments), ctx| {
            let open = session.opened();
            open.assigning = None;
            open.assignments = Some(assignments);
            match message {
                Ok(message) => session.step(Input::Assigned(message), ctx),
                Err(error) => session.fail(&error, ctx),
            }
        });
        self.opened().assigning = Some(work);
    }

    /// The next message is read when the agent has taken this one.
    fn apply(&mut self, message: wire::AssignmentsMessage, ctx: &mut Context<Self>) {
        let applied = self.shared.peers().agent.send(Apply(message));
        let work = Work::begin(ctx, applied, |session: &mut Self, applied, ctx| {
            session.opened().assigning = None;
            match applied {
                Ok(()) => session.read_assignments(ctx),
                Err(error) => session.fail(&error, ctx),
            }
        });
        self.opened().assigning = Some(work);
    }
}

/// The end of a stream is an error too: a manager never ends one by itself while it is well.
async fn next<T>(messages: &mut Messages<T>) -> Result<T, ManagerError> {
    let ended = || Err(ManagerError::Failed("the manager ended the stream".to_owned()));
    messages.next().await.unwrap_or_else(ended)
}

fn timed_out(text: &str) -> ManagerError {
    ManagerError::Failed(text.to_owned())
}
