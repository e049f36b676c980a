//! Everything that a person can get wrong: each mistake has one clear line, the exit code of a
//! failure, and changes nothing.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, process::Output};

use crate::daemon::{Daemon, eventually};

/// What is typed, and the line that answers it; a line that ends with `...` is the beginning.
type Row = (&'static str, &'static str);

const FLAGS: &[Row] = &[
    ("bogus", "unknown command \"bogus\" for \"swarmctl\""),
    ("serv", "unknown command \"serv\" for \"swarmctl\""),
    ("service ls --x", "unknown flag: --x"),
    ("service ls -z", "unknown shorthand flag: 'z' in -z"),
    ("service create --name", "flag needs an argument: --name"),
    ("service ls -s", "flag needs an argument: --socket"),
    ("service ls more", "ls command takes no arguments"),
    ("node ls more", "ls command takes no arguments"),
    ("task ls more", "ls command takes no arguments"),
    ("cluster ls more", "ls command takes no arguments"),
    ("version more", "version command takes no arguments"),
    ("service create more", "create command takes no arguments"),
    ("service create", "--name and --image are mandatory"),
    ("service create --name a", "--name and --image are mandatory"),
    ("service create --image host", "--name and --image are mandatory"),
    ("service inspect", "service ID missing"),
    ("service explain", "service ID missing"),
    ("service update", "service ID missing"),
    ("service remove", "service ID missing"),
    ("service logs", "missing service IDs"),
    ("service inspect a b", "inspect command takes exactly 1 argument"),
    ("task inspect", "task ID missing"),
    ("task remove", "task ID missing"),
    ("task rm a b", "remove command takes exactly 1 argument"),
    ("node inspect", "node ID missing"),
    ("node update", "node ID missing"),
    ("node drain", "missing node ID"),
    ("node promote", "missing node ID"),
    ("node rm a b", "remove command takes exactly 1 argument"),
    ("cluster inspect", "cluster name missing"),
    ("cluster update", "cluster name missing"),
    ("cluster unlock-key", "cluster name missing"),
    ("completion", "completion command takes exactly 1 argument"),
    ("completion tcsh", "invalid argument \"tcsh\": must be one of bash, fish, zsh"),
    ("man", "man command takes exactly 1 argument"),
    ("man /nonexistent", "writing manual pages to /nonexistent: ..."),
    (
        "service ls --format yaml",
        "invalid argument \"yaml\" for \"--format\" flag: must be one of table, json",
    ),
    (
        "service ls --filter name",
        "invalid argument \"name\" for \"--filter\" flag: a filter has the form key=value",
    ),
    ("service ls --filter x=y", "unknown filter \"x\": must be one of id, label, name, runtime"),
    ("cluster ls --filter role=x", "unknown filter \"role\": must be one of id, label, name"),
    (
        "node ls --filter role=boss",
        "invalid value \"boss\" for filter role: must be manager or worker",
    ),
    (
        "node ls --filter membership=x",
        "invalid value \"x\" for filter membership: must be accepted or pending",
    ),
    (
        "task ls --filter desired-state=x",
        "invalid value \"x\" for filter desired-state: must be a state of tasks, such as running \
         or shutdown",
    ),
    ("task ls --filter up-to-date=x", "invalid value \"x\" for filter up-to-date: must be true"),
    ("task ls --filter service=nobody", "service nobody not found"),
];

