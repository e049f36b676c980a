//! Which tasks this node holds, what of them is in the database, and what follows once it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prost_types::Timestamp;
use protocol::{
    id::TaskId,
    wire::{
        self, TaskState, assignment::Item, assignment_change::AssignmentAction,
        assignments_message::Type,
    },
};

use super::{
    Assignment,
    port::{DatabaseChange, StoredTask},
};

/// What follows for the actors.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    /// Starts the task's actor.
    Start(TaskId),
    /// Tells the task's actor to look at its assignment again.
    Touch(TaskId),
    /// Sends the status to a manager.
    Report(TaskId, wire::TaskStatus),
}

/// One write to the database, and what waits for it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Batch {
    /// What is written, all or nothing.
    pub(super) changes: Vec<DatabaseChange>,
    /// What follows once it is written.
    pub(super) then: Vec<Effect>,
}

/// Whether a task has an actor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Presence {
    /// It gets one as soon as the database knows the task.
    Awaited,
    Started,
    /// It died too often. It gets a new one after a while, which sees to it that nothing runs.
    Lost,
}

#[derive(Debug)]
struct Held {
    assignment: Assignment,
    presence: Presence,
    task_unsaved: bool,
    wanted_unsaved: bool,
    status_unsaved: bool,
    /// The status came from the task's actor, so a manager must hear of it.
    observed: bool,
}

impl Held {
    fn is_saved(&self) -> bool {
        !self.task_unsaved && !self.wanted_unsaved && !self.status_unsaved
    }
}

/// The tasks of this node.
///
/// Nothing starts, changes or is reported before the database has it (AGENT-1, AGENT-2): every
/// input only marks what is unsaved, and `next_batch` collects it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    tasks: BTreeMap<TaskId, Held>,
    /// Left, and still in the database.
    departed: BTreeSet<TaskId>,
    /// A write is on its way.
    saving: bool,
    /// The tasks whose status it contains.
    saving_status: BTreeSet<TaskId>,
}

impl Ledger {
    /// Takes up what an earlier life of the daemon has left behind, and returns what to start.
    ///
    /// A task that was not wanted any more is started too: only its controller can remove what it
    /// may have left running.
    pub(super) fn resume(stored: Vec<StoredTask>) -> (Self, Vec<Effect>) {
        let mut ledger = Self::default();
        let mut effects = Vec::new();
        for StoredTask { id, task, status, assigned } in stored {
            let Some(task) = task else {
                ledger.departed.insert(id);
                continue;
            };
            let status = status.unwrap_or_default();
            effects.push(Effect::Start(id.clone()));
            let held = Held {
                assignment: Assignment { task, status, wanted: assigned },
                presence: Presence::Started,
                task_unsaved: false,
                wanted_unsaved: false,
                status_unsaved: false,
                observed: false,
            };
            ledger.tasks.insert(id, held);
        }
        (ledger, effects)
    }

    /// What is held of one task.
    pub(super) fn assignment(&self, id: &TaskId) -> Option<&Assignment> {
        self.tasks.get(id).map(|held| &held.assignment)
    }

    /// Every task that is held, wanted or on its way out.
    pub(super) fn task_ids(&self) -> BTreeSet<TaskId> {
        self.tasks.keys().cloned().collect()
    }

    /// Takes over what a manager has assigned (cluster-security-dispatch §14).
    pub(super) fn apply(&mut self, message: wire::AssignmentsMessage) {
        let complete = message.r#type() == Type::Complete;
        let mut listed = BTreeSet::new();
        for change in message.changes {
            let action = change.action();
            // Secrets, configs and volumes have no consumer yet.
            let Some(Item::Task(task)) = change.assignment.and_then(|assignment| assignment.item)
            else {
                continue;
            };
            let id = TaskId::from(task.id.as_str());
            match action {
                AssignmentAction::Update => {
                    self.update(id.clone(), task);
                    listed.insert(id);
                }
                AssignmentAction::Remove => self.leave(&id),
            }
        }
        if complete {
            let missing = self.tasks.keys().filter(|id| !listed.contains(*id));
            for id in missing.cloned().collect::<Vec<_>>() {
                self.leave(&id);
            }
        }
    }

    fn update(&mut self, id: TaskId, mut task: wire::Task) {
        let status = task.status.take().unwrap_or_default();
        match self.tasks.get_mut(&id) {
            Some(held) => {
                let known = &held.assignment.task;
                let lowered = task.desired_state < known.desired_state;
                // A task on its way out has no way back: its controller is taking it apart.
                if held.assignment.wanted && !lowered && !same_task(&task, known) {
                    held.assignment.task = Arc::new(task);
                    held.task_unsaved = true;
                }
            }
            None => {
                let held = Held {
                    assignment: Assignment { task: Arc::new(task), status, wanted: true },
                    presence: Presence::Awaited,
                    task_unsaved: true,
                    wanted_unsaved: true,
                    status_unsaved: true,
                    observed: false,
                };
                self.tasks.insert(id, held);
            }
        }
    }

    fn leave(&mut self, id: &TaskId) {
        let Some(held) = self.tasks.get_mut(id).filter(|held| held.assignment.wanted) else {
            return;
        };
        held.assignment.wanted = false;
        held.wanted_unsaved = true;
        if held.presence == Presence::Lost {
            held.presence = Presence::Awaited;
        }
    }

