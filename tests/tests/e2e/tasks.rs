//! What a service asks for, as its task meets it.

use std::fs;

use crate::daemon::Daemon;

#[test]
fn a_task_gets_its_environment_and_its_limits() {
    let daemon = Daemon::start();
    daemon.swarmctl(
        "service create --name web --image host --command sleep --args 100501 \
         --env SLOT={{.Task.Slot}} --env NAME={{.Service.Name}} --hostname h-{{.Task.Slot}} \
         --memory-limit 64m --cpu-limit 0.5",
    );
    let pid = daemon.await_processes("100501", 1)[0];
    let environment = fs::read(format!("/proc/{pid}/environ")).expect("it runs");
    let environment = String::from_utf8_lossy(&environment);
    for expected in ["SLOT=1", "NAME=web", "HOSTNAME=h-1"] {
        assert!(environment.split('\0').any(|entry| entry == expected), "{environment:?}");
    }
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    // A machine that lets the daemon limit nothing is said to, in its log.
    if !daemon.log().contains("tasks cannot be limited") {
        let limited = |controller: &str| {
            let names = |line: &str| line.split(':').nth(1).unwrap_or_default().to_owned();
            groups.lines().filter(|line| line.contains("/swarm/task-")).any(|line| {
                let names = names(line);
                names.is_empty() || names.split(',').any(|name| name == controller)
            })
        };
        assert!(limited("memory") && limited("cpu") && limited("pids"), "{groups}");
    }
    daemon.swarmctl("service remove web");
    daemon.await_processes("100501", 0);
}

#[test]
fn a_task_gets_what_its_machine_was_said_to_have() {
    let mut daemon = Daemon::idle();
    daemon.launch_with(&["--generic-node-resources", "gpu=one,gpu=two,fpga=1"]);
    daemon.swarmctl(
        "service create --name web --image host --command sleep --args 100502 --replicas 3 \
         --generic-resources gpu=1",
    );
    // There is none for the third.
    let pids = daemon.await_processes("100502", 2);
    let mut given: Vec<_> = pids
        .iter()
        .map(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).expect("it runs");
            let environment = String::from_utf8_lossy(&environment).into_owned();
            let of_gpu =
                environment.split('\0').find_map(|it| it.strip_prefix("DOCKER_RESOURCE_GPU="));
            of_gpu.map(str::to_owned)
        })
        .collect();
    given.sort();
    assert_eq!(given, ["one", "two"].map(|name| Some(name.to_owned())));
    daemon.swarmctl("service remove web");
    daemon.await_processes("100502", 0);
}

#[test]
fn a_template_that_means_nothing_is_refused() {
    let daemon = Daemon::start();
    let create = "service create --name web --image host --command true --env";
    let refused = daemon.refused(&format!("{create} A={{{{.Bad}}}}"));
    let expected = "expanding env failed: expanding env \"A={{.Bad}}\": template: expansion:1:2: \
                    executing \"expansion\" at <.Bad>: can't evaluate field Bad in type \
                    *template.Context";
    assert!(refused.ends_with(expected), "{refused}");
}
