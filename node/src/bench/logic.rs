//! What a simulated agent does with its tasks: it takes them and says that they run. It runs
//! nothing.

use std::{collections::BTreeMap, mem, time::Duration};

use protocol::wire::{
    AssignmentsMessage, Task, TaskState, assignment::Item, assignment_change::AssignmentAction,
    assignments_message::Type,
};

/// What an agent says of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) task: String,
    pub(super) state: TaskState,
}

/// A task that an agent has not had before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    pub(super) task: String,
    /// The name of its service.
    pub(super) service: String,
}

/// What follows from a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) reports: Vec<Report>,
    pub(super) assigned: Vec<Assigned>,
    /// Something before it was missed: the stream has to be opened again.
    pub(super) has_gap: bool,
}

/// The tasks of a simulated node.
#[derive(Debug)]
pub(super) struct Agent {
    /// How long a task takes to start.
    start_delay: Duration,
    tasks: BTreeMap<String, Held>,
    /// Where the last message of the stream has led.
    step: String,
}

/// A task, as far as it is.
#[derive(Debug)]
struct Held {
    state: TaskState,
    desired: TaskState,
    /// When it will have started.
    due: Option<Duration>,
}

impl Agent {
    pub(super) fn new(start_delay: Duration) -> Self {
        Self { start_delay, tasks: BTreeMap::new(), step: String::new() }
    }

    /// Takes over what the node must run.
    pub(super) fn take(&mut self, message: AssignmentsMessage, now: Duration) -> Step {
        let before = mem::replace(&mut self.step, message.results_in.clone());
        let mut step = Step::default();
        let mut others = match message.r#type() {
            Type::Complete => mem::take(&mut self.tasks),
            Type::Incremental => {
                step.has_gap = message.applies_to != before;
                BTreeMap::new()
            }
        };
        for change in message.changes {
            let action = change.action();
            let Some(Item::Task(task)) = change.assignment.and_then(|assignment| assignment.item)
            else {
                // What tasks need is nothing to one that only looks as if it ran.
                continue;
            };
            match action {
                AssignmentAction::Update => {
                    let known = others.remove(&task.id).or_else(|| self.tasks.remove(&task.id));
                    self.assign(task, known, now, &mut step);
                }
                AssignmentAction::Remove => drop(self.tasks.remove(&task.id)),
            }
        }
        step
    }

    fn assign(&mut self, task: Task, known: Option<Held>, now: Duration, step: &mut Step) {
        let desired = task.desired_state();
        let mut held = match known {
            // It never goes back.
            Some(held) => Held { desired: held.desired.max(desired), ..held },
            None => {
                let service = task.service_annotations.map(|service| service.name);
                let service = service.unwrap_or_default();
                step.assigned.push(Assigned { task: task.id.clone(), service });
                let state = task.status.map_or(TaskState::New, |status| status.state());
                Held { state, desired, due: None }
            }
        };
        step.reports.extend(held.advance(&task.id, self.start_delay, now));
        self.tasks.insert(task.id, held);
    }

    /// Lets tasks have started whose time has come.
    pub(super) fn elapse(&mut self, now: Duration) -> Vec<Report> {
        let delay = self.start_delay;
        let tasks = self.tasks.iter_mut();
        tasks.filter_map(|(task, held)| held.advance(task, delay, now)).collect()
    }

    /// Returns when the next task will have started.
    pub(super) fn due(&self) -> Option<Duration> {
        let starting = self.tasks.values().filter(|held| held.is_starting());
        starting.filter_map(|held| held.due).min()
    }

    /// Returns how everything stands: what was said in an earlier session may not have been heard.
    pub(super) fn everything(&self) -> Vec<Report> {
        let said = self.tasks.iter().filter(|(_, held)| held.state > TaskState::Assigned);
        said.map(|(task, held)| Report { task: task.clone(), state: held.state }).collect()
    }
}

impl Held {
    /// Goes as far as it may, and returns what is to be said of it, if that is anything new.
    fn advance(&mut self, task: &str, delay: Duration, now: Duration) -> Option<Report> {
        let state = self.next(delay, now);
        let is_new = state > self.state;
        self.state = self.state.max(state);
        is_new.then(|| Report { task: task.to_owned(), state })
    }

    fn next(&mut self, delay: Duration, now: Duration) -> TaskState {
        if self.state >= TaskState::Complete {
            return self.state;
        }
        if self.desired >= TaskState::Shutdown {
            return TaskState::Shutdown;
        }
        if self.desired <= TaskState::Ready {
            return self.desired;
        }
        if self.state < TaskState::Running && now < *self.due.get_or_insert(now + delay) {
            return TaskState::Preparing;
        }
        self.desired
    }

    fn is_starting(&self) -> bool {
        self.state < TaskState::Running && self.desired < TaskState::Shutdown
    }
}

#[cfg(test)]
mod tests {
    use TaskState::{
        Accepted, Assigned as Placed, Complete, Preparing, Ready, Remove, Running, Shutdown,
    };
    use protocol::wire::{Annotations, Assignment, AssignmentChange, Secret, TaskStatus};

    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn change(action: AssignmentAction, item: Item) -> AssignmentChange {
        AssignmentChange {
            assignment: Some(Assignment { item: Some(item) }),
            action: action.into(),
        }
    }

    fn wanted(id: &str, state: TaskState, desired: TaskState) -> AssignmentChange {
        let task = Task {
            id: id.into(),
            service_annotations: Some(Annotations { name: "s".into(), ..Annotations::default() }),
            status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
            desired_state: desired.into(),
            ..Task::default()
        };
        change(AssignmentAction::Update, Item::Task(task))
    }