    /// Takes over what a task's actor has observed.
    pub(super) fn observe(&mut self, id: &TaskId, status: wire::TaskStatus) {
        let Some(held) = self.tasks.get_mut(id) else { return };
        if status.state < held.assignment.status.state || status == held.assignment.status {
            return;
        }
        held.assignment.status = status;
        held.status_unsaved = true;
        held.observed = true;
    }

    /// Ends a task whose actor died too often (AGENT-7). Another actor stops or removes what may
    /// still run: at once when the task had not ended, and after a while (`revive`) when that is
    /// what its actor died of. Returns whether it is the latter.
    pub(super) fn lose(&mut self, id: &TaskId, reason: &str, now: Timestamp) -> bool {
        let Some(held) = self.tasks.get_mut(id) else { return false };
        let mut status = held.assignment.status.clone();
        let ends = held.assignment.wanted && status.state() <= TaskState::Running;
        held.presence = if ends { Presence::Awaited } else { Presence::Lost };
        if ends {
            status.set_state(TaskState::Failed);
            status.err = format!("the task's supervisor gave up: {reason}");
            status.timestamp = Some(now);
            self.observe(id, status);
        }
        !ends
    }

    /// Returns whether a lost task gets an actor again now.
    pub(super) fn revive(&mut self, id: &TaskId) -> bool {
        let lost = self.tasks.get_mut(id).filter(|held| held.presence == Presence::Lost);
        lost.map(|held| held.presence = Presence::Started).is_some()
    }

    /// Forgets a task of which nothing is left.
    pub(super) fn depart(&mut self, id: &TaskId) {
        if self.tasks.remove(id).is_some() {
            self.departed.insert(id.clone());
        }
    }

    /// What a manager that has just registered this node must hear: every stored status.
    pub(super) fn stored_statuses(&self) -> Vec<(TaskId, wire::TaskStatus)> {
        self.tasks
            .iter()
            // What is not yet stored is reported when it is.
            .filter(|(id, held)| !held.status_unsaved && !self.saving_status.contains(*id))
            .map(|(id, held)| (id.clone(), held.assignment.status.clone()))
            .collect()
    }

    /// Everything that is unsaved, once the previous batch is written; none when nothing is.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        if self.saving {
            return None;
        }
        let mut batch = Batch { changes: Vec::new(), then: Vec::new() };
        // A task may have come again since it departed.
        let departed = std::mem::take(&mut self.departed);
        batch.changes.extend(departed.into_iter().map(DatabaseChange::Remove));
        for (id, held) in self.tasks.iter_mut().filter(|(_, held)| !held.is_saved()) {
            if held.status_unsaved {
                self.saving_status.insert(id.clone());
            }
            batch.save(id, held);
        }
        self.saving = !batch.changes.is_empty();
        self.saving.then_some(batch)
    }

    /// The batch has been written.
    pub(super) fn saved(&mut self) {
        self.saving = false;
        self.saving_status.clear();
    }
}

impl Batch {
    fn save(&mut self, id: &TaskId, held: &mut Held) {
        let Assignment { task, status, wanted } = &held.assignment;
        if held.task_unsaved {
            self.changes.push(DatabaseChange::PutTask(task.clone()));
        }
        if held.wanted_unsaved {
            self.changes.push(DatabaseChange::PutAssigned(id.clone(), *wanted));
        }
        if held.status_unsaved {
            self.changes.push(DatabaseChange::PutStatus(id.clone(), status.clone()));
        }
        match held.presence {
            Presence::Awaited => {
                held.presence = Presence::Started;
                self.then.push(Effect::Start(id.clone()));
            }
            Presence::Started if held.task_unsaved || held.wanted_unsaved => {
                self.then.push(Effect::Touch(id.clone()));
            }
            Presence::Started | Presence::Lost => {}
        }
        if held.status_unsaved && held.observed {
            self.then.push(Effect::Report(id.clone(), status.clone()));
        }
        held.task_unsaved = false;
        held.wanted_unsaved = false;
        held.status_unsaved = false;
    }
}

/// Whether two versions of a task ask for the same: everything but its status and bookkeeping.
pub(super) fn same_task(one: &wire::Task, other: &wire::Task) -> bool {
    let wire::Task {
        id,
        meta: _,
        spec,
        service_id,
        slot,
        node_id,
        annotations,
        service_annotations,
        status: _,
        desired_state,
        networks,
        endpoint,
        log_driver,
        spec_version,
        assigned_generic_resources,
        job_iteration,
        volumes,
    } = one;
    *id == other.id
        && *desired_state == other.desired_state
        && *service_id == other.service_id
        && *slot == other.slot
        && *node_id == other.node_id
        && *spec_version == other.spec_version
        && *job_iteration == other.job_iteration
        && *annotations == other.annotations
        && *service_annotations == other.service_annotations
        && *networks == other.networks
        && *endpoint == other.endpoint
        && *log_driver == other.log_driver
        && *assigned_generic_resources == other.assigned_generic_resources
        && *volumes == other.volumes
        && *spec == other.spec
}
