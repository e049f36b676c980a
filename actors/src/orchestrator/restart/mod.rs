//! Replaces tasks that ended or lost their node, and starts each replacement after its delay and
//! once the task before it has stopped (`orchestration` §5).
//!
//! A task that has been replaced is told to stop in the transaction that creates its replacement,
//! so it is replaced once, however long that takes to be committed.

mod logic;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

use actix::{Actor, AsyncContext, Context, Handler, SpawnHandle};
use protocol::id::{Id, TaskId};
use rand::{SeedableRng, rngs::StdRng};
use tokio::time::Instant;

use self::logic::Verdict;
use super::moment;
use crate::{
    agenda::{Agenda, Decide, Next, Planner, Room, keys_of_tasks, proceed, repeat_full_pass},
    environment::Environment,
    store::{Change, Store, Transaction, View},
    supervised,
    supervision::{Address, Life, Recipient},
};

/// The restart supervisor. One lives where the leader does.
pub struct Restart {
    store: Store,
    environment: Environment,
    random: StdRng,
    changes: Recipient<Change>,
    agenda: Agenda<TaskId>,
    /// The tasks that wait for their start.
    delayed: BTreeMap<TaskId, Delayed>,
    /// When to look at which of them again.
    alarms: BTreeSet<(Instant, TaskId)>,
    timer: Option<SpawnHandle>,
}

/// A task that waits for its start. How long is kept from when it is first seen: the task before
/// it, which says why it waits, may be forgotten meanwhile. What has passed is measured by the
/// monotonic clock from then on.
#[derive(Clone, Copy, Debug)]
struct Delayed {
    delay: Duration,
    waited_before: Duration,
    seen: Instant,
}

impl Delayed {
    fn waited(&self) -> Duration {
        if planted!(StaleTimer) {
            return logic::STOP_WAIT_MAX;
        }
        self.waited_before + self.seen.elapsed()
    }
}

impl Restart {
    /// The restart supervisor of a manager that leads; for `Tree::child_with_address`.
    pub fn new(store: Store, environment: Environment, life: Life, own: &Address<Self>) -> Self {
        Self {
            random: environment.entropy.fork("restart", life.0),
            changes: own.recipient(),
            store,
            environment,
            agenda: Agenda::default(),
            delayed: BTreeMap::new(),
            alarms: BTreeSet::new(),
            timer: None,
        }
    }

    /// Looks at tasks: some are due now, others wait.
    fn look(&mut self, view: &View, tasks: BTreeSet<TaskId>, ctx: &mut Context<Self>) {
        for id in &tasks {
            self.note_delay(view, id);
        }
        self.agenda.add(tasks);
        self.set_alarm(ctx);
        proceed(self, ctx);
    }

    fn note_delay(&mut self, view: &View, id: &TaskId) {
        let Some(task) = view.task(id).filter(|task| logic::is_delayed(view, task)) else {
            self.delayed.remove(id);
            return;
        };
        let delayed = *self.delayed.entry(id.clone()).or_insert_with(|| {
            let now = self.environment.clock.now();
            let created = task.meta.created_at.unwrap_or(now);
            Delayed {
                delay: logic::delay(view, task),
                waited_before: moment::elapsed(&created, &now),
                seen: Instant::now(),
            }
        });
        if let Some(after) = logic::starts_after(view, task, delayed.delay, delayed.waited()) {
            let at = delayed.seen.checked_add(after.saturating_sub(delayed.waited_before));
            // What no clock can reach never starts.
            self.alarms.extend(at.map(|at| (at, id.clone())));
        }
    }

    fn set_alarm(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = self
            .alarms
            .first()
            .map(|(at, _)| ctx.run_later(at.saturating_duration_since(Instant::now()), Self::wake));
    }

    fn wake(&mut self, ctx: &mut Context<Self>) {
        self.timer = None;
        let mut due = BTreeSet::new();
        while let Some((at, id)) = self.alarms.pop_first() {
            if at > Instant::now() {
                self.alarms.insert((at, id));
                break;
            }
            due.insert(id);
        }
        let view = self.store.view();
        self.look(&view, due, ctx);
    }
}

impl Actor for Restart {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.store.subscribe("restart", self.changes.clone());
        repeat_full_pass(ctx);
    }
}

// The store tells one change at a time.
supervised!(Restart, mailbox = 4);

impl Handler<Change> for Restart {
    type Result = ();

    fn handle(&mut self, change: Change, ctx: &mut Self::Context) {
        match &change {
            Change::Committed { view, changes } => {
                self.look(view, logic::touched(view, changes), ctx);
            }
            Change::Resync { .. } => {
                self.agenda.add_everything();
                proceed(self, ctx);
            }
        }
    }
}

impl Planner for Restart {
    type Key = TaskId;

    fn agenda(&mut self) -> &mut Agenda<TaskId> {
        &mut self.agenda
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn next(
        &mut self,
        view: &View,
        after: Option<&Id>,
        count: usize,
        ctx: &mut Context<Self>,
    ) -> Next<TaskId> {
        let Next { mut keys, last } = keys_of_tasks(view, after, count, |task| [task.id.clone()]);
        // Tasks that are gone leave the delays as well.
        let task = |id: &Id| TaskId::from(id.clone());
        let from = after.map(task).map_or(Bound::Unbounded, Bound::Excluded);
        let to = last.as_ref().map(task).map_or(Bound::Unbounded, Bound::Included);
        keys.extend(self.delayed.range((from, to)).map(|(id, _)| id.clone()));
        keys.iter().for_each(|id| self.note_delay(view, id));
        self.set_alarm(ctx);
        Next { keys, last }
    }

    fn is_needed(&self, view: &View, id: &TaskId) -> bool {
        match logic::judge(view, id) {
            Verdict::Replace | Verdict::End => true,
            Verdict::Leave(_) => self.delayed.get(id).is_some_and(|delayed| {
                view.task(id).is_some_and(|task| {
                    logic::is_delayed(view, task)
                        && logic::starts_after(view, task, delayed.delay, delayed.waited())
                            .is_none()
                })
            }),
        }
    }

    fn decide(&mut self, tasks: BTreeSet<TaskId>) -> Decide<TaskId> {
        let now = self.environment.clock.now();
        let mut random = StdRng::from_rng(&mut self.random).expect("a generator never fails");
        let tasks: Vec<_> = tasks
            .into_iter()
            .map(|id| {
                let delayed = self.delayed.get(&id);
                (id, delayed.map(|delayed| (delayed.delay, delayed.waited())))
            })
            .collect();
        Box::new(move |head: &mut Transaction| {
            let mut room = Room::new();
            let mut left = BTreeSet::new();
            for (id, delayed) in tasks {
                if room.is_full() {
                    left.insert(id);
                    continue;
                }
                let mut has_room = logic::carry_out(head, &id, &mut room, now, &mut random)?;
                if let Some((delay, waited)) = delayed {
                    has_room &= logic::start(head, &id, delay, waited, &mut room)?;
                }
                if !has_room {
                    left.insert(id);
                }
            }
            Ok(left)
        })
    }
}