    fn message(kind: Type, step: &str, changes: Vec<AssignmentChange>) -> AssignmentsMessage {
        let (from, to) = step.split_once('>').expect("from>to");
        AssignmentsMessage {
            r#type: kind.into(),
            applies_to: from.into(),
            results_in: to.into(),
            changes,
        }
    }

    fn said(reports: &[Report]) -> Vec<(&str, TaskState)> {
        reports.iter().map(|report| (report.task.as_str(), report.state)).collect()
    }

    /// What is said of a task that was wanted first like this, then like that.
    #[track_caller]
    fn check(what: &str, wishes: &[(TaskState, TaskState)], expected: &[TaskState]) {
        let mut agent = Agent::new(AT_ONCE);
        let mut found = Vec::new();
        for (state, desired) in wishes {
            let changes = vec![wanted("t", *state, *desired)];
            let step = agent.take(message(Type::Incremental, ">", changes), AT_ONCE);
            found.extend(step.reports.iter().map(|report| report.state));
        }
        assert_eq!(found, expected, "{what}");
    }

    #[test]
    fn a_task_goes_as_far_as_it_may() {
        check("to the end", &[(Placed, Running)], &[Running]);
        check("said once", &[(Placed, Running), (Placed, Running)], &[Running]);
        check("up to there", &[(Placed, Ready), (Placed, Running)], &[Ready, Running]);
        check("a job", &[(Placed, Complete)], &[Complete]);
        check("stopped", &[(Placed, Running), (Running, Shutdown)], &[Running, Shutdown]);
        check("removed", &[(Placed, Running), (Running, Remove)], &[Running, Shutdown]);
        check("never begun", &[(Placed, Shutdown)], &[Shutdown]);
        check("not wanted back", &[(Placed, Shutdown), (Placed, Running)], &[Shutdown]);
        check("ended before", &[(Complete, Shutdown)], &[]);
        check("runs already", &[(Running, Running)], &[]);
        check("not so far", &[(Placed, Accepted)], &[Accepted]);
    }

    #[test]
    fn only_what_is_new_has_been_assigned() {
        let mut agent = Agent::new(AT_ONCE);
        let first = vec![wanted("a", Placed, Running), wanted("b", Placed, Running)];
        let step = agent.take(message(Type::Complete, ">1", first), AT_ONCE);
        let tasks: Vec<_> = step.assigned.iter().map(|one| (&*one.task, &*one.service)).collect();
        assert_eq!(tasks, [("a", "s"), ("b", "s")]);
        let again = vec![wanted("a", Running, Running), wanted("c", Placed, Running)];
        let step = agent.take(message(Type::Complete, ">1", again), AT_ONCE);
        assert_eq!(step.assigned.len(), 1, "a was there before");
        assert_eq!(said(&step.reports), [("c", Running)]);
        assert_eq!(said(&agent.everything()), [("a", Running), ("c", Running)], "b is gone");
        let gone = Item::Task(Task { id: "a".into(), ..Task::default() });
        let removed = vec![change(AssignmentAction::Remove, gone)];
        let step = agent.take(message(Type::Incremental, "1>2", removed), AT_ONCE);
        assert_eq!(step, Step::default());
        assert_eq!(said(&agent.everything()), [("c", Running)]);
    }

    #[test]
    fn what_tasks_need_changes_nothing() {
        let mut agent = Agent::new(AT_ONCE);
        let secret = change(AssignmentAction::Update, Item::Secret(Secret::default()));
        let step = agent.take(message(Type::Complete, ">1", vec![secret]), AT_ONCE);
        assert_eq!(step, Step::default());
    }

    #[test]
    fn a_gap_is_noticed_and_what_comes_is_taken() {
        let mut agent = Agent::new(AT_ONCE);
        for (task, kind, step, has_gap) in [
            ("a", Type::Complete, ">1", false),
            ("b", Type::Incremental, "1>2", false),
            ("c", Type::Incremental, "3>4", true),
            ("d", Type::Complete, ">1", false),
            ("e", Type::Incremental, "1>2", false),
        ] {
            let changes = vec![wanted(task, Placed, Running)];
            let taken = agent.take(message(kind, step, changes), AT_ONCE);
            assert_eq!((taken.has_gap, taken.reports.len()), (has_gap, 1), "{task}");
        }
    }

    #[test]
    fn a_start_takes_its_time() {
        let mut agent = Agent::new(seconds(5));
        let first = vec![wanted("a", Placed, Running), wanted("b", Placed, Running)];
        let step = agent.take(message(Type::Complete, ">1", first), seconds(10));
        assert_eq!(said(&step.reports), [("a", Preparing), ("b", Preparing)]);
        let stopped = vec![wanted("b", Placed, Shutdown), wanted("c", Placed, Running)];
        let step = agent.take(message(Type::Incremental, "1>2", stopped), seconds(12));
        assert_eq!(said(&step.reports), [("b", Shutdown), ("c", Preparing)]);
        assert_eq!(agent.due(), Some(seconds(15)));
        assert_eq!(agent.elapse(seconds(14)), []);
        assert_eq!(said(&agent.elapse(seconds(15))), [("a", Running)]);
        assert_eq!(agent.due(), Some(seconds(17)));
        assert_eq!(said(&agent.elapse(seconds(20))), [("c", Running)]);
        assert_eq!(agent.due(), None);
    }
}
