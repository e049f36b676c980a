//! What the view knows of services and tasks, as rows of a picture and as lines of news. Prints
//! nothing itself.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use prost_types::Timestamp;
use protocol::wire::{
    Meta, Service, Task, TaskState, WatchActionKind, WatchMessage, object::Object,
    service_spec::Mode, watch_message::Event,
};

use crate::dev::sample;

/// So many tasks of a slot are in the picture, the newest first: what runs, and what was before.
const TASKS_PER_SLOT: usize = 2;

/// Services and tasks, and what was said about them.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// Where the sample's ports begin.
    port_base: Option<u16>,
    services: BTreeMap<String, Service>,
    tasks: BTreeMap<String, Task>,
    said: BTreeMap<String, String>,
}

impl Board {
    pub(super) fn new(port_base: Option<u16>) -> Self {
        Self { port_base, ..Self::default() }
    }

    /// Takes in the whole. Returns a line for each object about which something is new.
    pub(super) fn replace(&mut self, services: Vec<Service>, tasks: Vec<Task>) -> Vec<String> {
        self.services = services.into_iter().map(|service| (service.id.clone(), service)).collect();
        self.tasks = tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
        let known = self.services.keys().chain(self.tasks.keys()).chain(self.said.keys());
        let touched = known.cloned().collect();
        self.news(&touched)
    }

    /// Takes in the changes of a transaction. Returns a line for each object about which
    /// something is new.
    pub(super) fn apply(&mut self, message: WatchMessage) -> Vec<String> {
        let mut touched = BTreeSet::new();
        for event in message.events {
            self.take(event, &mut touched);
        }
        self.news(&touched)
    }

    fn take(&mut self, event: Event, touched: &mut BTreeSet<String>) {
        let removed = event.action() == WatchActionKind::WatchActionRemove;
        match event.object.and_then(|object| object.object) {
            Some(Object::Service(service)) => {
                touched.insert(service.id.clone());
                put(&mut self.services, service.id.clone(), service, removed, |old| old.meta);
            }
            Some(Object::Task(task)) => {
                touched.extend([task.id.clone(), task.service_id.clone()]);
                put(&mut self.tasks, task.id.clone(), task, removed, |old| old.meta);
            }
            // Nothing else was asked for.
            Some(
                Object::Node(_)
                | Object::Network(_)
                | Object::Cluster(_)
                | Object::Secret(_)
                | Object::Resource(_)
                | Object::Extension(_)
                | Object::Config(_)
                | Object::Volume(_),
            )
            | None => {}
        }
    }

    /// Says what is new about these objects, tasks first: they are why a service changed.
    fn news(&mut self, touched: &BTreeSet<String>) -> Vec<String> {
        let (mut of_tasks, mut of_services) = (Vec::new(), Vec::new());
        for id in touched {
            let text = match (self.tasks.get(id), self.services.get(id)) {
                (Some(task), _) => Some(self.task_line(task)),
                (None, Some(service)) => Some(self.service_line(service)),
                (None, None) => None,
            };
            let before = match &text {
                Some(text) => self.said.insert(id.clone(), text.clone()),
                None => self.said.remove(id),
            };
            let lines = if before.as_ref().is_some_and(|line| line.starts_with("service ")) {
                &mut of_services
            } else {
                &mut of_tasks
            };
            match (text, before) {
                (Some(text), before) if before.as_ref() != Some(&text) => lines.push(text),
                (None, Some(before)) => {
                    let name = before.split(": ").next().unwrap_or_default();
                    lines.push(format!("{name}: removed"));
                }
                (Some(_) | None, _) => {}
            }
        }
        of_tasks.append(&mut of_services);
        of_tasks
    }

    fn service_line(&self, service: &Service) -> String {
        format!("service {}: {} running", service_name(service), self.replicas(service))
    }

    fn task_line(&self, task: &Task) -> String {
        let detail = self.detail(task);
        let blank = if detail.is_empty() { "" } else { " " };
        format!("task {} {}: {}{blank}{detail}", task_name(task), task.id, state(task))
    }

