//! A simulated agent: a node as managers see it, with two connections of its own as a real one has
//! them: one for streams, one for heartbeats and statuses.

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use actors::environment::Clock;
use protocol::wire::{
    AssignmentsMessage, AssignmentsRequest, HeartbeatRequest, NodeDescription, SessionMessage,
    SessionRequest, TaskStatus, UpdateTaskStatusRequest, dispatcher_client::DispatcherClient,
    update_task_status_request::TaskStatusUpdate,
};
use rand::{Rng, rngs::OsRng, seq::SliceRandom};
use rustls::ClientConfig;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::{Code, Status, Streaming, transport::Channel};

use super::{
    events::{Events, Run},
    logic::{self, Report},
    record::Event,
};
use crate::{
    clock::SystemClock,
    remote::{DialError, Name, described, dial},
};

/// How long a session or an answer to a heartbeat may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// How long an agent waits before it tries again: no more than this, and at first a tenth of a
/// second.
const AGAIN_WITHIN_MAX: Duration = Duration::from_secs(8);
const AGAIN_WITHIN_LEAST: Duration = Duration::from_millis(100);

/// Where a manager has not said when to send the next heartbeat.
const PERIOD: Duration = Duration::from_secs(5);

/// All tasks of a node may be in one message.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// An agent.
pub(super) struct Agent {
    pub(super) number: usize,
    pub(super) description: NodeDescription,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) managers: Vec<String>,
    pub(super) tasks: logic::Agent,
    pub(super) run: Run,
    pub(super) events: Events,
}

