//! Health checks: when a task counts as started, and when it is ended for its health.

use std::{fs, os::unix::fs::MetadataExt, path::Path, pin::pin, rc::Rc};

use actors::agent::port::{Controller, Executor, ExecutorError};
use node::shim::{ControlGroup, Exit, Instructions, Outcome};
use protocol::wire;
use tokio::{select, time::timeout};

use super::{
    PATIENCE, World, container, end, eventually, exit, is_root,
    limits::{groups, has},
    lives,
};

fn milliseconds(milliseconds: i32) -> prost_types::Duration {
    prost_types::Duration { seconds: 0, nanos: milliseconds * 1_000_000 }
}

/// A task that is looked at often, by a line for a shell.
fn checked(world: &World, name: &str, script: &str, check: &str) -> wire::Task {
    let mut task = world.task(name, script);
    container(&mut task).healthcheck = Some(wire::HealthConfig {
        test: ["CMD-SHELL", check].map(str::to_owned).to_vec(),
        interval: Some(milliseconds(20)),
        retries: 2,
        ..Default::default()
    });
    task
}

fn unhealthy() -> Result<(), ExecutorError> {
    Err(ExecutorError::Failed("dockerexec: unhealthy container".to_owned()))
}

#[tokio::test]
async fn a_task_has_started_when_it_is_healthy_whatever_becomes_of_the_daemon() {
    let world = World::new();
    let (looked, good) = (world.file("looked"), world.file("good"));
    let check = format!("touch {}; test -e {}", looked.display(), good.display());
    let mut task = checked(&world, "a", "sleep 1000", &check);
    // It may fail for as long as the test takes.
    let health = container(&mut task).healthcheck.as_mut().expect("it was set");
    health.start_period = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    health.start_interval = Some(milliseconds(20));
    let controller = world.executor().controller(&task).expect("it can run here");
    controller.prepare().await.expect("prepared");
    for life in ["first", "second"] {
        let controller = world.executor().controller(&task).expect("it can run here");
        let mut start = pin!(controller.start());
        select! {
            biased;
            outcome = &mut start => panic!("{outcome:?} in the {life} life"),
            () = eventually("it is looked at", || looked.exists()) => {}
        }
        fs::remove_file(&looked).expect("removed");
        world.restart();
    }
    let adopted = world.executor().controller(&task).expect("it can run here");
    fs::write(&good, "").expect("written");
    let started = timeout(PATIENCE, adopted.start()).await.expect("in time");
    assert_eq!(started, Err(ExecutorError::AlreadyStarted));
    assert!(lives(world.processes("a").1));
    adopted.remove().await.expect("removed");
}

#[tokio::test]
async fn a_task_that_never_becomes_healthy_is_ended() {
    let world = World::new();
    for (name, check) in [("fails", "false"), ("hangs", "exec sleep 1000")] {
        let mut task = checked(&world, name, "sleep 1000", check);
        container(&mut task).healthcheck.as_mut().expect("it was set").timeout =
            Some(milliseconds(200));
        let controller = world.executor().controller(&task).expect("it can run here");
        controller.prepare().await.expect("prepared");
        let started = timeout(PATIENCE, controller.start()).await.expect("in time");
        assert_eq!(started, unhealthy(), "{name}");
        let exit = world.directory(name).read::<Exit>().expect("readable").expect("it ended");
        assert_eq!(exit.outcome, Some(Outcome::Unhealthy(143)), "it was asked to stop");
        assert_eq!(end(&controller).await, unhealthy());
        assert!(!lives(world.processes(name).1));
    }
}

#[tokio::test]
async fn a_task_that_becomes_unhealthy_is_ended() {
    let world = World::new();
    let bad = world.file("bad");
    let check = format!("test ! -e {}", bad.display());
    let task = world.start(&checked(&world, "a", "sleep 1000", &check)).await;
    fs::write(&bad, "").expect("written");
    assert_eq!(end(&task).await, unhealthy());
    assert_eq!(task.container_status().expect("known").exit_code, 143);
}

