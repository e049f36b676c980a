//! Whether a service is on its way, there, or will never be: decided on what was seen of it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};

use protocol::wire::{
    Service, Task, TaskState, restart_policy::RestartCondition, task_spec::Runtime,
    update_status::UpdateState,
};

use super::ends::{Ended, Ends};

/// How long something that may pass can last until it counts as an error.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a task has to stop unless its spec says otherwise.
pub(super) const STOP_GRACE_PERIOD: Duration = Duration::from_secs(10);

/// How long an ended task takes to come back unless its spec says otherwise.
const RESTART_DELAY: Duration = Duration::from_secs(5);

/// How many tasks of a slot may end while somebody waits until that counts as an error.
pub(super) const ENDS_MAX: usize = 3;

/// A service as the manager shows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) service: Service,
    /// How many tasks should run.
    pub(super) desired: u64,
    pub(super) tasks: Vec<Task>,
    /// The tasks that are what the service asks for now; of those that should not run any more only
    /// when the spec is seen for the first time.
    pub(super) up_to_date: BTreeSet<String>,
    /// Of the nodes with tasks that should stop, those that are down or gone: nobody hears from them
    /// whether they do. Known once nothing else is waited for.
    pub(super) lost_nodes: BTreeSet<String>,
}

impl Seen {
    /// The tasks that should not run any more and have not stopped on their nodes.
    pub(super) fn leaving(&self) -> impl Iterator<Item = &Task> {
        let on_node = TaskState::Assigned..=TaskState::Running;
        self.tasks.iter().filter(move |task| !is_wanted(task) && on_node.contains(&state(task)))
    }

    /// Whether no task that should run is still on its way.
    pub(super) fn is_settled(&self) -> bool {
        self.tasks.iter().filter(|task| is_wanted(task)).all(is_running)
    }
}

/// What may pass, and is an error when it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// A task waits for a node.
    Unplaced,
    /// A task has ended, and no other has come.
    Ended,
    /// A task that should stop does not.
    Leaving,
}

/// What is to be thought of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Every task that should run does, and nothing else; these are the tasks.
    Runs(BTreeSet<String>),
    /// It is on its way, and this is what is waited for.
    Progressing(String),
    /// It does not go on; if that lasts, it will not.
    Stuck { obstacle: Obstacle, why: String, patience: Duration },
    /// It will not go on by itself.
    Hopeless(String),
}

/// How far one slot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) number: u64,
    pub(super) state: TaskState,
    /// What went wrong, if anything did.
    pub(super) error: String,
}

/// The newest task of each slot.
pub(super) fn slots(seen: &Seen) -> Vec<Slot> {
    let newest = newest(seen);
    let slot = |(number, tasks): (&u64, &Vec<&Task>)| {
        let task = tasks.first()?;
        let error = task.status.as_ref().map_or("", |status| &status.err).to_owned();
        is_wanted(task).then(|| Slot { number: *number, state: state(task), error })
    };
    newest.iter().filter_map(slot).collect()
}

pub(super) fn is_wanted(task: &Task) -> bool {
    task.desired_state <= TaskState::Running as i32
}

/// Whether a task, and what is known of it, is only still to be removed.
pub(super) fn is_to_go(task: &Task) -> bool {
    task.desired_state >= TaskState::Remove as i32
}

fn is_running(task: &Task) -> bool {
    state(task) == TaskState::Running
}

pub(super) fn state(task: &Task) -> TaskState {
    task.status.as_ref().map(|status| status.state()).unwrap_or_default()
}

fn error(task: &Task) -> &str {
    task.status
        .as_ref()
        .map_or("", |status| if status.err.is_empty() { &status.message } else { &status.err })
}

/// How a task ended: its state, and why if that is known.
pub(super) fn end(task: &Task) -> String {
    match (state(task).as_str_name(), error(task)) {
        (state, "") => state.to_owned(),
        (state, error) => format!("{state}: {error}"),
    }
}

/// The tasks by slot, the newest first.
fn newest(seen: &Seen) -> BTreeMap<u64, Vec<&Task>> {
    let mut slots: BTreeMap<u64, Vec<&Task>> = BTreeMap::new();
    for task in &seen.tasks {
        slots.entry(task.slot).or_default().push(task);
    }
    let made = |task: &&Task| {
        let made = task.meta.and_then(|meta| meta.created_at).unwrap_or_default();
        Reverse((made.seconds, made.nanos))
    };
    slots.values_mut().for_each(|tasks| tasks.sort_by_key(made));
    slots
}

