//! Agents that cost little, so that there can be thousands: each speaks to the dispatcher of whoever
//! leads as a real one does, and what it has to run is a state that goes on by itself.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    rc::Rc,
    time::Duration,
};

use actors::{
    dispatcher::{Dispatcher, OpenAssignments, OpenSession, Seat, UpdateTaskStatus},
    supervision::Address,
};
use protocol::{
    id::{NodeId, SessionId, TaskId},
    objects::TaskState,
    wire::{
        self, TaskStatus, assignment::Item, assignment_change::AssignmentAction,
        assignments_message::Type,
    },
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    sync::mpsc::Receiver,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::cluster::Cluster;

/// How many there are beside the one real agent, unless a scenario wants it otherwise.
pub const AGENTS: u64 = 5;

/// How long a manager may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// How long an agent waits before its next session, in milliseconds.
const PAUSE: Range<u64> = 500..3_000;

/// How long a task takes to its next state, in milliseconds.
const STEP: Range<u64> = 100..400;

/// How often an agent that nobody hears looks whether that is over.
const SILENT_FOR: Duration = Duration::from_millis(100);

/// With so many of a hundred heartbeats, an agent says again what it said long ago.
const LATE_PERCENT: u32 = 10;

/// A session: the machine that leads, its term, and which since then.
pub type Epoch = (u64, u64);

/// The agents. Clones are the same ones.
#[derive(Clone, Default)]
pub struct Fleet(Rc<RefCell<BTreeMap<NodeId, Agent>>>);

/// What is known of one agent.
#[derive(Clone, Debug, Default)]
pub struct Agent {
    /// What it has to run, as it was told last.
    pub tasks: BTreeMap<TaskId, Assigned>,
    /// When a manager last answered it.
    pub heard: Option<Instant>,
    /// Since when nobody hears it, and it hears nobody.
    pub silent: Option<Instant>,
    /// When it was last silent.
    pub was_silent: Option<Instant>,
    /// Its session: under whom, and since when.
    pub session: Option<(Epoch, Instant)>,
}

/// One task of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// What it should be.
    pub desired: TaskState,
    /// What it is.
    pub state: TaskState,
}

/// The node of an agent.
pub fn agent_id(number: u64) -> NodeId {
    format!("agent-{number:04}").as_str().into()
}

impl Fleet {
    /// Starts so many agents. Each lives until its task is aborted.
    pub fn start(&self, cluster: &Cluster, count: u64, seed: u64) -> Vec<JoinHandle<()>> {
        let ids = (1..=count).map(agent_id);
        ids.zip(0..)
            .map(|(id, number)| {
                self.0.borrow_mut().insert(id.clone(), Agent::default());
                let random = StdRng::seed_from_u64(seed ^ 0xa6e7 ^ (number << 32));
                let life = Life { fleet: self.clone(), cluster: cluster.clone(), id, random };
                spawn(life.live())
            })
            .collect()
    }

    /// All agents, as they are now.
    pub fn agents(&self) -> std::cell::Ref<'_, BTreeMap<NodeId, Agent>> {
        self.0.borrow()
    }

    /// The nodes of all agents.
    pub fn ids(&self) -> Vec<NodeId> {
        self.0.borrow().keys().cloned().collect()
    }

    /// Makes these agents silent, and no others.
    pub fn silence(&self, silent: &BTreeSet<NodeId>) {
        let now = Instant::now();
        for (id, agent) in &mut *self.0.borrow_mut() {
            match (silent.contains(id), agent.silent) {
                (true, None) => agent.silent = Some(now),
                (false, Some(_)) => (agent.silent, agent.was_silent) = (None, Some(now)),
                (true, Some(_)) | (false, None) => {}
            }
        }
    }

    /// Every task that runs, with its node.
    pub fn running(&self) -> Vec<(TaskId, NodeId)> {
        let agents = self.0.borrow();
        let running = agents.iter().flat_map(|(id, agent)| {
            let tasks = agent.tasks.iter();
            let running = tasks.filter(|(_, task)| task.state == TaskState::RUNNING);
            running.map(|(task, _)| (task.clone(), id.clone()))
        });
        running.collect()
    }

    fn change<T>(&self, id: &NodeId, change: impl FnOnce(&mut Agent) -> T) -> T {
        change(self.0.borrow_mut().get_mut(id).expect("it was started"))
    }

    fn is_silent(&self, id: &NodeId) -> bool {
        self.0.borrow()[id].silent.is_some()
    }
}

