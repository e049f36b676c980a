//! Daemon, shim and task end in any order: nothing is started twice, nothing stays, no exit code
//! is lost or invented.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use actors::agent::port::{Executor, ExecutorError};
use nix::{
    sys::{
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};
use node::shim::{self, ControlGroup, Exit, Instructions, Outcome, TASK_ID_VARIABLE};

use super::{World, damage, end, eventually, exit, lives, send};

#[tokio::test]
async fn a_task_survives_the_daemon_and_is_adopted() {
    let world = World::new();
    let go = world.file("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.02; done; exit 4", go.display());
    let task = world.run("a", &script).await;
    let processes = world.processes("a");
    drop(task);
    world.restart();
    let adopted = world.controller("a", &script);
    assert_eq!(adopted.prepare().await, Err(ExecutorError::AlreadyPrepared));
    assert_eq!(adopted.start().await, Err(ExecutorError::AlreadyStarted));
    assert_eq!(world.processes("a"), processes, "it was not started again");
    assert!(lives(processes.1));
    fs::write(&go, "").expect("written");
    assert_eq!(end(&adopted).await, exit(4));
}

#[tokio::test]
async fn an_exit_code_waits_for_the_next_daemon() {
    let world = World::new();
    let task = world.run("a", "sleep 0.2; exit 9").await;
    let (shim, _) = world.processes("a");
    drop(task);
    world.restart();
    eventually("the shim ends", || !lives(shim)).await;
    let adopted = world.controller("a", "sleep 0.2; exit 9");
    assert_eq!(adopted.start().await, Err(ExecutorError::AlreadyStarted));
    assert_eq!(end(&adopted).await, exit(9));
}

#[tokio::test]
async fn a_killed_shim_takes_its_task_with_it() {
    let world = World::new();
    let script = "sleep 1000 & sleep 1000";
    let task = world.run("a", script).await;
    let (shim, main) = world.processes("a");
    send(shim, Signal::SIGKILL);
    let outcome = end(&task).await;
    let Err(ExecutorError::Failed(reason)) = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains(&format!("shim (process {shim}) was killed")), "{reason}");
    eventually("the task ends", || !lives(main)).await;
    assert!(world.directory("a").is_swept(), "no later daemon has to look again");
    task.remove().await.expect("removed");
    assert!(!world.directory("a").exists());
}

#[tokio::test]
async fn a_shim_killed_while_no_daemon_ran_leaves_no_orphan() {
    let world = World::new();
    let pids = world.file("pids");
    let script = format!("sleep 1000 & echo $! > {}; wait", pids.display());
    drop(world.run("a", &script).await);
    eventually("the child starts", || {
        fs::read_to_string(&pids).is_ok_and(|text| text.ends_with('\n'))
    })
    .await;
    let child: i32 = fs::read_to_string(&pids).expect("written").trim().parse().expect("a number");
    let (shim, main) = world.processes("a");
    send(shim, Signal::SIGKILL);
    eventually("the main process ends", || !lives(main)).await;
    world.restart();
    let adopted = world.controller("a", &script);
    let outcome = end(&adopted).await;
    assert!(matches!(outcome, Err(ExecutorError::Failed(_))), "{outcome:?}");
    eventually("the child ends", || !lives(child)).await;
}

#[tokio::test]
async fn what_nobody_knows_is_stopped_and_removed() {
    let world = World::new();
    let known = world.run("known", "sleep 1000").await;
    drop(world.run("unknown", "sleep 1000").await);
    let ((_, kept), (_, ended)) = (world.processes("known"), world.processes("unknown"));
    fs::write(world.file("no task"), "").expect("written");
    world.restart();
    let keep = BTreeSet::from([world.id("known").into()]);
    world.executor().retain(keep).await.expect("removed");
    assert!(lives(kept) && !lives(ended));
    assert!(world.directory("known").exists() && !world.directory("unknown").exists());
    known.remove().await.expect("removed");
}

#[tokio::test]
async fn a_second_shim_does_not_start_the_task_again() {
    let world = World::new();
    let starts = world.file("starts");
    let script = format!("echo started >> {}; sleep 1000", starts.display());
    let task = world.run("a", &script).await;
    let processes = world.processes("a");
    let program = super::config(world.folder.path()).program;
    let directory = world.directory("a");
    let trouble = directory.open_trouble().expect("opened");
    let second = shim::spawn(&program, &directory, &trouble).expect("it can be run");
    let second = Pid::from_raw(second);
    assert_eq!(waitpid(second, None), Ok(WaitStatus::Exited(second, 0)));
    assert_eq!(world.processes("a"), processes);
    eventually("it starts", || starts.exists()).await;
    task.remove().await.expect("removed");
    assert_eq!(fs::read_to_string(&starts).expect("written"), "started\n");
}

