//! What a task's spec means as a process (executor.md §2), decided without looking at the
//! machine.

use protocol::{
    image::is_host,
    template::{Context, InvalidSpec, expand_container},
    wire,
};
use wire::task_spec::Runtime;

use super::{
    Config, environment::environment, hierarchies::Hierarchies, limits::Limits, stop_signal,
};
use crate::shim::{HealthCheck, Instructions, Ulimit};

/// How long a task may take to stop when its spec does not say, in milliseconds
/// (orchestration.md §2).
pub(super) const GRACE_PERIOD_MS: u64 = 10_000;

/// How long a file's name may be, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// How health is looked at where the spec does not say (as engines do).
const HEALTH_INTERVAL_MS: u64 = 30_000;
const HEALTH_TIMEOUT_MS: u64 = 30_000;
const HEALTH_START_INTERVAL_MS: u64 = 5_000;
const HEALTH_RETRIES: u32 = 3;

/// What runs a check that is a line for a shell.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Why a task can never run here.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Refused {
    #[error("exec: unsupported runtime")]
    Runtime,
    #[error("task id {0:?} cannot be the name of a directory")]
    TaskId(String),
    #[error(
        "no node can run image {0}: the process executor runs commands of the host, \
         which is image host"
    )]
    Image(String),
    #[error("image host has no command of its own: the service needs one")]
    NoCommand,
    #[error("unknown stop signal {0}")]
    StopSignal(String),
    #[error("the process executor cannot give a task {0}")]
    Unsupported(&'static str),
    #[error("a health check cannot be {0:?}: it is CMD or CMD-SHELL and what to run, or NONE")]
    HealthTest(Vec<String>),
    #[error("unknown ulimit {0}")]
    Ulimit(String),
    #[error("ulimit {0} must not be above its hard limit, and neither below -1")]
    UlimitValues(String),
    #[error(transparent)]
    Template(#[from] InvalidSpec),
    #[error("the process executor cannot give a task network {0}")]
    Network(String),
}

/// Returns how to run a task on the node that is described.
pub(super) fn instructions(
    task: &wire::Task,
    node: &wire::NodeDescription,
    hierarchies: &Hierarchies,
    config: &Config,
) -> Result<Instructions, Refused> {
    let spec = task.spec.as_ref().ok_or(Refused::Runtime)?;
    let Some(Runtime::Container(container)) = &spec.runtime else { return Err(Refused::Runtime) };
    if !is_host(&container.image) {
        return Err(Refused::Image(container.image.clone()));
    }
    if let Some(part) = unsupported(container) {
        return Err(Refused::Unsupported(part));
    }
    if let Some(network) = foreign_network(task) {
        return Err(Refused::Network(network));
    }
    let container = expand_container(container, &Context::of_task(task, node))?;
    let mut words = container.command.iter().chain(&container.args).cloned();
    let program = words.next().filter(|program| !program.is_empty()).ok_or(Refused::NoCommand)?;
    Ok(Instructions {
        task_id: task.id.clone(),
        program,
        arguments: words.collect(),
        environment: environment(task, &container),
        directory: if container.dir.is_empty() { "/".into() } else { container.dir.clone() },
        user: container.user.clone(),
        groups: container.groups.clone(),
        stop_signal: stop_signal::number(&container.stop_signal)
            .ok_or_else(|| Refused::StopSignal(container.stop_signal.clone()))?,
        grace_period_ms: container.stop_grace_period.as_ref().map_or(GRACE_PERIOD_MS, milliseconds),
        output_file_bytes_max: config.output_file_bytes_max,
        output_files_max: config.output_files_max,
        control_groups: Limits::of(task).control_groups(&task.id, hierarchies),
        ulimits: ulimits(&container.ulimits, config)?,
        health_check: container.healthcheck.as_ref().map_or(Ok(None), health_check)?,
    })
}

/// The id comes from a manager and becomes part of a path.
pub(super) fn is_name(text: &str) -> bool {
    let unusual = |character: char| character == '/' || character.is_control();
    !matches!(text, "" | "." | "..") && text.len() <= NAME_BYTES_MAX && !text.contains(unusual)
}

/// What a task would miss without a word, if it were started. A field that is new must be looked
/// at here.
fn unsupported(container: &wire::ContainerSpec) -> Option<&'static str> {
    let wire::ContainerSpec {
        // These are carried out.
        image: _,
        command: _,
        args: _,
        env: _,
        dir: _,
        user: _,
        groups: _,
        stop_signal: _,
        stop_grace_period: _,
        healthcheck: _,
        hostname: _,
        pids_limit: _,
        ulimits: _,
        // These mean nothing to a process, or change nothing that it could depend on.
        labels: _,
        pull_options: _,
        open_stdin: _,
        init: _,
        oom_score_adj: _,
        // A task would be wrong, or have more rights than it should, without the rest.
        secrets,
        configs,
        mounts,
        tty,
        read_only,
        privileges,
        capability_add,
        capability_drop,
        sysctls,
        hosts,
        dns_config,
        isolation,
    } = container;
    let parts = [
        (!secrets.is_empty(), "secrets"),
        (!configs.is_empty(), "configs"),
        (!mounts.is_empty(), "mounts"),
        (*tty, "a terminal"),
        (*read_only, "a read-only file system"),
        (is_set(privileges.as_ref()), "privileges of its own"),
        (!capability_add.is_empty() || !capability_drop.is_empty(), "capabilities of its own"),
        (!sysctls.is_empty(), "sysctls"),
        (!hosts.is_empty(), "hosts"),
        (is_set(dns_config.as_ref()), "a resolver of its own"),
        (*isolation != 0, "an isolation"),
    ];
    parts.into_iter().find_map(|(wanted, part)| wanted.then_some(part))
}

