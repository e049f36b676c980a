//! What a task's spec means as a process (executor.md §2), decided without looking at the
//! machine.

use nix::sys::signal::Signal;
use protocol::wire;
use wire::task_spec::Runtime;

use super::Config;
use crate::shim::{Instructions, TASK_ID_VARIABLE};

/// Where programs are looked for when the task's environment does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The image that means the host's own file system.
const HOST_IMAGE: &str = "host";

/// How long a task may take to stop when its spec does not say, in milliseconds
/// (orchestration.md §2).
pub(super) const GRACE_PERIOD_MS: u64 = 10_000;

/// How long a file's name may be, in bytes.
const NAME_BYTES_MAX: usize = 255;

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
}

/// Returns how to run a task.
pub(super) fn instructions(task: &wire::Task, config: &Config) -> Result<Instructions, Refused> {
    let spec = task.spec.as_ref().ok_or(Refused::Runtime)?;
    let Some(Runtime::Container(container)) = &spec.runtime else { return Err(Refused::Runtime) };
    if !is_name(&task.id) {
        return Err(Refused::TaskId(task.id.clone()));
    }
    if !matches!(container.image.as_str(), "" | HOST_IMAGE) {
        return Err(Refused::Image(container.image.clone()));
    }
    if let Some(part) = unsupported(container) {
        return Err(Refused::Unsupported(part));
    }
    let mut words = container.command.iter().chain(&container.args).cloned();
    let program = words.next().filter(|program| !program.is_empty()).ok_or(Refused::NoCommand)?;
    Ok(Instructions {
        task_id: task.id.clone(),
        program,
        arguments: words.collect(),
        environment: environment(&task.id, &container.env),
        directory: if container.dir.is_empty() { "/".into() } else { container.dir.clone() },
        user: container.user.clone(),
        groups: container.groups.clone(),
        stop_signal: stop_signal(&container.stop_signal)? as i32,
        grace_period_ms: container.stop_grace_period.as_ref().map_or(GRACE_PERIOD_MS, milliseconds),
        output_file_bytes_max: config.output_file_bytes_max,
        output_files_max: config.output_files_max,
    })
}

/// The id comes from a manager and becomes part of a path.
fn is_name(text: &str) -> bool {
    let unusual = |character: char| character == '/' || character.is_control();
    !matches!(text, "" | "." | "..") && text.len() <= NAME_BYTES_MAX && !text.contains(unusual)
}

/// What a task would miss without a word, if it were started.
fn unsupported(container: &wire::ContainerSpec) -> Option<&'static str> {
    let checked = container.healthcheck.as_ref().and_then(|check| check.test.first());
    let parts = [
        (!container.secrets.is_empty(), "secrets"),
        (!container.configs.is_empty(), "configs"),
        (!container.mounts.is_empty(), "mounts"),
        (container.tty, "a terminal"),
        (container.read_only, "a read-only file system"),
        (checked.is_some_and(|test| test != "NONE"), "a health check"),
    ];
    parts.into_iter().find_map(|(wanted, part)| wanted.then_some(part))
}

/// The task's own variables, the last of equal ones, without those that have no value; and
/// what every task has.
fn environment(task_id: &str, variables: &[String]) -> Vec<String> {
    let named = |entry: &&String| entry.split_once('=').is_some_and(|(key, _)| !key.is_empty());
    let mut environment: Vec<_> = variables.iter().filter(named).cloned().collect();
    if !environment.iter().any(|entry| entry.starts_with("PATH=")) {
        environment.push(format!("PATH={PATH}"));
    }
    environment.push(format!("{TASK_ID_VARIABLE}={task_id}"));
    environment
}

/// A signal by name, with or without `SIG`, or by number.
fn stop_signal(text: &str) -> Result<Signal, Refused> {
    if text.is_empty() {
        return Ok(Signal::SIGTERM);
    }
    let name = text.to_ascii_uppercase();
    let named = if name.starts_with("SIG") { name.parse() } else { format!("SIG{name}").parse() };
    let numbered = || text.parse().ok().and_then(|number: i32| Signal::try_from(number).ok());
    named.ok().or_else(numbered).ok_or_else(|| Refused::StopSignal(text.to_owned()))
}

