//! In the quiet state, every service has exactly as many tasks that run as it asks for, and the
//! agents run these and no others.

use actors::store::View;
use protocol::{id::TaskId, objects::TaskState};

use super::agents;
use crate::{cluster::Cluster, workload::count};

/// What is not as it should be, if tasks run here.
pub fn unfit(cluster: &Cluster) -> Option<String> {
    cluster.worker()?;
    let Some((store, _)) = cluster.leader() else { return Some("nobody leads".to_owned()) };
    compare(&store.view(), running(cluster))
}

/// In the quiet state, all is as it should be.
pub fn finish(cluster: &Cluster) {
    let Some(worker) = cluster.worker() else { return };
    let unfit = unfit(cluster);
    assert_eq!(unfit, None, "replicas: a quiet cluster does not run what it should");
    assert!(!worker.overlapped(), "replicas: two operations of one task were at work at once");
    cluster.counts.add("check: every service has its tasks", running(cluster).len() as u64);
}

fn running(cluster: &Cluster) -> Vec<TaskId> {
    agents::running(cluster).into_iter().map(|(task, _)| task).collect()
}

fn compare(view: &View, mut running: Vec<TaskId>) -> Option<String> {
    let mut wanted = Vec::new();
    for service in view.services() {
        let tasks = view.tasks_of_service(&service.id);
        let live: Vec<_> = tasks.filter(|task| task.desired_state <= TaskState::RUNNING).collect();
        let run = live.iter().filter(|task| {
            task.desired_state == TaskState::RUNNING && task.status.state == TaskState::RUNNING
        });
        let (run, asked) = (run.count() as u64, count(service));
        if run != asked || live.len() as u64 != asked {
            let (id, live) = (&service.id, live.len());
            return Some(format!("{id} asks for {asked} tasks, has {live}, and {run} of them run"));
        }
        wanted.extend(live.iter().map(|task| task.id.clone()));
    }
    wanted.sort();
    running.sort();
    (wanted != running).then(|| format!("{wanted:?} are to run, and {running:?} do"))
}

#[cfg(test)]
mod tests {
    use actors::store::Transaction;
    use protocol::{
        objects::{Service, Task},
        wire::{self, ReplicatedService, service_spec::Mode},
    };

    use super::super::restarts::testing::task;
    use super::*;

    fn check(replicas: u64, tasks: &[&str], running: &[&str]) -> Option<String> {
        let mut head = Transaction::begin(&View::default());
        let mode = Some(Mode::Replicated(ReplicatedService { replicas }));
        let spec = Some(wire::ServiceSpec { mode, ..Default::default() });
        let service = wire::Service { id: "s".to_owned(), spec, ..Default::default() };
        head.create(Service::from(service)).unwrap();
        for (slot, id) in (1..).zip(tasks) {
            let running = TaskState::RUNNING;
            head.create(Task::from(task(id, slot, running, running))).unwrap();
        }
        let view = head.seal(1, Default::default()).view;
        compare(&view, running.iter().map(|id| TaskId::from(*id)).collect())
    }

    #[test]
    fn only_exactly_what_was_asked_for_fits() {
        assert_eq!(check(2, &["a", "b"], &["b", "a"]), None);
        assert!(check(2, &["a"], &["a"]).is_some());
        assert!(check(1, &["a", "b"], &["a", "b"]).is_some());
        assert!(check(1, &["a"], &["a", "b"]).is_some());
        assert!(check(1, &["a"], &[]).is_some());
    }
}