/// Clients also send messages that say nothing.
fn is_set<M: Default + PartialEq>(message: Option<&M>) -> bool {
    message.is_some_and(|message| *message != M::default())
}

/// The first network of a task that a process is not in. On the ingress network it can do without
/// a place: it listens on the host itself.
fn foreign_network(task: &wire::Task) -> Option<String> {
    let mut networks = task.networks.iter().filter_map(|place| place.network.as_ref());
    let foreign = networks.find(|network| !network.is_ingress())?;
    let annotations = foreign.spec.as_ref().and_then(|spec| spec.annotations.as_ref());
    Some(annotations.map_or(&foreign.id, |annotations| &annotations.name).clone())
}

/// Nobody looks where there is no test.
fn health_check(health: &wire::HealthConfig) -> Result<Option<HealthCheck>, Refused> {
    let refused = || Err(Refused::HealthTest(health.test.clone()));
    let command = match health.test.split_first() {
        None => return Ok(None),
        Some((kind, words)) => match kind.as_str() {
            "NONE" => return Ok(None),
            "CMD" | "CMD-SHELL" if words.is_empty() => return refused(),
            "CMD" => words.to_vec(),
            "CMD-SHELL" => SHELL.map(str::to_owned).into_iter().chain([words.join(" ")]).collect(),
            _ => return refused(),
        },
    };
    let period = |period: &Option<prost_types::Duration>, usual| {
        Some(period.as_ref().map_or(0, milliseconds)).filter(|period| *period > 0).unwrap_or(usual)
    };
    Ok(Some(HealthCheck {
        command,
        interval_ms: period(&health.interval, HEALTH_INTERVAL_MS),
        timeout_ms: period(&health.timeout, HEALTH_TIMEOUT_MS),
        start_period_ms: period(&health.start_period, 0),
        start_interval_ms: period(&health.start_interval, HEALTH_START_INTERVAL_MS),
        retries: u32::try_from(health.retries).ok().filter(|n| *n > 0).unwrap_or(HEALTH_RETRIES),
    }))
}

fn ulimits(
    limits: &[wire::container_spec::Ulimit],
    config: &Config,
) -> Result<Vec<Ulimit>, Refused> {
    let mut found = limits.iter().map(ulimit).collect::<Result<Vec<_>, _>>()?;
    let usual = config.open_files.iter();
    found.extend(usual.filter(|usual| limits.iter().all(|set| set.name != usual.name)).cloned());
    Ok(found)
}

/// -1 is no limit.
fn ulimit(limit: &wire::container_spec::Ulimit) -> Result<Ulimit, Refused> {
    let name = limit.name.clone();
    if !Ulimit::is_known(&name) {
        return Err(Refused::Ulimit(name));
    }
    let value = |value: i64| match value {
        -1 => Some(Ulimit::INFINITE),
        value => u64::try_from(value).ok(),
    };
    match (value(limit.soft), value(limit.hard)) {
        (Some(soft), Some(hard)) if soft <= hard => Ok(Ulimit { name, soft, hard }),
        (Some(_) | None, Some(_) | None) => Err(Refused::UlimitValues(name)),
    }
}