/// Negative periods are none.
fn milliseconds(period: &prost_types::Duration) -> u64 {
    let nanos = i128::from(period.seconds) * 1_000_000_000 + i128::from(period.nanos);
    u64::try_from(nanos.max(0) / 1_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(container: wire::ContainerSpec) -> wire::Task {
        let runtime = Some(Runtime::Container(container));
        let spec = Some(wire::TaskSpec { runtime, ..Default::default() });
        wire::Task { id: "task".into(), spec, ..Default::default() }
    }

    fn texts(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn sleep() -> wire::ContainerSpec {
        wire::ContainerSpec { command: texts(&["sleep"]), ..Default::default() }
    }

    fn read(container: wire::ContainerSpec) -> Result<Instructions, Refused> {
        instructions(&task(container), &Config::new("/nowhere".into()))
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
    fn only_the_host_is_an_image() {
        for image in ["", "host"] {
            read(wire::ContainerSpec { image: image.into(), ..sleep() }).unwrap();
        }
        let refused = read(wire::ContainerSpec { image: "redis:3.0.5".into(), ..sleep() });
        let text = refused.unwrap_err().to_string();
        assert!(text.starts_with("no node can run image redis:3.0.5: "), "{text}");
    }

    #[test]
    fn what_would_be_missed_is_refused() {
        let check = |test: &[&str]| wire::HealthConfig { test: texts(test), ..Default::default() };
        let healthy = |test| wire::ContainerSpec { healthcheck: Some(check(test)), ..sleep() };
        read(healthy(&[])).unwrap();
        read(healthy(&["NONE"])).unwrap();
        let cases = [
            (healthy(&["CMD", "true"]), "a health check"),
            (wire::ContainerSpec { secrets: vec![Default::default()], ..sleep() }, "secrets"),
            (wire::ContainerSpec { configs: vec![Default::default()], ..sleep() }, "configs"),
            (wire::ContainerSpec { mounts: vec![Default::default()], ..sleep() }, "mounts"),
            (wire::ContainerSpec { tty: true, ..sleep() }, "a terminal"),
            (wire::ContainerSpec { read_only: true, ..sleep() }, "a read-only file system"),
        ];
        for (container, part) in cases {
            let text = read(container).unwrap_err().to_string();
            assert_eq!(text, format!("the process executor cannot give a task {part}"));
        }
    }

    #[test]
    fn other_runtimes_are_refused() {
        let mut task = task(sleep());
        task.spec.as_mut().unwrap().runtime = Some(Runtime::Attachment(Default::default()));
        let config = Config::new("/nowhere".into());
        assert_eq!(instructions(&task, &config), Err(Refused::Runtime));
        task.spec = None;
        assert_eq!(instructions(&task, &config), Err(Refused::Runtime));
    }

    #[test]
    fn no_id_leads_out_of_the_folder() {
        let config = Config::new("/nowhere".into());
        for id in ["", ".", "..", "../x", "a/b", "/etc", "a\0b", "a\nb", &"x".repeat(256)] {
            let task = wire::Task { id: id.into(), ..task(sleep()) };
            assert_eq!(instructions(&task, &config), Err(Refused::TaskId(id.into())));
        }
        for id in ["kagvzrgd2ghs8fcw7j0mpvrxl", "a.b", "FIPS.x", &"x".repeat(255)] {
            let task = wire::Task { id: id.into(), ..task(sleep()) };
            instructions(&task, &config).unwrap();
        }
    }

    #[test]
    fn stop_signals_by_name_and_number() {
        for text in ["SIGINT", "INT", "int", "sigint", "2"] {
            let container = wire::ContainerSpec { stop_signal: text.into(), ..sleep() };
            assert_eq!(read(container).unwrap().stop_signal, 2, "{text}");
        }
        for text in ["SIGNOT", "0", "-1", "99999999999"] {
            let container = wire::ContainerSpec { stop_signal: text.into(), ..sleep() };
            assert_eq!(read(container), Err(Refused::StopSignal(text.into())));
        }
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
}