#[tokio::test]
async fn a_shim_obeys_nobody_elses_signals() {
    let world = World::new();
    let task = world.run("a", "sleep 1000").await;
    let (shim, main) = world.processes("a");
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        send(shim, signal);
    }
    send(main, Signal::SIGTERM);
    assert_eq!(end(&task).await, exit(143), "the shim has seen the task's end");
}

#[tokio::test]
async fn a_task_killed_before_its_shim_has_failed_and_is_gone() {
    let world = World::new();
    drop(world.run("a", "sleep 1000").await);
    let (shim, main) = world.processes("a");
    // A stopped shim cannot write the code down between the two.
    send(shim, Signal::SIGSTOP);
    send(main, Signal::SIGKILL);
    send(shim, Signal::SIGKILL);
    eventually("both end", || !lives(shim) && !lives(main)).await;
    world.restart();
    let adopted = world.controller("a", "sleep 1000");
    assert_eq!(adopted.start().await, Err(ExecutorError::AlreadyStarted));
    let outcome = end(&adopted).await;
    let Err(ExecutorError::Failed(reason)) = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("its exit code is unknown"), "{reason}");
}

#[tokio::test]
async fn what_is_left_behind_an_exit_record_is_killed() {
    let world = World::new();
    let task = world.controller("a", "exit 3");
    task.prepare().await.expect("prepared");
    let mut left = Command::new("sleep")
        .arg("1000")
        .env(TASK_ID_VARIABLE, world.id("a"))
        .spawn()
        .expect("it can be run");
    // As a shim leaves it that was killed before it had swept.
    world
        .directory("a")
        .write(&Exit { outcome: Some(Outcome::Code(3)), out_of_memory: false })
        .expect("written");
    assert_eq!(end(&task).await, exit(3));
    assert!(!left.wait().expect("waited for").success());
}

#[tokio::test]
async fn a_damaged_exit_record_is_no_exit_code() {
    let world = World::new();
    let task = world.run("a", "exit 0").await;
    assert_eq!(end(&task).await, Ok(()));
    damage(&world, "exit");
    world.restart();
    let adopted = world.controller("a", "exit 0");
    let outcome = end(&adopted).await;
    let Err(ExecutorError::Failed(reason)) = outcome else { panic!("{outcome:?}") };
    assert!(reason.ends_with("is damaged: its checksum is wrong"), "{reason}");
    adopted.remove().await.expect("removed");
}

#[tokio::test]
async fn damage_to_a_record_keeps_no_task_from_being_stopped() {
    for record in ["instructions", "shim", "started"] {
        let world = World::new();
        drop(world.run("a", "sleep 1000").await);
        let (_, main) = world.processes("a");
        damage(&world, record);
        world.restart();
        let adopted = world.controller("a", "sleep 1000");
        adopted.remove().await.expect("removed");
        assert!(!lives(main), "{record}");
        assert!(!world.directory("a").exists(), "{record}");
    }
}

#[tokio::test]
async fn damage_to_a_record_ends_no_task() {
    for record in ["instructions", "shim", "started"] {
        let world = World::new();
        let go = world.file("go");
        let script = format!("while [ ! -e {} ]; do sleep 0.02; done; exit 4", go.display());
        drop(world.run("a", &script).await);
        damage(&world, record);
        world.restart();
        let adopted = world.controller("a", &script);
        assert_eq!(adopted.start().await, Err(ExecutorError::AlreadyStarted), "{record}");
        fs::write(&go, "").expect("written");
        assert_eq!(end(&adopted).await, exit(4), "{record}");
    }
}

#[tokio::test]
async fn a_task_of_which_too_little_is_known_is_ended_before_it_has_failed() {
    let world = World::new();
    let task = world.run("a", "sleep 1000").await;
    let (shim, main) = world.processes("a");
    send(shim, Signal::SIGKILL);
    eventually("both end", || !lives(shim) && !lives(main)).await;
    let mut left = Command::new("sleep")
        .arg("1000")
        .env(TASK_ID_VARIABLE, world.id("a"))
        .spawn()
        .expect("it can be run");
    fs::write(world.directory("a").path().join("exit"), "nonsense").expect("written");
    let outcome = end(&task).await;
    assert!(matches!(outcome, Err(ExecutorError::Failed(_))), "{outcome:?}");
    assert!(!left.wait().expect("waited for").success());
}