    /// How many run, of how many are wanted.
    fn replicas(&self, service: &Service) -> String {
        let runs = |task: &&Task| {
            task.service_id == service.id
                && state(task) == TaskState::Running.as_str_name()
                && task.desired_state() == TaskState::Running
        };
        let running = self.tasks.values().filter(runs).count();
        match service.spec.as_ref().and_then(|spec| spec.mode.as_ref()) {
            Some(Mode::Replicated(replicated)) => format!("{running}/{}", replicated.replicas),
            Some(Mode::Global(_) | Mode::ReplicatedJob(_) | Mode::GlobalJob(_)) | None => {
                running.to_string()
            }
        }
    }

    /// Why a task failed, or where the sample answers.
    fn detail(&self, task: &Task) -> String {
        let status = task.status.clone().unwrap_or_default();
        if !status.err.is_empty() {
            return status
                .err
                .chars()
                .map(|one| if one.is_control() { ' ' } else { one })
                .collect();
        }
        let is_up = status.state() == TaskState::Running;
        let is_sample = named(task) == sample::NAME;
        match self.port_base.and_then(|base| sample::port(base, task.slot)) {
            Some(port) if is_up && is_sample => format!("http://127.0.0.1:{port}"),
            Some(_) | None => String::new(),
        }
    }

    /// The picture: services, then the newest tasks of each slot.
    pub(super) fn rows(&self, now: &Timestamp) -> Vec<String> {
        let mut services: Vec<_> = self.services.values().collect();
        services.sort_by_key(|service| service_name(service));
        let mut rows = vec![["SERVICE".to_owned(), "RUNNING".to_owned()]];
        rows.extend(services.iter().map(|one| [service_name(one).to_owned(), self.replicas(one)]));
        let mut picture = aligned(&rows);
        picture.push(String::new());
        let mut tasks: Vec<_> = self.tasks.values().collect();
        tasks.sort_by_key(|task| {
            let created = task.meta.and_then(|meta| meta.created_at).unwrap_or_default();
            (named(task), task.slot, Reverse((created.seconds, created.nanos)), &task.id)
        });
        let mut rows = vec![["TASK", "STATE", "SINCE", "DETAIL"].map(str::to_owned)];
        for of_slot in tasks.chunk_by(|one, other| task_name(one) == task_name(other)) {
            rows.extend(of_slot.iter().take(TASKS_PER_SLOT).map(|task| {
                let since = task.status.as_ref().and_then(|status| status.timestamp);
                let since = since.map(|since| lasted(&since, now)).unwrap_or_default();
                [task_name(task), state(task).to_owned(), since, self.detail(task)]
            }));
        }
        picture.extend(aligned(&rows));
        picture
    }
}

/// Puts an object in its place, or takes it away. One that is older than what stands there came
/// before the listing.
fn put<T>(
    objects: &mut BTreeMap<String, T>,
    id: String,
    object: T,
    removed: bool,
    meta: impl Fn(&T) -> Option<Meta>,
) {
    let version = |object| meta(object).and_then(|meta| meta.version).map(|version| version.index);
    if removed {
        objects.remove(&id);
    } else if objects.get(&id).is_none_or(|old| version(old) <= version(&object)) {
        objects.insert(id, object);
    }
}

fn service_name(service: &Service) -> &str {
    let annotations = service.spec.as_ref().and_then(|spec| spec.annotations.as_ref());
    annotations.map_or("", |annotations| &annotations.name)
}

/// The name of the service that a task belongs to.
fn named(task: &Task) -> &str {
    task.service_annotations.as_ref().map_or("", |service| &service.name)
}

fn task_name(task: &Task) -> String {
    format!("{}.{}", named(task), task.slot)
}

fn state(task: &Task) -> &'static str {
    task.status.as_ref().map_or(TaskState::New, |status| status.state()).as_str_name()
}

