//! Agent, session, reporter and tasks together, on the paused clock.

use std::time::Duration;

use protocol::{
    id::TaskId,
    wire::{self, TaskState, task_status::RuntimeStatus},
};
use tokio::{task::LocalSet, time::sleep};

use super::manager::{Node, task};
use crate::{
    agent::{
        port::{ExecutorError, News},
        simulated::{Machine, MemoryDatabase},
    },
    supervision::Tree,
};

/// Runs a test on one thread and the paused clock, as the agent's own thread runs.
fn simulate(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test());
}

fn a() -> TaskId {
    TaskId::from("a")
}

fn b() -> TaskId {
    TaskId::from("b")
}

/// A node to which one task is assigned.
fn with_a() -> Node {
    let node = Node::default();
    node.manager.assign(&[task(&a(), TaskState::Running)]);
    node
}

#[test]
fn a_task_runs_to_its_end_and_every_state_is_stored() {
    simulate(async || {
        let node = with_a();
        let _tree = node.boot();
        node.until_reported(&a(), TaskState::Running).await;
        node.machine.exit(&a(), 0);
        node.until_reported(&a(), TaskState::Complete).await;
        let status = node.manager.statuses(&a()).pop().expect("reported");
        assert_eq!((status.message.as_str(), status.err.as_str()), ("finished", ""));
        let stored = node.database.stored(&a()).expect("stored");
        assert_eq!(stored.status, Some(status));
        let all = ["resolve", "prepare", "start", "wait"];
        assert_eq!(node.machine.journal(&a()), all);
    });
}

#[test]
fn a_bad_exit_code_fails_the_task_and_says_which() {
    simulate(async || {
        let node = with_a();
        let _tree = node.boot();
        node.until_reported(&a(), TaskState::Running).await;
        node.machine.exit(&a(), 3);
        node.until_reported(&a(), TaskState::Failed).await;
        let status = node.manager.statuses(&a()).pop().expect("reported");
        assert_eq!(status.err, "task: non-zero exit (3)");
        let Some(RuntimeStatus::Container(container)) = status.runtime_status else {
            panic!("no container status")
        };
        assert_eq!(container.exit_code, 3);
    });
}

#[test]
fn a_task_that_shall_stop_is_shut_down() {
    simulate(async || {
        let node = with_a();
        let _tree = node.boot();
        node.until_reported(&a(), TaskState::Running).await;
        node.manager.assign(&[task(&a(), TaskState::Shutdown)]);
        node.until_reported(&a(), TaskState::Shutdown).await;
        assert!(node.machine.running().is_empty());
        assert!(!node.machine.overlapped(), "one operation at a time");
    });
}

#[test]
fn a_task_that_is_no_longer_assigned_leaves_nothing_behind() {
    simulate(async || {
        let node = with_a();
        let _tree = node.boot();
        node.until_reported(&a(), TaskState::Running).await;
        node.manager.assign(&[]);
        node.until("removed", |node| node.machine.present().is_empty()).await;
        node.until("forgotten", |node| node.database.stored(&a()).is_none()).await;
        let left = |node: &Node| {
            node.census.report().iter().all(|actor| !actor.path.starts_with("agent/task"))
        };
        node.until("its actor has ended", left).await;
    });
}

#[test]
fn a_killed_daemon_goes_on_with_its_tasks_before_it_finds_a_manager() {
    simulate(async || {
        let node = with_a();
        let killed = node.boot();
        node.until_reported(&a(), TaskState::Running).await;
        killed.abort();
        node.manager.leave();
        node.machine.exit(&a(), 4);
        let _tree = node.boot();
        let failed = |node: &Node| {
            let stored = node.database.stored(&a()).and_then(|stored| stored.status);
            stored.is_some_and(|status| status.state() == TaskState::Failed)
        };
        node.until("the exit is known", failed).await;
        assert_eq!(node.machine.starts(&a()), 1);
        node.manager.come_back();
        node.until_reported(&a(), TaskState::Failed).await;
    });
}