#[tokio::test]
async fn a_task_that_ends_before_it_is_healthy_tells_its_code() {
    let world = World::new();
    for (name, script, expected) in [("bad", "exit 3", exit(3)), ("good", "exit 0", Ok(()))] {
        let mut task = checked(&world, name, script, "true");
        let health = container(&mut task).healthcheck.as_mut().expect("it was set");
        health.interval = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
        let controller = world.executor().controller(&task).expect("it can run here");
        controller.prepare().await.expect("prepared");
        let started = timeout(PATIENCE, controller.start()).await.expect("in time");
        assert_eq!(started, expected, "{name}");
        assert_eq!(end(&controller).await, expected, "{name}");
    }
}

/// A healthy task that one failed check would end. Each check makes the file `looked`.
async fn fragile(world: &World) -> (Rc<dyn Controller>, i32) {
    let looked = format!("touch {}", world.file("looked").display());
    let mut task = checked(world, "a", "sleep 1000", &looked);
    container(&mut task).healthcheck.as_mut().expect("it was set").retries = 1;
    let controller = world.start(&task).await;
    (controller, world.processes("a").1)
}

/// Waits until checks have been refused.
async fn refused(world: &World, main: i32) {
    let told = || world.directory("a").trouble().is_some_and(|text| text.contains("begin"));
    eventually("it is told, or the task ended", || told() || !lives(main)).await;
    assert!(lives(main), "the machine's trouble is not the task's");
}

/// Waits until a check has run from here on.
async fn looked(world: &World, main: i32) {
    let looked = world.file("looked");
    fs::remove_file(&looked).ok();
    eventually("it is looked at", || looked.exists() || !lives(main)).await;
    assert!(lives(main), "it is healthy");
}

#[tokio::test]
async fn a_check_that_cannot_begin_is_no_verdict() {
    let world = World::new();
    let (task, main) = fragile(&world).await;
    let directory = world.directory("a");
    let instructions = directory.read::<Instructions>().expect("readable").expect("prepared");
    let mut spoilt = instructions.clone();
    let nowhere = world.file("nowhere").display().to_string();
    spoilt.control_groups.push(ControlGroup { directory: nowhere, settings: Vec::new() });
    directory.write(&spoilt).expect("written");
    refused(&world, main).await;
    directory.write(&instructions).expect("written");
    looked(&world, main).await;
    task.remove().await.expect("removed");
}

#[tokio::test]
async fn a_check_needs_no_claim() {
    let world = World::new();
    let (task, main) = fragile(&world).await;
    super::damage(&world, "shim");
    looked(&world, main).await;
    looked(&world, main).await;
    task.remove().await.expect("removed");
}

/// A group for a shim, which leaves nothing behind.
pub(crate) struct Narrow(ControlGroup);

impl Narrow {
    /// Lets a task's shim start no more processes. Only where processes are counted.
    pub(crate) fn around(world: &World, name: &str) -> Self {
        let of_task = groups(world, name).pop().expect("processes are counted");
        let directory = format!("{}-narrow", of_task.directory);
        let narrow = Self(ControlGroup { directory, settings: Vec::new() });
        fs::create_dir(&narrow.0.directory).expect("made");
        narrow.set("pids.max", "1");
        narrow.set("cgroup.procs", &world.processes(name).0.to_string());
        narrow
    }

    pub(crate) fn widen(&self) {
        self.set("pids.max", "max");
    }

    fn set(&self, file: &str, value: &str) {
        fs::write(Path::new(&self.0.directory).join(file), value).expect("written");
    }
}

impl Drop for Narrow {
    fn drop(&mut self) {
        self.0.kill();
        self.0.remove().ok();
    }
}

#[tokio::test]
async fn a_fork_that_is_refused_is_no_verdict() {
    let world = World::new();
    if !has(&world, "pids").await {
        return;
    }
    let (task, main) = fragile(&world).await;
    let narrow = Narrow::around(&world, "a");
    refused(&world, main).await;
    narrow.widen();
    looked(&world, main).await;
    task.remove().await.expect("removed");
}

#[tokio::test]
async fn a_check_whose_program_does_not_exist_has_failed() {
    let world = World::new();
    let mut task = checked(&world, "a", "sleep 1000", "");
    let health = container(&mut task).healthcheck.as_mut().expect("it was set");
    health.test = ["CMD", "/nope"].map(str::to_owned).to_vec();
    let controller = world.executor().controller(&task).expect("it can run here");
    controller.prepare().await.expect("prepared");
    let started = timeout(PATIENCE, controller.start()).await.expect("in time");
    assert_eq!(started, unhealthy());
}