/// Decides, on what is seen now and on what ended meanwhile.
pub(super) fn judge(seen: &Seen, ends: &Ends) -> Verdict {
    if let Some(why) = halted(&seen.service) {
        return Verdict::Hopeless(why);
    }
    let mut slots = newest(seen);
    slots.retain(|_, tasks| !tasks.iter().all(|task| is_to_go(task)));
    let runs =
        |task: &Task| is_wanted(task) && is_running(task) && seen.up_to_date.contains(&task.id);
    let failing = |(slot, tasks): (&u64, &Vec<&Task>)| match tasks.iter().any(|task| runs(task)) {
        true => None,
        false => hopeless(*slot, ends.of(*slot)?),
    };
    if let Some(why) = slots.iter().find_map(failing) {
        return Verdict::Hopeless(why);
    }
    // What had ended before and stays so is left as it is.
    let past = slots.values().filter(|tasks| is_past(tasks, ends)).count();
    let desired = seen.desired.saturating_sub(past as u64);
    let wanted: Vec<_> = seen.tasks.iter().filter(|task| is_wanted(task)).collect();
    let running: BTreeSet<_> =
        wanted.iter().filter(|task| runs(task)).map(|task| task.id.clone()).collect();
    if running.len() as u64 == desired && wanted.len() as u64 == desired {
        return match is_updating(&seen.service) {
            true => Verdict::Progressing("the update is still going on".to_owned()),
            false => leaving(seen).unwrap_or(Verdict::Runs(running)),
        };
    }
    stuck(seen, &slots, ends).unwrap_or_else(|| {
        let mut text = format!("{} of {desired} tasks run", running.len());
        let newest = slots.values().filter_map(|tasks| tasks.first());
        if let Some(task) = newest.filter(|task| is_wanted(task)).find(|task| !runs(task)) {
            let (id, slot, name) = (&task.id, task.slot, state(task).as_str_name());
            let _ = write!(text, ", task {id} in slot {slot} is {name}");
            if is_running(task) {
                text.push_str(" as the service was before");
            }
            if let Some(Ended { count, why }) = ends.of(slot) {
                let _ = write!(text, " ({count} before it ended, the last one: {why})");
            }
        }
        Verdict::Progressing(text)
    })
}

/// Whether the newest task of a slot had ended before the wait, and no other is to come.
fn is_past(tasks: &[&Task], ends: &Ends) -> bool {
    let is_over = !tasks.iter().any(|task| is_wanted(task));
    let newest = tasks.first().filter(|_| is_over);
    newest.is_some_and(|task| ends.is_past(task) && ends.is_current(task) && !is_to_go(task))
}

/// Why a slot whose tasks end will not run.
fn hopeless(slot: u64, Ended { count, why }: &Ended) -> Option<String> {
    (*count >= ENDS_MAX).then(|| format!("task after task ends in slot {slot}: {why}"))
}

/// Why an update does not go on unless somebody does something.
fn halted(service: &Service) -> Option<String> {
    let status = service.update_status.as_ref()?;
    let what = match status.state() {
        UpdateState::Paused => "the update is paused",
        UpdateState::RollbackPaused => "the rollback is paused",
        UpdateState::RollbackCompleted => "the update was rolled back",
        UpdateState::Unknown
        | UpdateState::Updating
        | UpdateState::Completed
        | UpdateState::RollbackStarted => return None,
    };
    Some(format!("{what}: {}", status.message))
}

/// Of a rollback that was asked for nobody says when it is complete: its tasks do.
fn is_updating(service: &Service) -> bool {
    let state = service.update_status.as_ref().map(|status| status.state());
    state == Some(UpdateState::Updating)
}

/// A task that should not run any more and still does: its process may be gone only after the time
/// that it is given to stop.
fn leaving(seen: &Seen) -> Option<Verdict> {
    let task = seen.leaving().find(|task| !seen.lost_nodes.contains(&task.node_id))?;
    let given = match task.spec.as_ref().and_then(|spec| spec.runtime.as_ref()) {
        Some(Runtime::Container(container)) => container.stop_grace_period,
        Some(Runtime::Attachment(_) | Runtime::Generic(_)) | None => None,
    };
    let given = given.map_or(STOP_GRACE_PERIOD, duration);
    let why = format!("task {} in slot {} does not stop", task.id, task.slot);
    let patience = PATIENCE.saturating_add(given);
    Some(Verdict::Stuck { obstacle: Obstacle::Leaving, why, patience })
}

/// What keeps it from going on, if anything does: a task that waits for a node and was told why, or
/// a slot whose task has ended and not come back.
fn stuck(seen: &Seen, slots: &BTreeMap<u64, Vec<&Task>>, ends: &Ends) -> Option<Verdict> {
    let waits = |task: &&&Task| {
        is_wanted(task)
            && state(task) <= TaskState::Pending
            && task.status.as_ref().is_some_and(|status| !status.err.is_empty())
    };
    let newest: Vec<_> = slots.values().filter_map(|tasks| tasks.first().copied()).collect();
    if let Some(task) = newest.iter().find(waits) {
        let why = format!("task {} in slot {}: {}", task.id, task.slot, error(task));
        return Some(Verdict::Stuck { obstacle: Obstacle::Unplaced, why, patience: PATIENCE });
    }
    let ended = |task: &&&Task| {
        let has_ended = state(task) > TaskState::Running && !is_to_go(task);
        has_ended && ends.is_current(task) && !ends.is_past(task)
    };
    let task = newest.iter().find(ended)?;
    let (id, slot) = (&task.id, task.slot);
    let why = format!("task {id} in slot {slot} has ended ({}) and does not come back", end(task));
    Some(match comes_back_after(&seen.service, task) {
        None => Verdict::Hopeless(why),
        Some(delay) => Verdict::Stuck {
            obstacle: Obstacle::Ended,
            why,
            patience: PATIENCE.saturating_add(delay),
        },
    })
}

/// How long a task that ended takes to come back, if it does. Without a policy it does.
fn comes_back_after(service: &Service, task: &Task) -> Option<Duration> {
    let spec = service.spec.as_ref().and_then(|spec| spec.task.as_ref());
    let Some(restart) = spec.and_then(|spec| spec.restart) else { return Some(RESTART_DELAY) };
    match restart.condition() {
        RestartCondition::None => return None,
        RestartCondition::OnFailure if state(task) == TaskState::Complete => return None,
        RestartCondition::OnFailure | RestartCondition::Any => {}
    }
    Some(restart.delay.map_or(RESTART_DELAY, duration))
}

/// What is not even a duration is none.
fn duration(duration: prost_types::Duration) -> Duration {
    Duration::try_from(duration).unwrap_or_default()
}