#[test]
fn a_daemon_killed_while_it_removes_a_task_finishes_that_first() {
    simulate(async || {
        let node = with_a();
        let killed = node.boot();
        node.until_reported(&a(), TaskState::Running).await;
        node.machine.refuse(&a(), ExecutorError::Temporary("busy".to_owned()));
        node.manager.assign(&[]);
        let marked = |node: &Node| !node.database.stored(&a()).expect("kept").assigned;
        node.until("marked", marked).await;
        killed.abort();
        node.manager.leave();
        node.machine.allow(&a());
        let _tree = node.boot();
        node.until("removed", |node| node.machine.present().is_empty()).await;
        node.until("forgotten", |node| node.database.stored(&a()).is_none()).await;
    });
}

#[test]
fn nothing_starts_and_nothing_is_reported_while_the_database_is_full() {
    simulate(async || {
        let node = with_a();
        node.database.set_full(true);
        let _tree = node.boot();
        node.until("registered", |node| node.manager.heartbeats() > 0).await;
        sleep(Duration::from_secs(3)).await;
        assert!(node.machine.present().is_empty());
        node.database.set_full(false);
        node.until_reported(&a(), TaskState::Running).await;
        node.database.set_full(true);
        node.machine.exit(&a(), 0);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(node.manager.reported(&a()).last(), Some(&TaskState::Running));
        node.database.set_full(false);
        node.until_reported(&a(), TaskState::Complete).await;
    });
}

#[test]
fn a_manager_that_was_away_hears_everything_when_it_is_back() {
    simulate(async || {
        let node = with_a();
        let _tree = node.boot();
        node.until_reported(&a(), TaskState::Running).await;
        node.manager.leave();
        node.machine.exit(&a(), 0);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(node.manager.reported(&a()).last(), Some(&TaskState::Running));
        node.manager.come_back();
        node.until_reported(&a(), TaskState::Complete).await;
        let last = node.manager.sessions().pop().expect("a session");
        assert_eq!(last.session_id, "s1", "the session is resumed");
    });
}

#[test]
fn what_a_manager_says_beside_the_tasks_is_passed_on() {
    simulate(async || {
        let node = Node::default();
        let _tree = node.boot();
        node.until("registered", |node| node.manager.heartbeats() > 0).await;
        let root = News::Root("root".into());
        assert_eq!(node.manager.heard(), [News::Managers(Vec::new()), root]);
    });
}

#[test]
fn heartbeats_keep_their_period() {
    simulate(async || {
        let node = Node::default();
        let _tree = node.boot();
        node.until("registered", |node| node.manager.heartbeats() > 0).await;
        sleep(Duration::from_secs(26)).await;
        assert_eq!(node.manager.heartbeats(), 6);
    });
}

#[test]
fn a_manager_that_asks_for_no_pause_does_not_get_its_way() {
    simulate(async || {
        for seconds in [0, -1] {
            let node = Node::default();
            node.manager.beat_every(seconds);
            let _tree = node.boot();
            node.until("registered", |node| node.manager.heartbeats() > 0).await;
            sleep(Duration::from_secs(1)).await;
            assert!(node.manager.heartbeats() <= 22, "{} in a second", node.manager.heartbeats());
        }
    });
}

#[test]
fn a_changed_machine_opens_a_new_session_within_twenty_seconds() {
    simulate(async || {
        let node = Node::default();
        let _tree = node.boot();
        node.until("registered", |node| node.manager.heartbeats() > 0).await;
        let larger = wire::NodeDescription {
            hostname: "larger".to_owned(),
            ..wire::NodeDescription::default()
        };
        node.machine.describe_as(larger.clone());
        sleep(Duration::from_secs(21)).await;
        let sessions = node.manager.sessions();
        assert_eq!(sessions.len(), 2);
        let tls_info = Some(wire::NodeTlsInfo::default());
        let larger = wire::NodeDescription { tls_info, ..larger };
        assert_eq!((&sessions[1].description, &*sessions[1].session_id), (&Some(larger), "s1"));
    });
}

/// A root rotation goes on once every node has said who issued its certificate.
#[test]
fn a_changed_certificate_is_told_at_once() {
    simulate(async || {
        let node = Node::default();
        let _tree = node.boot();
        node.until("registered", |node| node.manager.heartbeats() > 0).await;
        let renewed = wire::NodeTlsInfo { cert_issuer_subject: "new".into(), ..Default::default() };
        node.tls_info.send_replace(renewed.clone());
        sleep(Duration::from_secs(1)).await;
        let told: Vec<_> = node
            .manager
            .sessions()
            .into_iter()
            .map(|asked| asked.description.unwrap().tls_info)
            .collect();
        assert_eq!(told, [Some(wire::NodeTlsInfo::default()), Some(renewed)]);
    });
}

