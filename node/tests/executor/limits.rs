//! Limits that the system holds a task to. Where it offers no control groups the tests that need
//! them say that they were not run.

use std::{fs, path::Path};

use actors::agent::port::Executor;
use nix::unistd::geteuid;
use node::shim::{ControlGroup, Instructions};
use protocol::wire::{self, container_spec::Ulimit};

use super::{World, container, end, eventually, exit, lives};

const MIB: i64 = 1 << 20;

/// What the node says about its control groups.
async fn label(world: &World) -> String {
    let node = world.executor().describe().await.expect("described");
    node.engine.expect("it runs tasks").labels["swarm.cgroups"].clone()
}

/// Whether this controller's limits hold here; says so where they do not.
pub(crate) async fn has(world: &World, controller: &str) -> bool {
    let label = label(world).await;
    let (version, missing) = label.split_once(" without ").unwrap_or((&label, ""));
    let has = !version.starts_with("none") && !missing.split(", ").any(|name| name == controller);
    if !has {
        eprintln!("not run: {controller} cannot be limited here (control groups: {label})");
    }
    has
}

fn limits(memory_bytes: i64, nano_cpus: i64) -> wire::ResourceRequirements {
    let limits = Some(wire::Resources { memory_bytes, nano_cpus, ..Default::default() });
    wire::ResourceRequirements { limits, ..Default::default() }
}

pub(crate) fn groups(world: &World, name: &str) -> Vec<ControlGroup> {
    let instructions = world.directory(name).read::<Instructions>().expect("readable");
    instructions.expect("prepared").control_groups
}

fn read(group: &ControlGroup, file: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new(&group.directory).join(file)).ok()?;
    Some(text.trim().to_owned())
}

/// Whether a plain look at the machine finds a hierarchy that we may make groups in.
fn memory_is_offered() -> bool {
    let mounts = fs::read_to_string("/proc/mounts").expect("readable");
    let offers = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (Some(top), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next())
        else {
            return false;
        };
        let listed = |file| {
            let text = fs::read_to_string(Path::new(top).join(file)).unwrap_or_default();
            text.split_whitespace().any(|word| word == "memory")
        };
        let here = match kind {
            "cgroup" => options.split(',').any(|option| option == "memory"),
            "cgroup2" => listed("cgroup.controllers") && listed("cgroup.subtree_control"),
            _ => false,
        };
        let probe = Path::new(top).join(format!("swarm-probe-{}", std::process::id()));
        here && fs::create_dir(&probe).is_ok() && fs::remove_dir(&probe).is_ok()
    };
    geteuid().is_root() && mounts.lines().any(offers)
}

#[tokio::test]
async fn a_machine_that_offers_control_groups_is_used() {
    let world = World::new();
    let label = label(&world).await;
    if memory_is_offered() {
        let missing = label.split_once(" without ").map_or("", |(_, missing)| missing);
        assert!(!label.starts_with("none") && !missing.contains("memory"), "{label}");
    } else {
        eprintln!("not run: this machine offers no control groups ({label})");
    }
}

#[tokio::test]
async fn a_task_is_in_a_group_with_its_limits_until_it_is_gone() {
    let world = World::new();
    let mut task = world.task("a", "sleep 1000 & wait");
    task.spec.as_mut().expect("a spec").resources = Some(limits(64 * MIB, 500_000_000));
    container(&mut task).pids_limit = 20;
    let controller = world.start(&task).await;
    let (_, main) = world.processes("a");
    let groups = groups(&world, "a");
    for group in &groups {
        let joined = read(group, "cgroup.procs").expect("it is there");
        assert!(joined.lines().any(|pid| pid == main.to_string()), "{group:?}: {joined}");
        for setting in group.settings.iter().filter(|setting| !setting.optional) {
            assert_eq!(read(group, &setting.file).as_deref(), Some(setting.value.as_str()));
        }
    }
    for controller in ["memory", "cpu", "pids"] {
        if has(&world, controller).await {
            let has_limit = |group: &ControlGroup| {
                group.settings.iter().any(|setting| setting.file.starts_with(controller))
            };
            assert!(groups.iter().any(has_limit), "{controller}");
        }
    }
    controller.remove().await.expect("removed");
    for group in groups {
        assert!(!Path::new(&group.directory).exists(), "{group:?}");
    }
}