/// One agent at work.
struct Life {
    fleet: Fleet,
    cluster: Cluster,
    id: NodeId,
    random: StdRng,
}

/// What a manager has told an agent.
struct Session {
    seat: Seat,
    dispatcher: Address<Dispatcher>,
    id: SessionId,
    messages: Receiver<wire::SessionMessage>,
    assignments: Receiver<wire::AssignmentsMessage>,
}

/// The session is over.
struct Over;

impl Life {
    async fn live(mut self) {
        loop {
            let pause = self.random.gen_range(PAUSE);
            sleep(Duration::from_millis(pause)).await;
            if self.fleet.is_silent(&self.id) {
                continue;
            }
            if let Ok(session) = self.begin().await {
                self.serve(session).await.ok();
            }
            self.fleet.change(&self.id, |agent| agent.session = None);
        }
    }

    /// Registers, and opens the stream of assignments.
    async fn begin(&mut self) -> Result<Session, Over> {
        let (epoch, seat, dispatcher) = self.leader().ok_or(Over)?;
        let request = wire::SessionRequest {
            description: Some(wire::NodeDescription {
                hostname: self.id.to_string(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let open = OpenSession { node: self.id.clone(), addr: None, request };
        let mut messages = answer(dispatcher.send(open)).await?;
        let first = timeout(ANSWERS_WITHIN, messages.recv()).await.ok().flatten().ok_or(Over)?;
        let id = SessionId::from(first.session_id);
        let open = OpenAssignments { node: self.id.clone(), session: id.clone() };
        let assignments = answer(dispatcher.send(open)).await?;
        self.fleet.change(&self.id, |agent| {
            let now = Instant::now();
            agent.heard = Some(now);
            agent.session = Some((epoch, now));
        });
        Ok(Session { seat, dispatcher, id, messages, assignments })
    }

    /// Whoever leads, and where its dispatcher is.
    fn leader(&self) -> Option<(Epoch, Seat, Address<Dispatcher>)> {
        let leader = self.cluster.leading()?.borrow();
        let seat = leader.seat()?;
        let dispatcher = seat.dispatcher()?;
        Some(((leader.id, leader.leads()?), seat, dispatcher))
    }

    async fn serve(&mut self, mut session: Session) -> Result<(), Over> {
        let mut beat_at = Instant::now();
        let mut step_at: Option<Instant> = None;
        self.report_all(&session).await?;
        loop {
            let (step, stepping) = (step_at.unwrap_or(beat_at), step_at.is_some());
            tokio::select! {
                biased;
                () = sleep_until(step), if stepping => {
                    self.listen().await?;
                    step_at = self.step(&session).await?.then(|| self.next_step());
                }
                () = sleep_until(beat_at) => {
                    self.listen().await?;
                    beat_at = Instant::now() + self.beat(&session)?;
                    self.repeat_old(&session).await?;
                }
                message = session.assignments.recv() => {
                    self.listen().await?;
                    self.follow(message.ok_or(Over)?);
                    step_at = step_at.or_else(|| Some(self.next_step()));
                }
                message = session.messages.recv() => drop(message.ok_or(Over)?),
            }
        }
    }

    /// While it is silent, what it is sent waits on its way.
    async fn listen(&self) -> Result<(), Over> {
        let mut was_silent = false;
        while self.fleet.is_silent(&self.id) {
            was_silent = true;
            sleep(SILENT_FOR).await;
        }
        if was_silent { Err(Over) } else { Ok(()) }
    }

    fn next_step(&mut self) -> Instant {
        Instant::now() + Duration::from_millis(self.random.gen_range(STEP))
    }

    fn beat(&self, session: &Session) -> Result<Duration, Over> {
        let period = session.seat.heartbeat(&self.id, &session.id).map_err(|_| Over)?;
        self.fleet.change(&self.id, |agent| agent.heard = Some(Instant::now()));
        Ok(period)
    }

    /// Takes what it is told.
    fn follow(&self, message: wire::AssignmentsMessage) {
        let is_complete = message.r#type() == Type::Complete;
        self.fleet.change(&self.id, |agent| {
            let before =
                if is_complete { std::mem::take(&mut agent.tasks) } else { BTreeMap::new() };
            for change in message.changes {
                let action = change.action();
                let Some(Item::Task(task)) = change.assignment.and_then(|one| one.item) else {
                    continue;
                };
                let id = TaskId::from(task.id.as_str());
                if action == AssignmentAction::Remove {
                    agent.tasks.remove(&id);
                    continue;
                }
                let told = TaskState::from(task.status.unwrap_or_default().state);
                let known = before.get(&id).or(agent.tasks.get(&id)).map(|known| known.state);
                let state = known.map_or(told, |known| known.max(told));
                let desired = TaskState::from(task.desired_state);
                agent.tasks.insert(id, Assigned { desired, state });
            }
        });
    }

    /// Takes every task one step further, and reports it. Says whether any can go further yet.
    async fn step(&mut self, session: &Session) -> Result<bool, Over> {
        let (changed, goes_on) = self.fleet.change(&self.id, |agent| {
            let mut changed = Vec::new();
            for (id, task) in &mut agent.tasks {
                if let Some(state) = next(*task) {
                    task.state = state;
                    changed.push((id.clone(), state));
                }
            }
            (changed, agent.tasks.values().any(|task| next(*task).is_some()))
        });
        self.report(session, changed).await?;
        Ok(goes_on)
    }

    /// Now and then, what was said of a task long ago comes once more.
    async fn repeat_old(&mut self, session: &Session) -> Result<(), Over> {
        if self.random.gen_range(0..100) >= LATE_PERCENT {
            return Ok(());
        }
        let running = self.fleet.change(&self.id, |agent| {
            let mut tasks = agent.tasks.iter();
            tasks.find(|(_, task)| task.state == TaskState::RUNNING).map(|(id, _)| id.clone())
        });
        let old = running.map(|id| (id, TaskState::ACCEPTED));
        self.report(session, old.into_iter().collect()).await
    }

    /// What was reported to another manager may be lost.
    async fn report_all(&self, session: &Session) -> Result<(), Over> {
        let all = self.fleet.change(&self.id, |agent| {
            let tasks = agent.tasks.iter().filter(|(_, task)| task.state > TaskState::ASSIGNED);
            tasks.map(|(id, task)| (id.clone(), task.state)).collect()
        });
        self.report(session, all).await
    }

    async fn report(
        &self,
        session: &Session,
        states: Vec<(TaskId, TaskState)>,
    ) -> Result<(), Over> {
        if states.is_empty() {
            return Ok(());
        }
        let status = |state: TaskState| TaskStatus { state: state.number(), ..Default::default() };
        let updates = states.into_iter().map(|(id, state)| (id, status(state))).collect();
        let (node, session_id) = (self.id.clone(), session.id.clone());
        let update = UpdateTaskStatus { node, session: session_id, updates };
        answer(session.dispatcher.send(update)).await
    }
}

/// What becomes of a task; none when it is what it should be.
fn next(task: Assigned) -> Option<TaskState> {
    let Assigned { desired, state } = task;
    let is_over = state > TaskState::RUNNING;
    let next = if is_over {
        return None;
    } else if desired > TaskState::RUNNING {
        TaskState::SHUTDOWN
    } else {
        desired.max(TaskState::ACCEPTED)
    };
    (state < next).then_some(next)
}

/// Waits for an answer of the dispatcher as long as an agent does.
async fn answer<T, E, C>(asked: impl Future<Output = Result<Result<T, E>, C>>) -> Result<T, Over> {
    match timeout(ANSWERS_WITHIN, asked).await {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(_)) | Err(_)) | Err(_) => Err(Over),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "agents of another process, as far as the leader sees"
)]
fn spawn(future: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    tokio::task::spawn_local(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_becomes_what_it_should_be_and_ends_once() {
        let becomes = |state, desired| next(Assigned { desired, state });
        let (assigned, ready) = (TaskState::ASSIGNED, TaskState::READY);
        let (running, shutdown) = (TaskState::RUNNING, TaskState::SHUTDOWN);
        assert_eq!(becomes(assigned, running), Some(running));
        assert_eq!(becomes(assigned, ready), Some(ready));
        assert_eq!(becomes(ready, running), Some(running));
        assert_eq!(becomes(ready, ready), None);
        assert_eq!(becomes(running, running), None);
        assert_eq!(becomes(running, shutdown), Some(shutdown));
        assert_eq!(becomes(shutdown, running), None);
    }
}