/// The manager would cut it off when the certificate of before ends.
#[test]
fn a_renewed_certificate_is_shown_in_the_same_session_within_twenty_seconds() {
    simulate(async || {
        let node = Node::default();
        let _tree = node.boot();
        node.until("registered", |node| node.manager.heartbeats() > 0).await;
        node.manager.is_behind();
        sleep(Duration::from_secs(50)).await;
        let sessions = node.manager.sessions();
        let ids: Vec<_> = sessions.iter().map(|asked| asked.session_id.as_str()).collect();
        assert_eq!(ids, ["", "s1"]);
        assert_eq!(sessions[0].description, sessions[1].description);
    });
}

#[test]
fn a_machine_that_cannot_describe_itself_is_asked_every_twenty_seconds() {
    simulate(async || {
        let node = Node::default();
        let _tree = node.boot();
        node.until("registered", |node| node.manager.heartbeats() > 0).await;
        node.machine.be_mute();
        node.tls_info.send_replace(wire::NodeTlsInfo {
            cert_issuer_subject: "new".into(),
            ..Default::default()
        });
        sleep(Duration::from_secs(70)).await;
        let looks = node.machine.looks();
        assert!((4..=6).contains(&looks), "{looks} looks in seventy seconds");
        assert_eq!(node.manager.sessions().len(), 1);
    });
}

#[test]
fn a_task_whose_actor_keeps_dying_fails_and_its_neighbours_run_on() {
    simulate(async || {
        let node = Node::default();
        node.machine.curse(&a());
        let both = [task(&a(), TaskState::Running), task(&b(), TaskState::Running)];
        node.manager.assign(&both);
        let _tree = node.boot();
        node.until_reported(&a(), TaskState::Failed).await;
        let status = node.manager.statuses(&a()).pop().expect("reported");
        assert!(status.err.contains("the task is cursed"), "{}", status.err);
        let tried = node.machine.journal(&a()).into_iter().filter(|step| *step == "prepare");
        assert_eq!(tried.count(), 4, "once, and three times more");
        node.until_reported(&b(), TaskState::Running).await;
    });
}

/// A node whose task runs, has failed for a manager because its actor keeps dying, and cannot be
/// stopped.
async fn with_lost_a() -> (Node, Tree) {
    let node = with_a();
    let tree = node.boot();
    node.until_reported(&a(), TaskState::Running).await;
    node.machine.curse(&a());
    node.manager.assign(&[task(&a(), TaskState::Shutdown)]);
    node.until_reported(&a(), TaskState::Failed).await;
    assert_eq!(node.machine.running(), [a()]);
    (node, tree)
}

/// How often it was tried to stop or to remove a task.
fn tried(node: &Node) -> usize {
    let journal = node.machine.journal(&a()).into_iter();
    journal.filter(|step| matches!(*step, "shutdown" | "remove")).count()
}

#[test]
fn a_lost_task_that_runs_is_stopped_again_and_again_until_it_is_gone() {
    simulate(async || {
        let (node, _tree) = with_lost_a().await;
        sleep(Duration::from_secs(120)).await;
        let before = tried(&node);
        sleep(Duration::from_secs(120)).await;
        assert!((8..=60).contains(&(tried(&node) - before)), "{before} and then {}", tried(&node));
        node.machine.bless(&a());
        node.until("stopped", |node| node.machine.running().is_empty()).await;
        let status = node.manager.statuses(&a()).pop().expect("reported");
        assert_eq!(status.state(), TaskState::Failed);
        assert!(status.err.contains("the task is cursed"), "{}", status.err);
        let after = tried(&node);
        sleep(Duration::from_secs(120)).await;
        assert_eq!(tried(&node), after, "then it is left alone");
    });
}

#[test]
fn a_lost_task_that_runs_is_stopped_by_the_next_daemon() {
    simulate(async || {
        let (node, tree) = with_lost_a().await;
        tree.abort();
        node.manager.leave();
        node.machine.bless(&a());
        let _tree = node.boot();
        node.until("stopped", |node| node.machine.running().is_empty()).await;
        let stored = node.database.stored(&a()).and_then(|task| task.status).expect("kept");
        assert_eq!(stored.state(), TaskState::Failed);
    });
}

