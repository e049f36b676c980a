//! A task from its start to its end.

use std::{fs, pin::pin};

use actors::agent::port::{Executor, ExecutorError};
use nix::sys::signal::Signal;
use node::shim::{ControlGroup, Instructions, Setting};
use tokio::{select, time::timeout};

use super::{
    PATIENCE, World, container, end, eventually, exit, health::Narrow, limits::has, lives, send,
};

#[tokio::test]
async fn exit_codes_are_those_of_a_shell() {
    let world = World::new();
    for (id, script, expected) in [
        ("zero", "exit 0", Ok(())),
        ("three", "exit 3", exit(3)),
        ("killed", "kill -9 $$", exit(137)),
        ("asked", "kill $$", exit(143)),
    ] {
        let task = world.run(id, script).await;
        assert_eq!(end(&task).await, expected, "{id}");
        let code = match expected {
            Err(ExecutorError::Exit { code, .. }) => code,
            Ok(()) | Err(_) => 0,
        };
        assert_eq!(task.container_status().expect("known").exit_code, code, "{id}");
    }
}

#[tokio::test]
async fn a_program_that_does_not_exist_says_so() {
    let world = World::new();
    let mut nothing = world.task("a", "");
    container(&mut nothing).command = vec!["/nope".to_owned()];
    let controller = world.executor().controller(&nothing).expect("it may exist");
    controller.prepare().await.expect("prepared");
    let refused = controller.start().await.expect_err("there is none");
    assert!(
        refused.to_string().starts_with("starting container failed: exec: \"/nope\""),
        "{refused}"
    );
    assert_eq!(controller.container_status().expect("known").exit_code, 127);
}

#[tokio::test]
async fn stopping_asks_first_and_kills_after_the_grace_period() {
    let world = World::new();
    // Each says when it has set its trap: whoever is asked before that ends as any process does.
    let asking = |name: &str, trap: &str| {
        format!(
            "trap {trap} TERM; touch {}; while :; do sleep 0.05; done",
            world.file(name).display()
        )
    };
    for (name, trap, code) in [("polite", "'exit 7'", 7), ("stubborn", "''", 137)] {
        let ready = format!("{name}-ready");
        let task = world.run(name, &asking(&ready, trap)).await;
        eventually("the trap is set", || world.file(&ready).exists()).await;
        timeout(PATIENCE, task.shutdown()).await.expect("in time").expect("stopped");
        assert_eq!(end(&task).await, exit(code), "{name}");
    }
}

#[tokio::test]
async fn a_task_is_asked_to_stop_by_its_own_signal() {
    let world = World::new();
    for (signal, number) in [("SIGUSR2", 12), ("SIGRTMIN+3", 37)] {
        let ready = world.file(signal);
        let script = format!(
            "trap 'exit 7' {number}; touch {}; while :; do sleep 0.05; done",
            ready.display()
        );
        let mut task = world.task(signal, &script);
        container(&mut task).stop_signal = signal.to_owned();
        let task = world.start(&task).await;
        eventually("the trap is set", || ready.exists()).await;
        timeout(PATIENCE, task.shutdown()).await.expect("in time").expect("stopped");
        assert_eq!(end(&task).await, exit(7), "{signal}");
    }
}

#[tokio::test]
async fn a_task_that_could_not_be_asked_to_stop_is_asked_again() {
    let world = World::new();
    if !has(&world, "pids").await {
        return;
    }
    let ready = world.file("ready");
    let script =
        format!("trap 'exit 7' 37; touch {}; while :; do sleep 0.05; done", ready.display());
    let mut task = world.task("a", &script);
    container(&mut task).stop_signal = "SIGRTMIN+3".to_owned();
    container(&mut task).stop_grace_period =
        Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    let task = world.start(&task).await;
    eventually("the trap is set", || ready.exists()).await;
    let narrow = Narrow::around(&world, "a");
    let mut shutdown = pin!(task.shutdown());
    let told = || world.directory("a").trouble().is_some_and(|text| text.contains("asked to stop"));
    select! {
        biased;
        stopped = &mut shutdown => panic!("{stopped:?}"),
        () = eventually("it is told", told) => {}
    }
    narrow.widen();
    timeout(PATIENCE, shutdown).await.expect("in time").expect("stopped");
    assert_eq!(end(&task).await, exit(7));
}

#[tokio::test]
async fn nothing_below_a_task_outlives_it() {
    let world = World::new();
    let pids = world.file("pids");
    fs::write(&pids, "").expect("written");
    // It ends when both have said who they are.
    let script = format!(
        "sleep 1000 & echo $! >> {0}; setsid sh -c 'sleep 1000 & echo $! >> {0}; wait' & \
         while [ $(wc -l < {0}) -lt 2 ]; do sleep 0.02; done; exit 5",
        pids.display()
    );
    let task = world.run("parent", &script).await;
    assert_eq!(end(&task).await, exit(5));
    let children: Vec<i32> = fs::read_to_string(&pids)
        .expect("written")
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    assert_eq!(children.len(), 2);
    assert!(children.iter().all(|pid| !lives(*pid)), "they end before the task is over");
    assert!(world.directory("parent").is_swept());
}

#[tokio::test]
async fn a_task_that_was_stopped_before_it_started_never_starts() {
    let world = World::new();
    let ran = world.file("ran");
    let script = format!("touch {}", ran.display());
    let task = world.controller("a", &script);
    task.prepare().await.expect("prepared");
    task.shutdown().await.expect("stopped");
    let refused = timeout(PATIENCE, task.start()).await.expect("in time");
    assert!(refused.is_err());
    assert!(!ran.exists());
}

#[tokio::test]
async fn a_task_whose_directory_somebody_has_removed_was_destroyed() {
    let world = World::new();
    let task = world.run("a", "sleep 1000").await;
    let (shim, main) = world.processes("a");
    fs::remove_dir_all(world.directory("a").path()).expect("removed");
    send(main, Signal::SIGKILL);
    let destroyed = ExecutorError::Failed("dockerexec: container destroyed".to_owned());
    assert_eq!(end(&task).await, Err(destroyed));
    assert!(!lives(shim));
    task.remove().await.expect("removed");
}

#[tokio::test]
async fn a_limit_that_is_offered_and_refused_is_a_failed_start() {
    let world = World::new();
    let task = world.controller("a", "exit 0");
    task.prepare().await.expect("prepared");
    let (directory, group) = (world.directory("a"), tempfile::tempdir().expect("a directory"));
    let mut instructions = directory.read::<Instructions>().expect("readable").expect("prepared");
    fs::create_dir(group.path().join("pids.max")).expect("made");
    let set = |optional| Setting { file: "pids.max".into(), value: "7".into(), optional };
    instructions.control_groups = vec![ControlGroup {
        directory: group.path().to_str().expect("a path").to_owned(),
        settings: vec![set(false)],
    }];
    directory.write(&instructions).expect("written");
    let refused = task.start().await.expect_err("the limit does not hold").to_string();
    let file = group.path().join("pids.max");
    let expected = format!("starting container failed: {} cannot be written", file.display());
    assert!(refused.starts_with(&expected), "{refused}");
    assert_eq!(task.container_status().expect("known").exit_code, 126);
}