#[tokio::test]
async fn a_check_that_the_task_itself_keeps_from_running_has_failed() {
    let world = World::new();
    let folder = world.file("folder");
    fs::create_dir(&folder).expect("made");
    let mut task = checked(&world, "a", "sleep 1000", "true");
    container(&mut task).dir = folder.display().to_string();
    let task = world.start(&task).await;
    fs::remove_dir(&folder).expect("removed");
    assert_eq!(end(&task).await, unhealthy(), "its folder is gone");
    if !is_root() {
        return;
    }
    let limit = wire::container_spec::Ulimit { name: "nproc".into(), soft: 4, hard: 4 };
    let mut task = checked(&world, "b", "sleep 1000", "true");
    container(&mut task).user = "4327".to_owned();
    container(&mut task).ulimits = vec![limit];
    let task = world.start(&task).await;
    let script = "for i in 1 2 3 4 5 6; do sleep 1000 & done; wait";
    let mut neighbour = world.task("c", script);
    container(&mut neighbour).user = "4327".to_owned();
    let neighbour = world.start(&neighbour).await;
    assert_eq!(end(&task).await, unhealthy(), "its user has more processes than it may");
    neighbour.remove().await.expect("removed");
}

#[tokio::test]
async fn what_a_check_leaves_behind_is_ended() {
    let world = World::new();
    // In a group of their own not even an environment is needed to find them.
    for (name, forget, grouped) in [("grouped", "env -i", true), ("alone", "", false)] {
        if grouped && !has(&world, "pids").await {
            continue;
        }
        let file = |name: &str, what: &str| world.file(&format!("{name}-{what}"));
        let (own, left) = (file(name, "own"), file(name, "left"));
        fs::write(&left, "").expect("written");
        let script = format!("setsid sleep 1000 & echo $! > {}; wait", own.display());
        // The first stays in the session of the check, the second is below a third.
        let check = format!(
            "sleep 1000 & echo $! > {0}.mine; {forget} setsid sh -c 'sleep 1000 & \
             echo $! $$ > {0}.next; wait' & while [ ! -s {0}.next ]; do sleep 0.01; done; \
             cat {0}.mine {0}.next >> {0}; rm {0}.next",
            left.display()
        );
        let task = checked(&world, name, &script, &check);
        let controller = world.executor().controller(&task).expect("it can run here");
        controller.prepare().await.expect("prepared");
        if !grouped {
            let directory = world.directory(name);
            let instructions = directory.read::<Instructions>().expect("readable");
            let mut instructions = instructions.expect("prepared");
            instructions.control_groups.clear();
            directory.write(&instructions).expect("written");
        }
        controller.start().await.expect("healthy");
        let numbers = |file: &Path| -> Vec<i32> {
            let text = fs::read_to_string(file).expect("readable");
            text.split_whitespace().map(|word| word.parse().expect("a number")).collect()
        };
        eventually("three checks end", || numbers(&left).len() >= 9).await;
        let left = numbers(&left);
        eventually("what they left ends", || left.iter().all(|pid| !lives(*pid))).await;
        assert!(lives(numbers(&own)[0]), "what the task started is its own");
        controller.remove().await.expect("removed");
        assert!(!lives(numbers(&own)[0]));
    }
}

#[tokio::test]
async fn a_check_runs_as_the_task_does() {
    let world = World::new();
    if !is_root() {
        return;
    }
    let check = "test \"$A\" = b && test \"$PWD\" = /usr && test \"$(id -u)\" = 4321";
    let mut task = checked(&world, "a", "sleep 1000", check);
    let spec = container(&mut task);
    spec.env = vec!["A=b".to_owned()];
    spec.dir = "/usr".to_owned();
    spec.user = "4321".to_owned();
    let owner = || fs::metadata("/dev/null").expect("it is there").uid();
    let before = owner();
    let task = world.start(&task).await;
    assert_eq!(owner(), before, "only what is the task's own becomes the user's");
    task.remove().await.expect("removed");
}