#[test]
fn a_lost_task_that_is_no_longer_wanted_is_removed_again_and_again_until_it_is_gone() {
    simulate(async || {
        let (node, _tree) = with_lost_a().await;
        node.manager.assign(&[]);
        sleep(Duration::from_secs(120)).await;
        assert!(!node.database.stored(&a()).expect("kept").assigned);
        node.machine.bless(&a());
        node.until("removed", |node| node.machine.present().is_empty()).await;
        node.until("forgotten", |node| node.database.stored(&a()).is_none()).await;
    });
}

#[test]
fn a_task_that_could_not_be_removed_is_removed_with_what_nobody_knows() {
    simulate(async || {
        let node = with_a();
        let _tree = node.boot();
        node.until_reported(&a(), TaskState::Running).await;
        node.machine.refuse(&a(), ExecutorError::Failed("never".to_owned()));
        node.manager.assign(&[]);
        node.until("forgotten", |node| node.database.stored(&a()).is_none()).await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(node.machine.running(), [a()]);
        node.machine.allow(&a());
        node.until("removed", |node| node.machine.present().is_empty()).await;
    });
}

#[test]
fn what_a_removal_has_left_behind_is_removed_while_others_leave_something_too() {
    simulate(async || {
        let node = Node { machine: Machine::slow(Duration::from_secs(5)), ..Node::default() };
        let ids: Vec<_> = (0..20).map(|number| TaskId::from(format!("t{number:02}"))).collect();
        let tasks: Vec<_> = ids.iter().map(|id| task(id, TaskState::Running)).collect();
        node.manager.assign(&tasks);
        let _tree = node.boot();
        node.until("all run", |node| node.machine.running().len() == ids.len()).await;
        for id in &ids {
            node.until_reported(id, TaskState::Running).await;
            node.machine.refuse(id, ExecutorError::Failed("never".to_owned()));
        }
        for gone in 1..ids.len() {
            // More often than a removal takes.
            node.manager.assign(&tasks[gone..]);
            sleep(Duration::from_secs(3)).await;
            if gone == 8 {
                assert!(node.database.stored(&ids[0]).is_none(), "it was given up");
                node.machine.allow(&ids[0]);
            }
        }
        assert!(!node.machine.present().contains(&ids[0]));
        assert!(node.machine.present().contains(&ids[1]), "it cannot be removed");
    });
}

#[test]
fn a_temporary_error_is_reported_and_tried_again_every_second() {
    simulate(async || {
        let node = with_a();
        node.machine.refuse(&a(), ExecutorError::Temporary("not yet".to_owned()));
        let _tree = node.boot();
        let told = |node: &Node| {
            node.manager.statuses(&a()).last().is_some_and(|status| status.err == "not yet")
        };
        node.until("told", told).await;
        sleep(Duration::from_secs(5)).await;
        let tried = node.machine.journal(&a()).into_iter().filter(|step| *step == "prepare");
        assert!((5..=6).contains(&tried.count()));
        node.machine.allow(&a());
        node.until_reported(&a(), TaskState::Running).await;
        assert_eq!(node.manager.statuses(&a()).pop().expect("reported").err, "");
    });
}

#[test]
fn a_lost_database_stops_no_task_that_is_still_wanted() {
    simulate(async || {
        let node = Node::default();
        node.manager.assign(&[task(&a(), TaskState::Running), task(&b(), TaskState::Running)]);
        let tree = node.boot();
        node.until_reported(&a(), TaskState::Running).await;
        node.until_reported(&b(), TaskState::Running).await;
        tree.abort();
        let node = Node { database: MemoryDatabase::default(), ..node };
        node.manager.leave();
        node.manager.assign(&[task(&a(), TaskState::Running)]);
        let _tree = node.boot();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(node.machine.running(), [a(), b()], "nobody has said yet what is wanted");
        // What cannot be removed at once is tried again.
        node.machine.refuse(&b(), ExecutorError::Temporary("not now".to_owned()));
        node.manager.come_back();
        let tried = |node: &Node| node.machine.journal(&b()).contains(&"remove");
        node.until("a removal that fails", tried).await;
        node.machine.allow(&b());
        node.until("only what is wanted is there", |node| node.machine.present() == [a()]).await;
        assert_eq!(node.machine.running(), [a()]);
        assert_eq!(node.machine.starts(&a()), 1, "it was adopted");
    });
}