#[tokio::test]
async fn a_task_that_uses_too_much_memory_is_killed() {
    let world = World::new();
    if !has(&world, "memory").await {
        return;
    }
    // A line without an end is kept in memory.
    let mut task = world.task("a", "exec tail /dev/zero");
    let resources = wire::ResourceRequirements { swap_bytes: Some(0), ..limits(16 * MIB, 0) };
    task.spec.as_mut().expect("a spec").resources = Some(resources);
    let controller = world.start(&task).await;
    assert_eq!(end(&controller).await, exit(137));
    let record = world.directory("a").read::<node::shim::Exit>().expect("readable");
    assert!(record.expect("it ended").out_of_memory);
}

#[tokio::test]
async fn what_a_killed_shim_leaves_in_a_group_is_killed() {
    let world = World::new();
    if !has(&world, "pids").await {
        return;
    }
    let pids = world.file("pids");
    // Neither its session nor its environment leads to this child.
    let script = format!(
        "env -i setsid sh -c 'echo $$ > {0}.next; mv {0}.next {0}; exec sleep 1000' & wait",
        pids.display()
    );
    let task = world.run("a", &script).await;
    eventually("the child starts", || pids.exists()).await;
    let child: i32 = fs::read_to_string(&pids).expect("written").trim().parse().expect("a number");
    super::send(world.processes("a").0, nix::sys::signal::Signal::SIGKILL);
    task.remove().await.expect("removed");
    eventually("the child ends", || !lives(child)).await;
}

#[tokio::test]
async fn ulimits_reach_the_task() {
    let world = World::new();
    let seen = world.file("seen");
    let script = format!("(ulimit -Sn; ulimit -Hn; ulimit -c) > {}", seen.display());
    let mut task = world.task("a", &script);
    let limit = |name: &str, soft, hard| Ulimit { name: name.to_owned(), soft, hard };
    container(&mut task).ulimits = vec![limit("nofile", 40, 50), limit("core", 0, 0)];
    let controller = world.start(&task).await;
    assert_eq!(end(&controller).await, Ok(()));
    assert_eq!(fs::read_to_string(&seen).expect("written"), "40\n50\n0\n");
}

#[tokio::test]
async fn a_ulimit_that_leaves_no_room_for_the_program_is_named() {
    let world = World::new();
    let small = vec![String::new()];
    // So large that the memory for it has to be asked of the system.
    let large: Vec<_> =
        (0..10).map(|number| format!("A{number}={}", "x".repeat(100_000))).collect();
    for (name, value, env) in [
        ("as", 1, &small),
        ("as", 1, &large),
        ("as", 100_000, &small),
        ("data", 1, &small),
        ("data", 1, &large),
        ("nofile", 0, &small),
        ("nofile", 3, &small),
    ] {
        let id = format!("{name}{value}-{}", env.len());
        let mut task = world.task(&id, "exit 0");
        container(&mut task).env = env.clone();
        let limit = Ulimit { name: name.to_owned(), soft: value, hard: value };
        container(&mut task).ulimits = vec![limit];
        let controller = world.executor().controller(&task).expect("it can run here");
        controller.prepare().await.expect("prepared");
        let mut outcome = controller.start().await;
        if outcome.is_ok() {
            outcome = end(&controller).await;
        }
        let error = outcome.expect_err("it cannot be loaded").to_string();
        assert!(error.contains(&format!("ulimit {name} {value} ")), "{id}: {error}");
    }
}
