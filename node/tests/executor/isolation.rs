//! What reaches a task, and what is kept of it.

use std::{fs, os::unix::fs::PermissionsExt};

use super::{World, container, end, eventually, is_root, lives};

#[tokio::test]
async fn output_is_kept_within_bounds() {
    let world = World::new();
    let task =
        world.run("a", "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done").await;
    assert_eq!(end(&task).await, Ok(()));
    let (shim, _) = world.processes("a");
    eventually("the shim ends", || !lives(shim)).await;
    let files: Vec<_> = fs::read_dir(world.directory("a").output())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").metadata().expect("a file").len())
        .collect();
    assert!((1..=3).contains(&files.len()), "{files:?}");
    assert!(files.iter().sum::<u64>() <= 3 * (4096 + 128), "{files:?}");
    let newest: Vec<u8> = fs::read_dir(world.directory("a").output())
        .expect("a folder")
        .flat_map(|entry| fs::read(entry.expect("an entry").path()).expect("readable"))
        .collect();
    let newest = String::from_utf8_lossy(&newest).into_owned();
    assert!(newest.contains("line 1999") && !newest.contains("line 0\n"), "the newest are kept");
}

#[tokio::test]
async fn neither_secrets_nor_descriptors_of_the_daemon_reach_a_task() {
    let world = World::new();
    let seen = world.file("seen");
    let script = format!("(env; ls /proc/self/fd) > {}", seen.display());
    let task = world.run("a", &script).await;
    assert_eq!(end(&task).await, Ok(()));
    let seen = fs::read_to_string(&seen).expect("written");
    assert!(seen.contains(&format!("SWARM_TASK_ID={}\n", world.id("a"))), "{seen}");
    assert!(!seen.contains("CARGO"), "{seen}");
    let command_line = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cmdline"));
    let long = world.run("b", "sleep 1000 # a secret").await;
    let shim = command_line(world.processes("b").0).expect("it runs");
    assert!(!shim.contains("secret"), "{shim}");
    long.remove().await.expect("removed");
}

#[tokio::test]
async fn a_task_has_the_rights_of_its_user() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let seen = world.file("seen");
    fs::write(&seen, "").expect("written");
    fs::set_permissions(&seen, fs::Permissions::from_mode(0o666)).expect("changed");
    fs::set_permissions(world.folder.path(), fs::Permissions::from_mode(0o755)).expect("changed");
    let script = format!("id -u > {0}; id -g >> {0}; id -G >> {0}", seen.display());
    let mut task = world.task("a", &script);
    container(&mut task).user = "4321:8765".to_owned();
    container(&mut task).groups = ["17", "18"].map(str::to_owned).to_vec();
    let task = world.start(&task).await;
    assert_eq!(end(&task).await, Ok(()));
    assert_eq!(fs::read_to_string(&seen).expect("written"), "4321\n8765\n8765 17 18\n");
}

#[tokio::test]
async fn nobody_else_reads_what_is_kept() {
    let world = World::new();
    let task = world.run("a", "echo a secret").await;
    assert_eq!(end(&task).await, Ok(()));
    let mode = fs::metadata(world.directory("a").path()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}