#[tokio::test]
async fn what_the_machine_refuses_now_is_no_verdict_on_the_task() {
    let world = World::new();
    let task = world.run("a", "sleep 1000").await;
    let directory = world.directory("a").path().to_owned();
    // A record that cannot be read, for another reason than what it says.
    for record in ["shim", "exit"] {
        let (path, aside) = (directory.join(record), directory.join("aside"));
        if path.exists() {
            fs::rename(&path, &aside).expect("renamed");
        }
        fs::create_dir(&path).expect("made");
        world.restart();
        let adopted = world.controller("a", "sleep 1000");
        let outcome = adopted.start().await;
        assert!(
            matches!(
                outcome,
                Err(ExecutorError::Temporary(_)) | Err(ExecutorError::AlreadyStarted)
            ),
            "{outcome:?}"
        );
        fs::remove_dir(&path).expect("removed");
        if aside.exists() {
            fs::rename(&aside, &path).expect("renamed");
        }
        assert!(lives(world.processes("a").1));
        assert_eq!(adopted.start().await, Err(ExecutorError::AlreadyStarted));
    }
    task.remove().await.expect("removed");
}

#[tokio::test]
async fn what_an_earlier_daemon_has_started_is_adopted_though_this_one_would_not_start_it() {
    let world = World::new();
    drop(world.run("a", "sleep 1000").await);
    let (_, main) = world.processes("a");
    world.restart();
    let mut task = world.task("a", "sleep 1000");
    super::container(&mut task).tty = true;
    let adopted = world.executor().controller(&task).expect("it runs here");
    assert_eq!(adopted.start().await, Err(ExecutorError::AlreadyStarted));
    assert!(lives(main));
    adopted.remove().await.expect("removed");
    assert!(!lives(main));
    assert!(world.executor().controller(&task).is_err(), "nothing is left to adopt");
}

/// Runs and removes a task with a control group that cannot be removed, and returns its folder.
async fn with_stubborn_group(world: &World) -> tempfile::TempDir {
    let group = tempfile::tempdir().expect("a temporary directory");
    let task = world.controller("a", "exit 0");
    task.prepare().await.expect("prepared");
    let directory = world.directory("a");
    let mut instructions = directory.read::<Instructions>().expect("readable").expect("prepared");
    let folder = group.path().to_str().expect("a path").to_owned();
    instructions.control_groups = vec![ControlGroup { directory: folder, settings: Vec::new() }];
    directory.write(&instructions).expect("written");
    task.start().await.expect("started");
    assert_eq!(end(&task).await, Ok(()));
    // It is no real group: the list of its processes is an ordinary file, and in the way.
    fs::write(group.path().join("cgroup.procs"), "").expect("written");
    task.remove().await.expect("removed");
    assert!(group.path().exists() && !directory.output().exists(), "only the group is left");
    fs::remove_file(group.path().join("cgroup.procs")).expect("removed");
    group
}

#[tokio::test]
async fn a_group_that_is_left_is_removed_with_the_next_task() {
    let world = World::new();
    let group = with_stubborn_group(&world).await;
    world.run("b", "exit 0").await.remove().await.expect("removed");
    let is_gone = || !group.path().exists() && !world.directory("a").exists();
    eventually("what was left is removed", is_gone).await;
}

#[tokio::test]
async fn a_task_that_did_not_start_is_swept_by_its_shim() {
    let world = World::new();
    let mut task = world.task("a", "");
    super::container(&mut task).command = vec!["/nope".to_owned()];
    let controller = world.executor().controller(&task).expect("it can run here");
    controller.prepare().await.expect("prepared");
    let directory = world.directory("a");
    let program = super::config(world.folder.path()).program;
    let trouble = directory.open_trouble().expect("opened");
    let shim = Pid::from_raw(shim::spawn(&program, &directory, &trouble).expect("it can be run"));
    assert_eq!(waitpid(shim, None), Ok(WaitStatus::Exited(shim, 0)));
    let exit = directory.read::<Exit>().expect("readable").expect("it did not start");
    assert!(matches!(exit.outcome, Some(Outcome::NotStarted(_))), "{exit:?}");
    assert!(directory.is_swept());
    let groups = directory.read::<Instructions>().expect("readable").expect("prepared");
    let mut groups = groups.control_groups.iter();
    assert!(groups.all(|group| !Path::new(&group.directory).exists()));
}

#[tokio::test]
async fn a_group_that_is_left_is_removed_by_the_next_daemon() {
    let world = World::new();
    let group = with_stubborn_group(&world).await;
    world.restart();
    world.executor().retain(BTreeSet::new()).await.expect("removed");
    assert!(!group.path().exists() && !world.directory("a").exists());
}