/// Flags of an update of the service `web`.
const UPDATES: &[Row] = &[
    ("--replicas x", "invalid argument \"x\" for \"--replicas\" flag: it is not a whole number"),
    (
        "--replicas=-1",
        "invalid argument \"-1\" for \"--replicas\" flag: the number must not be negative",
    ),
    (
        "--replicas 99999999999999999999",
        "invalid argument \"99999999999999999999\" for \"--replicas\" flag: the number is too large",
    ),
    ("--replicas 9223372036854775808", "Number of replicas must be non-negative"),
    ("--label x", "malformed label: x"),
    ("--memory-limit abc", "invalid size: 'abc'"),
    ("--memory-reservation 1m", "invalid memory value 1048576: Must be at least 4MiB"),
    ("--cpu-limit 1/0", "invalid cpu: 1/0"),
    ("--cpu-limit 1/3", "CPU value cannot have more than 9 decimal places: 1/3"),
    ("--cpu-reservation 0.0001", "invalid cpu value 0.0001: Must be at least 0.001"),
    ("--generic-resources gpu=a", "invalid argument for resource gpu"),
    (
        "--generic-resources gpu=-1",
        "could not parse GenericResource: cannot ask for negative resource gpu",
    ),
    ("--ulimit nofile", "invalid ulimit argument: nofile"),
    ("--ulimit files=1", "invalid ulimit type: files"),
    ("--ulimit cpu=2:1", "ulimit soft limit must be less than or equal to hard limit: 2 > 1"),
    ("--ports http", "insufficient parameters in port configuration"),
    ("--ports a:x", "failed to parse port: x is no port from 0 to 65535"),
    ("--ports a:1:99999", "failed to parse node port: 99999 is no port from 0 to 65535"),
    ("--ports a:80:81/udp", "protocol mismatch"),
    ("--ports a:1:80,b:2:80", "EndpointSpec: duplicate published ports provided"),
    ("--bind /a", "bind format \"/a\" not supported"),
    ("--volume /a:/b", "volume format \"/a:/b\" not supported"),
    ("--volume /a,/a", "ContainerSpec: duplicate mount point: /a"),
    ("--npipe a", "npipe format \"a\" not supported"),
    ("--tmpfs a", "invalid mount spec: a"),
    ("--tmpfs /a:suid", "unsupported flag suid"),
    ("--tmpfs /a:size=x", "invalid size format: x"),
    ("--update-delay soon", "time: invalid duration \"soon\""),
    ("--update-delay -1s", "TaskSpec: update-delay cannot be negative"),
    ("--update-on-failure x", "--update-on-failure value must be pause or continue"),
    ("--update-order x", "--update-order value must be stop-first or start-first"),
    ("--rollback-on-failure rollback", "--rollback-on-failure value must be pause or continue"),
    ("--rollback-order x", "--rollback-order value must be stop-first or start-first"),
    ("--restart-condition x", "invalid restart condition: x"),
    ("--restart-delay -1s", "TaskSpec: restart-delay cannot be negative"),
    ("--restart-window -1s", "TaskSpec: restart-window cannot be negative"),
    ("--constraint x", "constraint expected one operator from ==, !="),
    ("--constraint 1==1", "key '1' is invalid"),
    ("--constraint node.id==", "value '' is invalid"),
    ("--image Red", "ContainerSpec: \"Red\" is not a valid repository/tag"),
    ("--env A={{", "..."),
    ("--hostname {{.Nothing}}", "..."),
    ("--name other", "renaming services is not supported"),
    ("--name -x", "name must be valid as a DNS name component"),
    ("--network nobody", "networks are not offered by this version of swarmd"),
    ("--add-secret nobody", "secrets are not offered by this version of swarmd"),
    ("--add-secret :x", "invalid secret name provided"),
    ("--add-config a:", "invalid presentation name provided"),
    ("--replicas 0", "no changes detected"),
    (
        "--wait-timeout -1s",
        "invalid argument \"-1s\" for \"--wait-timeout\" flag: the time must not be negative",
    ),
    ("--dry-run --replicas 9223372036854775808", "Number of replicas must be non-negative"),
];

/// Names and ids that nothing has, and changes that the cluster cannot make.
const OBJECTS: &[Row] = &[
    ("service inspect nobody", "service nobody not found"),
    ("service explain nobody", "service nobody not found"),
    ("service update nobody --replicas 1", "service nobody not found"),
    ("service remove nobody", "service nobody not found"),
    ("service logs nobody", "service nobody not found"),
    (
        "service logs web",
        "failed to subscribe to logs: the logs of services are not offered by this version of \
         swarmd",
    ),
    ("task inspect nobody", "task nobody not found"),
    ("task explain nobody", "task nobody not found"),
    ("task remove nobody", "task nobody not found"),
    ("node inspect nobody", "node nobody not found"),
    ("node drain nobody", "node nobody not found"),
    ("node remove nobody", "node nobody not found"),
    ("cluster inspect nobody", "cluster nobody not found"),
    ("cluster update nobody --taskhistory 1", "cluster nobody not found"),
    ("node activate node-1", "Node node-1 is already active"),
    ("node promote node-1", "Node node-1 is already a manager"),
    ("node demote node-1", "attempting to demote the last manager of the swarm"),
    ("node update node-1", "No change for node node-1"),
    ("node update node-1 --label x", "malformed label for node x"),
    ("node remove node-1 --force", "node ..."),
    ("service create --name WEB --image host", "name conflicts with an existing object: ..."),
    ("service create --name a.b --image host", "name must be valid as a DNS name component"),
    (
        "service create --name a --image host --mode global --replicas 2",
        "--replicas can only be specified in --mode replicated",
    ),
    (
        "service create --name a --image host --mode global",
        "global services and jobs are not offered by this version of swarmd",
    ),
    (
        "service create --name a --image host --mode job",
        "invalid argument \"job\" for \"--mode\" flag: must be one of replicated, global",
    ),
];