/// Why a session has ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the manager cannot be reached")]
    Dial(#[from] DialError),
    #[error("{call}: {:?}: {}", .status.code(), .status.message())]
    Refused { call: &'static str, status: Status },
    #[error("{0} was not answered in time")]
    Silent(&'static str),
    #[error("the stream of {0} has ended")]
    Closed(&'static str),
}

impl Ended {
    fn refused(call: &'static str) -> impl FnOnce(Status) -> Self {
        move |status| Self::Refused { call, status }
    }
}

type Client = DispatcherClient<Channel>;

impl Agent {
    /// Lives: whenever a session ends, it tries the next.
    pub(super) async fn live(mut self) -> Infallible {
        let mut within = AGAIN_WITHIN_LEAST;
        loop {
            let mut is_registered = false;
            let Err(ended) = Box::pin(self.session(&mut is_registered)).await;
            if is_registered {
                within = AGAIN_WITHIN_LEAST;
            }
            self.events.tell(Event::Lost { agent: self.number, why: described(&ended) }).await;
            sleep(within.mul_f64(OsRng.gen_range(0.0..1.0))).await;
            within = (AGAIN_WITHIN_LEAST + within * 2).min(AGAIN_WITHIN_MAX);
        }
    }

    /// Has one session with a manager, to its end.
    async fn session(&mut self, is_registered: &mut bool) -> Result<Infallible, Ended> {
        let manager = self.managers.choose(&mut OsRng).cloned().unwrap_or_default();
        let (mut streams, quick) =
            tokio::try_join!(self.connect(&manager), self.connect(&manager))?;
        let description = Some(self.description.clone());
        let opened = async {
            let request = SessionRequest { description, session_id: String::new() };
            let opened = streams.session(request).await;
            let mut messages = opened.map_err(Ended::refused("a session"))?.into_inner();
            let first = next("the session", &mut messages).await?;
            Ok((first, messages))
        };
        let silent = |_| Err(Ended::Silent("a session"));
        let (first, messages) = timeout(ANSWERED_WITHIN, opened).await.unwrap_or_else(silent)?;
        *is_registered = true;
        self.events.tell(Event::Registered { agent: self.number }).await;
        let known: Vec<_> = first.managers.into_iter().filter_map(|it| it.peer).collect();
        if !known.is_empty() {
            self.managers = known.into_iter().map(|peer| peer.addr).collect();
        }
        let session = Session { id: first.session_id, run: self.run, events: self.events.clone() };
        tokio::select! {
            biased;
            ended = session.beat(quick.clone()) => ended,
            ended = stay(messages) => ended,
            ended = session.work(&mut self.tasks, streams, quick) => ended,
        }
    }

    async fn connect(&self, manager: &str) -> Result<Client, Ended> {
        let connection = dial(manager, Name::Manager, self.tls.clone()).await?;
        let client = DispatcherClient::new(connection.channel);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
    }
}

async fn next<T>(call: &'static str, messages: &mut Streaming<T>) -> Result<T, Ended> {
    let message = messages.message().await.map_err(Ended::refused(call))?;
    message.ok_or(Ended::Closed(call))
}

/// Hears what the manager says of the node, and makes nothing of it.
async fn stay(mut messages: Streaming<SessionMessage>) -> Result<Infallible, Ended> {
    loop {
        next("the session", &mut messages).await?;
    }
}

/// A session that was opened.
struct Session {
    id: String,
    run: Run,
    events: Events,
}

impl Session {
    /// Says as often as it is told that the node is alive.
    async fn beat(&self, mut quick: Client) -> Result<Infallible, Ended> {
        let mut due = Instant::now();
        loop {
            sleep_until(due).await;
            let request = HeartbeatRequest { session_id: self.id.clone() };
            let answer = timeout(ANSWERED_WITHIN, quick.heartbeat(request)).await;
            let answer = answer.map_err(|_| Ended::Silent("a heartbeat"))?;
            let period = answer.map_err(Ended::refused("a heartbeat"))?.into_inner().period;
            let now = Instant::now();
            self.events.tell(Event::Heartbeat { after: now - due }).await;
            let period = period.and_then(|period| Duration::try_from(period).ok());
            due = now + period.unwrap_or(PERIOD);
        }
    }

    /// Takes assignments, and says how their tasks are going.
    async fn work(
        &self,
        tasks: &mut logic::Agent,
        mut streams: Client,
        mut quick: Client,
    ) -> Result<Infallible, Ended> {
        self.say(&mut quick, tasks.everything()).await?;
        loop {
            let request = AssignmentsRequest { session_id: self.id.clone() };
            let opened = streams.assignments(request).await;
            let mut messages = opened.map_err(Ended::refused("assignments"))?.into_inner();
            let mut has_gap = false;
            while !has_gap {
                tokio::select! {
                    biased;
                    message = next("assignments", &mut messages) => {
                        has_gap = self.take(tasks, message?, &mut quick).await?;
                    }
                    () = self.until(tasks.due()) => {
                        self.say(&mut quick, tasks.elapse(self.run.elapsed())).await?;
                    }
                }
            }
        }
    }

    /// Takes over what has changed; returns whether something before it was missed.
    async fn take(
        &self,
        tasks: &mut logic::Agent,
        message: AssignmentsMessage,
        quick: &mut Client,
    ) -> Result<bool, Ended> {
        let at = self.run.elapsed();
        let step = tasks.take(message, at);
        for assigned in step.assigned {
            if let Some(service) = self.run.service(&assigned.service) {
                self.events.tell(Event::Assigned { task: assigned.task, service, at }).await;
            }
        }
        self.say(quick, step.reports).await?;
        Ok(step.has_gap)
    }

    async fn until(&self, due: Option<Duration>) {
        match due {
            Some(due) => sleep_until(self.run.at(due)).await,
            None => pending().await,
        }
    }

    async fn say(&self, quick: &mut Client, reports: Vec<Report>) -> Result<(), Ended> {
        if reports.is_empty() {
            return Ok(());
        }
        let timestamp = Some(SystemClock.now());
        let update = |Report { task, state }| {
            let message = "simulated".to_owned();
            let status =
                TaskStatus { timestamp, state: state.into(), message, ..TaskStatus::default() };
            TaskStatusUpdate { task_id: task, status: Some(status) }
        };
        let updates = reports.into_iter().map(update).collect();
        let request = UpdateTaskStatusRequest { session_id: self.id.clone(), updates };
        match quick.update_task_status(request).await {
            // What nobody knows need not be said again.
            Err(status) if status.code() != Code::NotFound => {
                Err(Ended::refused("a status")(status))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