/// Negative periods are none.
fn milliseconds(period: &prost_types::Duration) -> u64 {
    let nanos = i128::from(period.seconds) * 1_000_000_000 + i128::from(period.nanos);
    u64::try_from(nanos.max(0) / 1_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::environment::PATH, *};

    fn task(container: wire::ContainerSpec) -> wire::Task {
        let runtime = Some(Runtime::Container(container));
        let spec = Some(wire::TaskSpec { runtime, ..Default::default() });
        wire::Task { id: "task".into(), spec, ..Default::default() }
    }

    fn node() -> wire::NodeDescription {
        wire::NodeDescription { hostname: "host-1".into(), ..Default::default() }
    }

    fn texts(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn sleep() -> wire::ContainerSpec {
        wire::ContainerSpec { command: texts(&["sleep"]), ..Default::default() }
    }

    fn read(container: wire::ContainerSpec) -> Result<Instructions, Refused> {
        instructions(
            &task(container),
            &node(),
            &Hierarchies::default(),
            &Config::new("/nowhere".into()),
        )
    }

    #[test]
    fn command_and_args_become_one_line() {
        #[track_caller]
        fn check(command: &[&str], args: &[&str], expected: Option<(&str, &[&str])>) {
            let (command, args) = (texts(command), texts(args));
            let result = read(wire::ContainerSpec { command, args, ..Default::default() });
            match expected {
                None => assert_eq!(result, Err(Refused::NoCommand)),
                Some((program, arguments)) => {
                    let found = result.unwrap();
                    assert_eq!(
                        (found.program.as_str(), found.arguments),
                        (program, texts(arguments))
                    );
                }
            }
        }
        check(&["sleep"], &["5"], Some(("sleep", &["5"])));
        check(&["sh", "-c"], &["exit 3", "x"], Some(("sh", &["-c", "exit 3", "x"])));
        check(&["true"], &[], Some(("true", &[])));
        check(&[], &["sleep", "5"], Some(("sleep", &["5"])));
        check(&[], &[], None);
        check(&[""], &["sleep"], None);
    }

    #[test]
    fn defaults() {
        let found = read(sleep()).unwrap();
        assert_eq!(found.environment, [format!("PATH={PATH}"), "SWARM_TASK_ID=task".into()]);
        assert_eq!(found.directory, "/");
        assert_eq!((found.user.as_str(), found.groups.len()), ("", 0));
        assert_eq!(found.stop_signal, 15);
        assert_eq!(found.grace_period_ms, 10_000);
    }

    #[test]
    fn the_environment_is_the_tasks() {
        let env = texts(&["A=1", "PATH=/opt", "B", "=x", "C=", "SWARM_TASK_ID=other"]);
        let found = read(wire::ContainerSpec { env, ..sleep() }).unwrap().environment;
        // The last of equal names counts, so a task cannot carry another's id.
        let expected = ["A=1", "PATH=/opt", "C=", "SWARM_TASK_ID=other", "SWARM_TASK_ID=task"];
        assert_eq!(found, expected);
    }

    #[test]
    fn templates_are_filled_in() {
        let env = texts(&["A={{.Node.Hostname}}/{{.Task.ID}}"]);
        let hostname = "h-{{.Node.Hostname}}".to_owned();
        let found = read(wire::ContainerSpec { env, hostname, ..sleep() }).unwrap().environment;
        assert_eq!(found[0], "A=host-1/task");
        assert!(found.contains(&"HOSTNAME=h-host-1".to_owned()), "{found:?}");
        let env = texts(&["HOSTNAME=mine"]);
        let hostname = "other".to_owned();
        let found = read(wire::ContainerSpec { env, hostname, ..sleep() }).unwrap().environment;
        assert!(!found.contains(&"HOSTNAME=other".to_owned()), "{found:?}");
        let env = texts(&["A={{.Service.Labels.gone}}"]);
        let refused = read(wire::ContainerSpec { env, ..sleep() }).unwrap_err().to_string();
        assert!(refused.starts_with("expanding env failed: expanding env \"A={{"), "{refused}");
    }

    #[test]
    fn only_the_host_is_an_image() {
        for image in ["", "host", "host:latest"] {
            read(wire::ContainerSpec { image: image.into(), ..sleep() }).unwrap();
        }
        let refused = read(wire::ContainerSpec { image: "redis:3.0.5".into(), ..sleep() });
        let text = refused.unwrap_err().to_string();
        assert!(text.starts_with("no node can run image redis:3.0.5: "), "{text}");
    }

    #[test]
    fn what_would_be_missed_is_refused() {
        let nothing = wire::ContainerSpec {
            privileges: Some(wire::Privileges::default()),
            dns_config: Some(wire::container_spec::DnsConfig::default()),
            ..sleep()
        };
        read(nothing).expect("it asks for nothing");
        let no_new_privileges =
            Some(wire::Privileges { no_new_privileges: true, ..Default::default() });
        let nameservers = texts(&["10.0.0.1"]);
        let resolver = Some(wire::container_spec::DnsConfig { nameservers, ..Default::default() });
        let cases = [
            (wire::ContainerSpec { secrets: vec![Default::default()], ..sleep() }, "secrets"),
            (wire::ContainerSpec { configs: vec![Default::default()], ..sleep() }, "configs"),
            (wire::ContainerSpec { mounts: vec![Default::default()], ..sleep() }, "mounts"),
            (wire::ContainerSpec { tty: true, ..sleep() }, "a terminal"),
            (wire::ContainerSpec { read_only: true, ..sleep() }, "a read-only file system"),
            (
                wire::ContainerSpec { privileges: no_new_privileges, ..sleep() },
                "privileges of its own",
            ),
            (
                wire::ContainerSpec { capability_add: texts(&["CAP_SYS_ADMIN"]), ..sleep() },
                "capabilities of its own",
            ),
            (
                wire::ContainerSpec { capability_drop: texts(&["ALL"]), ..sleep() },
                "capabilities of its own",
            ),
            (
                wire::ContainerSpec { sysctls: [("a".into(), "b".into())].into(), ..sleep() },
                "sysctls",
            ),
            (wire::ContainerSpec { hosts: texts(&["10.0.0.1 a"]), ..sleep() }, "hosts"),
            (wire::ContainerSpec { dns_config: resolver, ..sleep() }, "a resolver of its own"),
            (wire::ContainerSpec { isolation: 1, ..sleep() }, "an isolation"),
        ];
        for (container, part) in cases {
            let text = read(container).unwrap_err().to_string();
            assert_eq!(text, format!("the process executor cannot give a task {part}"));
        }
    }

    #[test]
    fn networks_are_refused_by_name_but_for_ingress() {
        let network = |name: &str, ingress| {
            let annotations = Some(wire::Annotations { name: name.into(), ..Default::default() });
            let spec = wire::NetworkSpec { annotations, ingress, ..Default::default() };
            let network = wire::Network { spec: Some(spec), ..Default::default() };
            wire::NetworkAttachment { network: Some(network), ..Default::default() }
        };
        let config = Config::new("/nowhere".into());
        let mut task = task(sleep());
        task.networks = vec![network("ingress", true)];
        instructions(&task, &node(), &Hierarchies::default(), &config).unwrap();
        task.networks.push(network("backend", false));
        let text =
            instructions(&task, &node(), &Hierarchies::default(), &config).unwrap_err().to_string();
        assert_eq!(text, "the process executor cannot give a task network backend");
    }

    #[test]
    fn other_runtimes_are_refused() {
        let mut task = task(sleep());
        task.spec.as_mut().unwrap().runtime = Some(Runtime::Attachment(Default::default()));
        let config = Config::new("/nowhere".into());
        assert_eq!(
            instructions(&task, &node(), &Hierarchies::default(), &config),
            Err(Refused::Runtime)
        );
        task.spec = None;
        assert_eq!(
            instructions(&task, &node(), &Hierarchies::default(), &config),
            Err(Refused::Runtime)
        );
    }

    #[test]
    fn no_id_leads_out_of_the_folder() {
        for id in ["", ".", "..", "../x", "a/b", "/etc", "a\0b", "a\nb", &"x".repeat(256)] {
            assert!(!is_name(id), "{id}");
        }
        for id in ["kagvzrgd2ghs8fcw7j0mpvrxl", "a.b", "FIPS.x", &"x".repeat(255)] {
            assert!(is_name(id), "{id}");
        }
    }

    #[test]
    fn health_checks_and_their_defaults() {
        let health = |test: &[&str]| wire::HealthConfig { test: texts(test), ..Default::default() };
        let read = |health| {
            let healthcheck = Some(health);
            read(wire::ContainerSpec { healthcheck, ..sleep() }).map(|found| found.health_check)
        };
        let usual = |command: &[&str]| HealthCheck {
            command: texts(command),
            interval_ms: 30_000,
            timeout_ms: 30_000,
            start_period_ms: 0,
            start_interval_ms: 5_000,
            retries: 3,
        };
        assert_eq!(read(health(&[])), Ok(None));
        assert_eq!(read(health(&["NONE"])), Ok(None));
        assert_eq!(read(health(&["CMD", "a", "b c"])), Ok(Some(usual(&["a", "b c"]))));
        let shell = usual(&["/bin/sh", "-c", "a b"]);
        assert_eq!(read(health(&["CMD-SHELL", "a", "b"])), Ok(Some(shell)));
        for wrong in [&["CMD"][..], &["CMD-SHELL"], &["true"]] {
            assert_eq!(read(health(wrong)), Err(Refused::HealthTest(texts(wrong))));
        }
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let set = wire::HealthConfig {
            interval: seconds(1),
            timeout: seconds(2),
            start_period: seconds(3),
            start_interval: seconds(4),
            retries: 5,
            ..health(&["CMD", "a"])
        };
        let expected = HealthCheck {
            interval_ms: 1_000,
            timeout_ms: 2_000,
            start_period_ms: 3_000,
            start_interval_ms: 4_000,
            retries: 5,
            ..usual(&["a"])
        };
        assert_eq!(read(set), Ok(Some(expected)));
    }

    #[test]
    fn ulimits_by_name() {
        #[track_caller]
        fn check(name: &str, soft: i64, hard: i64, expected: Result<(u64, u64), Refused>) {
            let limit = wire::container_spec::Ulimit { name: name.into(), soft, hard };
            let found = read(wire::ContainerSpec { ulimits: vec![limit], ..sleep() });
            let expected = expected.map(|(soft, hard)| Ulimit { name: name.into(), soft, hard });
            assert_eq!(found.map(|found| found.ulimits), expected.map(|limit| vec![limit]));
        }
        check("nofile", 100, 200, Ok((100, 200)));
        check("core", 0, -1, Ok((0, u64::MAX)));
        check("stack", -1, -1, Ok((u64::MAX, u64::MAX)));
        let wrong = || Err(Refused::UlimitValues("nproc".into()));
        check("nproc", 2, 1, wrong());
        check("nproc", -1, 1, wrong());
        check("nproc", -2, -1, wrong());
        check("files", 1, 1, Err(Refused::Ulimit("files".into())));
    }

    #[test]
    fn a_task_may_open_as_many_files_as_without_the_daemon() {
        let usual = Ulimit { name: "nofile".into(), soft: 1024, hard: 4096 };
        let open_files = Some(usual.clone());
        let config = Config { open_files, ..Config::new("/nowhere".into()) };
        let read = |ulimits| {
            let task = task(wire::ContainerSpec { ulimits, ..sleep() });
            instructions(&task, &node(), &Hierarchies::default(), &config).unwrap().ulimits
        };
        assert_eq!(read(Vec::new()), [usual]);
        let own = wire::container_spec::Ulimit { name: "nofile".into(), soft: 7, hard: 8 };
        assert_eq!(read(vec![own]), [Ulimit { name: "nofile".into(), soft: 7, hard: 8 }]);
    }

    #[test]
    fn a_stop_signal_that_is_none_is_refused() {
        let read = |text: &str| read(wire::ContainerSpec { stop_signal: text.into(), ..sleep() });
        assert_eq!(read("INT").unwrap().stop_signal, 2);
        assert_eq!(read("SIGNOT"), Err(Refused::StopSignal("SIGNOT".into())));
    }

    #[test]
    fn grace_periods_in_milliseconds() {
        let cases = [
            (2, 700_000_000, 2_700),
            (0, 0, 0),
            (-5, 0, 0),
            (i64::MAX, 0, u64::MAX),
            (i64::MIN, -999_999_999, 0),
        ];
        for (seconds, nanos, expected) in cases {
            let period = prost_types::Duration { seconds, nanos };
            let container = wire::ContainerSpec { stop_grace_period: Some(period), ..sleep() };
            assert_eq!(read(container).unwrap().grace_period_ms, expected, "{seconds} {nanos}");
        }
    }

    proptest! {
        #[test]
        fn no_spec_panics(
            texts in any::<[String; 4]>(), numbers in any::<[i64; 3]>(), nanos: i32, retries: i32,
        ) {
            let [stop_signal, name, check, env] = texts;
            let [soft, hard, seconds] = numbers;
            let period = Some(prost_types::Duration { seconds, nanos });
            let container = wire::ContainerSpec {
                stop_signal: if nanos % 2 == 0 { String::new() } else { stop_signal },
                ulimits: vec![wire::container_spec::Ulimit { name, soft, hard }],
                env: vec![format!("A={{{{{env}}}}}")],
                stop_grace_period: period,
                healthcheck: Some(wire::HealthConfig {
                    test: vec!["CMD-SHELL".into(), check],
                    interval: period,
                    retries,
                    ..Default::default()
                }),
                ..sleep()
            };
            if let Err(refused) = read(container) {
                prop_assert!(!refused.to_string().is_empty());
            }
        }
    }
}