/// Flags of an update of the cluster.
const CLUSTER: &[Row] = &[
    (
        "--certexpiry xyz",
        "invalid argument \"xyz\" for \"--certexpiry\" flag: time: invalid duration \"xyz\"",
    ),
    ("--certexpiry 29m59s", "minimum certificate expiry time is: 30m0s"),
    ("--heartbeatperiod -1s", "heartbeat time period cannot be a negative duration"),
    (
        "--taskhistory x",
        "invalid argument \"x\" for \"--taskhistory\" flag: it is not a whole number",
    ),
    ("--external-ca protocol=acme,url=x", "invalid argument \"protocol=acme,url=x\" for ..."),
    (
        "--external-ca url=x",
        "invalid argument \"url=x\" for \"--external-ca\" flag: the external-ca option needs a \
         protocol= parameter",
    ),
    (
        "--rotate-join-token both",
        "--rotate-join-token flag must be followed by 'worker' or 'manager'",
    ),
    ("--autolock", "this version cannot lock its managers"),
    ("--rotate-unlock-key", "this version cannot lock its managers"),
    (
        "--external-ca protocol=cfssl,url=https://x",
        "this version signs with its own root certificate, not through external CAs",
    ),
];

#[track_caller]
fn check(what: &str, output: &Output, expected: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(255), "swarmctl {what}: {said}");
    assert!(output.stdout.is_empty(), "{what}: an error prints nothing on standard output");
    let errors: Vec<_> = said.lines().filter(|line| line.starts_with("Error")).collect();
    assert_eq!(errors.len(), 1, "{what}: one error, one line: {said}");
    assert!(said.starts_with("Error: "), "{what}: the error comes first: {said}");
    let line = errors[0].strip_prefix("Error: ").unwrap_or_default();
    match expected.strip_suffix("...") {
        Some(beginning) => assert!(line.starts_with(beginning), "{what}: {line}"),
        None => assert_eq!(line, expected, "{what}"),
    }
    assert!(!said.contains("panicked"), "{what}: {said}");
}

/// Everything that a mistake could have changed, with its version.
fn everything(daemon: &Daemon) -> String {
    let kinds = ["cluster", "node", "service"];
    kinds.map(|kind| daemon.swarmctl(&format!("{kind} ls --format json"))).join("\n")
}

#[test]
fn every_mistake_has_one_clear_line_and_changes_nothing() {
    let daemon = Daemon::start();
    eventually("a node that is ready", || {
        let listing = daemon.swarmctl("node ls");
        if listing.contains("READY") { Ok(()) } else { Err(listing) }
    });
    daemon.swarmctl("service create --name web --image host --command true --replicas 0");
    let before = everything(&daemon);
    let row = |line: &str, expected: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        check(line, &daemon.run_words(&words), expected);
    };
    for (line, expected) in FLAGS.iter().chain(OBJECTS) {
        row(line, expected);
    }
    for (flags, expected) in UPDATES {
        row(&format!("service update web {flags}"), expected);
    }
    for (flags, expected) in CLUSTER {
        row(&format!("cluster update default {flags}"), expected);
    }
    assert_eq!(everything(&daemon), before, "nothing has changed");
    let rows = [FLAGS, UPDATES, OBJECTS, CLUSTER].map(<[Row]>::len).iter().sum::<usize>();
    assert!(rows >= 80, "{rows} rows");
}

#[test]
fn sockets_that_lead_nowhere() {
    let daemon = Daemon::start();
    let folder = daemon.state();
    let file = folder.with_extension("file");
    std::fs::write(&file, "no socket").unwrap();
    let long = format!("/tmp/{}", "x".repeat(200));
    let dialing = "connection error: desc = \"transport: Error while dialing: dial unix ...";
    for path in ["/nonexistent/sock", &folder.to_string_lossy(), &file.to_string_lossy(), &long] {
        check(path, &daemon.run_words(&["-s", path, "node", "ls"]), dialing);
    }
    let expected = "connection error: desc = \"transport: Error while dialing: dial unix \
                    /nonexistent/sock: connect: no such file or directory\"";
    check("", &daemon.run_words(&["-s", "/nonexistent/sock", "node", "ls"]), expected);
}

#[test]
fn arguments_that_are_no_text() {
    let daemon = Daemon::start();
    let garbage = OsString::from_vec(vec![0xff]);
    let inspect = ["service".into(), "inspect".into(), garbage.clone()];
    check("service inspect", &daemon.run_words(&inspect), "an argument is not valid UTF-8");
    let unknown = [OsString::from("-s"), garbage, "service".into(), "ls".into(), "--x".into()];
    check("-s", &daemon.run_words(&unknown), "unknown flag: --x");
}

#[test]
fn a_noun_without_a_verb_is_a_question_for_help() {
    let daemon = Daemon::idle();
    for line in ["", "service", "-n service", "service bogus", "--help", "node --help"] {
        let output = daemon.run_words(&line.split_whitespace().collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "swarmctl {line}");
        assert!(said.contains("Usage:") && output.stderr.is_empty(), "swarmctl {line}: {said}");
    }
}