/// How long something has lasted, in its largest unit.
fn lasted(since: &Timestamp, now: &Timestamp) -> String {
    match now.seconds.saturating_sub(since.seconds).max(0) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// Lines up columns; the last one belongs to none.
fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> Vec<String> {
    let wide = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| wide(column).unwrap_or(0));
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  "));
        cells.collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use protocol::wire::{self, Annotations, ReplicatedService, ServiceSpec, TaskStatus, Version};

    use super::*;

    const NOW: Timestamp = Timestamp { seconds: 1_000, nanos: 0 };

    fn meta(version: u64) -> Meta {
        let created_at = Some(Timestamp { seconds: 900, nanos: 0 });
        Meta { version: Some(Version { index: version }), created_at, updated_at: None }
    }

    fn annotations(name: &str) -> Annotations {
        Annotations { name: name.to_owned(), ..Annotations::default() }
    }

    fn service(version: u64, replicas: u64) -> Service {
        let mode = Some(Mode::Replicated(ReplicatedService { replicas }));
        let spec =
            ServiceSpec { annotations: Some(annotations("sample")), mode, ..Default::default() };
        Service {
            id: "s".into(),
            meta: Some(meta(version)),
            spec: Some(spec),
            ..Service::default()
        }
    }

    fn task(id: &str, version: u64, state: TaskState, err: &str) -> Task {
        let status = TaskStatus {
            timestamp: Some(Timestamp { seconds: 988, nanos: 0 }),
            state: state.into(),
            err: err.to_owned(),
            ..TaskStatus::default()
        };
        Task {
            id: id.to_owned(),
            meta: Some(meta(version)),
            service_id: "s".into(),
            service_annotations: Some(annotations("sample")),
            slot: 1,
            status: Some(status),
            desired_state: TaskState::Running.into(),
            ..Task::default()
        }
    }

    fn message(events: impl IntoIterator<Item = (WatchActionKind, Object)>) -> WatchMessage {
        let event = |(action, object): (WatchActionKind, Object)| Event {
            action: action.into(),
            object: Some(wire::Object { object: Some(object) }),
            old_object: None,
        };
        WatchMessage { events: events.into_iter().map(event).collect(), version: None }
    }

    #[test]
    fn each_change_is_one_line() {
        let mut board = Board::new(Some(8080));
        let news = board.replace(vec![service(1, 1)], Vec::new());
        assert_eq!(news, ["service sample: 0/1 running"]);
        let runs = || (WatchActionKind::WatchActionUpdate, task("t", 3, TaskState::Running, ""));
        let (action, running) = runs();
        let news = board.apply(message([(action, Object::Task(running))]));
        let up = "task sample.1 t: RUNNING http://127.0.0.1:8081";
        assert_eq!(news, [up, "service sample: 1/1 running"]);
        let (action, running) = runs();
        assert!(board.apply(message([(action, Object::Task(running))])).is_empty(), "known");
        let older = Object::Task(task("t", 2, TaskState::Starting, ""));
        assert!(board.apply(message([(action, older)])).is_empty(), "from before the listing");
        let failed = Object::Task(task("t", 4, TaskState::Failed, "exit\n1"));
        let news = board.apply(message([(action, failed)]));
        assert_eq!(news, ["task sample.1 t: FAILED exit 1", "service sample: 0/1 running"]);
        let gone = WatchActionKind::WatchActionRemove;
        let news = board.apply(message([
            (gone, Object::Task(task("t", 4, TaskState::Failed, ""))),
            (gone, Object::Service(service(1, 1))),
        ]));
        assert_eq!(news, ["task sample.1 t: removed", "service sample: removed"]);
    }

    #[test]
    fn what_was_missed_is_news_too() {
        let mut board = Board::new(None);
        board.replace(vec![service(1, 2)], vec![task("t", 2, TaskState::Running, "")]);
        let news = board.replace(vec![service(3, 1)], Vec::new());
        assert_eq!(news, ["task sample.1 t: removed", "service sample: 0/1 running"]);
    }

    #[test]
    fn a_picture_shows_services_and_the_newest_tasks() {
        let mut board = Board::new(Some(8080));
        let ended = ["a", "b"].map(|id| task(id, 2, TaskState::Failed, "it broke"));
        let mut newest = task("z", 3, TaskState::Running, "");
        newest.meta = newest.meta.map(|meta| Meta { created_at: Some(NOW), ..meta });
        board.replace(vec![service(1, 1)], ended.into_iter().chain([newest]).collect());
        assert_eq!(
            board.rows(&NOW),
            [
                "SERVICE  RUNNING",
                "sample   1/1",
                "",
                "TASK      STATE    SINCE  DETAIL",
                "sample.1  RUNNING  12s    http://127.0.0.1:8081",
                "sample.1  FAILED   12s    it broke",
            ]
        );
    }

    #[test]
    fn a_while_is_told_in_its_largest_unit() {
        let since = |seconds| lasted(&Timestamp { seconds, nanos: 0 }, &NOW);
        assert_eq!([since(1_001), since(999), since(0)], ["0s", "1s", "16m"]);
        assert_eq!([since(-7_000), since(i64::MIN)].map(|text| text.len()), [2, 16]);
    }
}
