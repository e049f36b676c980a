//! Checks of a service spec that need no look at the cluster (validation.md §2 and §4), in the
//! order of the tables.

use prost_types::{Any, Duration};
use protocol::wire::{
    self, ContainerSpec, EndpointSpec, GenericRuntimeSpec, GlobalService, HealthConfig, Mount,
    NetworkAttachmentSpec, Placement, PortConfig, ReplicatedJob, ReplicatedService,
    ResourceRequirements, Resources, RestartPolicy, ServiceSpec, UpdateConfig,
    endpoint_spec::ResolutionMode, port_config::PublishMode, service_spec::Mode,
    task_spec::Runtime,
};

use super::{container, named, refusal, spec, task};
use crate::control::validate::{self, ValidService};

#[track_caller]
fn check(spec: impl Into<Option<ServiceSpec>>, expected: &str) {
    let verdict = match ValidService::try_from(spec.into()) {
        Ok(_) => "valid".to_owned(),
        Err(error) => refusal(&error),
    };
    assert_eq!(verdict, expected);
}

#[track_caller]
fn check_name(name: &str, expected: &str) {
    check(spec(|spec| spec.annotations = Some(named(name))), expected);
}

#[test]
fn names() {
    check(None, "IA: invalid argument");
    check(spec(|_| {}), "valid");
    check(spec(|spec| spec.annotations = None), "IA: meta: name must be provided");
    check_name("", "IA: meta: name must be provided");
    for name in ["a", "9", "a-b", "a_-_b", "A9"] {
        check_name(name, "valid");
    }
    for name in ["-a", "a-", "_a", "a b", "a.b", "é", "a/b", "a\n"] {
        check_name(name, "IA: name must be valid as a DNS name component");
    }
    check_name(&"a".repeat(63), "valid");
    check_name(&"a".repeat(64), "IA: name must be 63 characters or fewer");
    check_name(&"-".repeat(64), "IA: name must be valid as a DNS name component");
}

#[test]
fn updates_name_an_object_and_its_version() {
    let check = |id: &str, version: Option<u64>, expected: Option<u64>| {
        let version = version.map(|index| wire::Version { index });
        let incomplete = "IA: invalid argument".to_owned();
        let verdict = validate::version(id, version).map_err(|error| refusal(&error));
        assert_eq!(verdict, expected.ok_or(incomplete));
    };
    check("s1", Some(0), Some(0));
    check("s1", Some(7), Some(7));
    check("", Some(7), None);
    check("s1", None, None);
}

#[track_caller]
fn check_resources(nano_cpus: i64, memory_bytes: i64, expected: &str) {
    let resources = Resources { nano_cpus, memory_bytes, ..Resources::default() };
    let limits = ResourceRequirements { limits: Some(resources.clone()), ..Default::default() };
    check(task(|task| task.resources = Some(limits)), expected);
    let reserved = ResourceRequirements { reservations: Some(resources), ..Default::default() };
    check(task(|task| task.resources = Some(reserved)), expected);
}

#[test]
fn resources() {
    let cpu = |cpus: &str| format!("IA: invalid cpu value {cpus}: Must be at least 0.001");
    check_resources(0, 0, "valid");
    check_resources(1_000_000, 4 << 20, "valid");
    check_resources(999_999, 0, &cpu("0.000999999"));
    check_resources(100_000, 0, &cpu("0.0001"));
    check_resources(99_999, 0, &cpu("9.9999e-05"));
    check_resources(1, 0, &cpu("1e-09"));
    check_resources(-5, 0, &cpu("-5e-09"));
    check_resources(-2_000_000_000, 0, &cpu("-2"));
    check_resources(-2_500_000_000_000_000, 0, &cpu("-2.5e+06"));
    check_resources(0, 1_048_576, "IA: invalid memory value 1048576: Must be at least 4MiB");
    check_resources(0, -1, "IA: invalid memory value -1: Must be at least 4MiB");
    check_resources(1, 1, &cpu("1e-09"));
}

#[track_caller]
fn check_restart(delay: Option<Duration>, window: Option<Duration>, expected: &str) {
    let policy = RestartPolicy { delay, window, ..RestartPolicy::default() };
    check(task(|task| task.restart = Some(policy)), expected);
}

#[expect(clippy::unnecessary_wraps, reason = "the fields of messages are optional")]
fn duration(seconds: i64, nanos: i32) -> Option<Duration> {
    Some(Duration { seconds, nanos })
}

#[test]
fn restart_policies() {
    check_restart(None, None, "valid");
    check_restart(duration(0, 0), duration(5, 5), "valid");
    check_restart(duration(-1, 0), None, "IA: TaskSpec: restart-delay cannot be negative");
    check_restart(
        duration(0, -1),
        duration(-1, 0),
        "IA: TaskSpec: restart-delay cannot be negative",
    );
    check_restart(None, duration(0, -1), "IA: TaskSpec: restart-window cannot be negative");
    let out_of_range = "UK: TaskSpec: restart-delay is out of range";
    check_restart(duration(i64::MAX, 0), None, out_of_range);
    check_restart(duration(9_223_372_036, 999_999_999), None, out_of_range);
    check_restart(duration(1, -1), None, out_of_range);
    check_restart(duration(0, 1_000_000_000), None, out_of_range);
    check_restart(duration(0, i32::MIN), None, out_of_range);
}

#[test]
fn placement_constraints() {
    let check = |constraint: &str, expected: &str| {
        let constraints = vec!["node.role==worker".to_owned(), constraint.to_owned()];
        let placement = Placement { constraints, ..Placement::default() };
        check(task(|task| task.placement = Some(placement)), expected);
    };
    check("node.labels.disk != ssd", "valid");
    check("node.id", "UK: constraint expected one operator from ==, !=");
    check("1==1", "UK: key '1' is invalid");
    check("node.id==", "UK: value '' is invalid");
}

#[test]
fn runtimes() {
    check(spec(|spec| spec.task = None), "IA: TaskSpec: missing runtime");
    check(task(|task| task.runtime = None), "IA: TaskSpec: missing runtime");
    let attachment = Runtime::Attachment(NetworkAttachmentSpec::default());
    check(
        task(|task| task.runtime = Some(attachment)),
        "UI: RuntimeSpec: unimplemented runtime in service spec",
    );
    let generic = |kind: &str, payload: Option<(&str, &[u8])>, expected: &str| {
        let payload =
            payload.map(|(kind, value)| Any { type_url: kind.to_owned(), value: value.to_vec() });
        let generic = GenericRuntimeSpec { kind: kind.to_owned(), payload };
        check(task(|task| task.runtime = Some(Runtime::Generic(generic))), expected);
    };
    generic("abc", Some(("url", b"x")), "valid");
    generic("ab", None, "IA: Generic runtime: Invalid name \"ab\"");
    generic("Container", None, "IA: Generic runtime: \"Container\" is a reserved name");
    generic("attachment", None, "IA: Generic runtime: \"attachment\" is a reserved name");
    generic("abc", None, "IA: Generic runtime is missing payload");
    generic("abc", Some(("", b"x")), "IA: Generic runtime is missing payload type");
    generic("abc", Some(("url", b"")), "IA: Generic runtime has an empty payload");
}

#[test]
fn images_and_mounts() {
    let image = |image: &str, expected: &str| {
        check(container(|container| container.image = image.to_owned()), expected);
    };
    image("redis:3.0.5", "valid");
    image("", "IA: ContainerSpec: image reference must be provided");
    image("Red is", "IA: ContainerSpec: \"Red is\" is not a valid repository/tag");
    let mounts = |targets: [&str; 2], expected: &str| {
        let mount = |target: &str| Mount { target: target.to_owned(), ..Mount::default() };
        check(container(|container| container.mounts = targets.map(mount).to_vec()), expected);
    };
    mounts(["/a", "/b"], "valid");
    mounts(["/a", "/a"], "IA: ContainerSpec: duplicate mount point: /a");
}

#[test]
fn templates() {
    let check = |change: &dyn Fn(&mut ContainerSpec), expected: &str| {
        check(container(change), expected);
    };
    let env = |value: &str, expected: &str| {
        check(&|container| container.env = vec![format!("A={value}")], expected);
    };
    for valid in [
        "{{.Service.ID}}{{.Service.Name}}{{.Node.ID}}{{.Node.Hostname}}{{.Node.Platform.OS}}",
        "{{.Node.Platform.Architecture}}{{.Task.ID}}{{.Task.Name}}{{.Task.Slot}}",
        "{{index .Service.Labels \"x\"}}",
    ] {
        env(valid, "valid");
    }
    env(
        "{{.Bad}}",
        "IA: expanding env failed: expanding env \"A={{.Bad}}\": template: expansion:1:2: \
         executing \"expansion\" at <.Bad>: can't evaluate field Bad in type *template.Context",
    );
    env(
        "{{.Service.Labels.x}}",
        "IA: expanding env failed: expanding env \"A={{.Service.Labels.x}}\": \
         template: expansion:1:10: executing \"expansion\" at <.Service.Labels.x>: \
         map has no entry for key \"x\"",
    );
    env(
        "{{secret}}",
        "IA: expanding env failed: expanding env \"A={{secret}}\": \
         template: expansion:1: function \"secret\" not defined",
    );
    let bad = || "{{".to_owned();
    check(
        &|container| container.hostname = bad(),
        "IA: expanding hostname failed: template: expansion:1: unclosed action",
    );
    check(
        &|container| container.mounts = vec![Mount { target: bad(), ..Mount::default() }],
        "IA: expanding mounts failed: expanding mount target \"{{\": \
         template: expansion:1: unclosed action",
    );
    check(&|container| container.env = vec!["{{A}}=b".to_owned(), bad()], "valid");
    check(&|container| container.args = vec![bad()], "valid");
    // Targets are compared as tasks will get them.
    let targets = ["/1", "/{{.Task.Slot}}"];
    let mounts = targets.map(|target| Mount { target: target.to_owned(), ..Mount::default() });
    check(
        &|container| container.mounts = mounts.to_vec(),
        "IA: ContainerSpec: duplicate mount point: /1",
    );
}

#[test]
fn health_checks() {
    let check = |change: &dyn Fn(&mut HealthConfig), expected: &str| {
        let mut health = HealthConfig::default();
        change(&mut health);
        check(container(|container| container.healthcheck = Some(health)), expected);
    };
    let too_short =
        |field: &str| format!("IA: ContainerSpec: {field} in HealthConfig cannot be less than 1ms");
    check(&|_| {}, "valid");
    check(&|health| health.interval = duration(0, 0), "valid");
    check(&|health| health.interval = duration(0, 1_000_000), "valid");
    check(&|health| health.interval = duration(0, 999_999), &too_short("Interval"));
    check(&|health| health.timeout = duration(-1, 0), &too_short("Timeout"));
    check(&|health| health.start_period = duration(0, 1), &too_short("StartPeriod"));
    check(&|health| health.start_interval = duration(0, 1), &too_short("StartInterval"));
    check(
        &|health| health.timeout = duration(i64::MIN, 0),
        "UK: ContainerSpec: Timeout in HealthConfig is out of range",
    );
    check(
        &|health| health.retries = -1,
        "IA: ContainerSpec: Retries in HealthConfig cannot be negative",
    );
}

#[test]
fn modes() {
    let mode = |mode: Mode, expected: &str| check(spec(|spec| spec.mode = Some(mode)), expected);
    let job = |max_concurrent, total_completions| {
        Mode::ReplicatedJob(ReplicatedJob { max_concurrent, total_completions })
    };
    let beyond = 1 << 63;
    check(spec(|spec| spec.mode = None), "IA: Unrecognized service mode");
    mode(Mode::Global(GlobalService {}), "valid");
    mode(Mode::Replicated(ReplicatedService { replicas: beyond - 1 }), "valid");
    mode(
        Mode::Replicated(ReplicatedService { replicas: beyond }),
        "IA: Number of replicas must be non-negative",
    );
    mode(job(1, 1), "valid");
    mode(job(beyond, beyond), "IA: Maximum concurrent jobs must not be negative");
    mode(job(1, beyond), "IA: Total completed jobs must not be negative");
    check(
        spec(|spec| {
            spec.mode = Some(job(1, 1));
            spec.update = Some(UpdateConfig::default());
        }),
        "IA: Jobs may not have an update config",
    );
}

#[test]
fn update_configs() {
    let config = |change: &dyn Fn(&mut UpdateConfig)| {
        let mut config = UpdateConfig::default();
        change(&mut config);
        config
    };
    let check = |change: &dyn Fn(&mut UpdateConfig), expected: &str| {
        check(spec(|spec| spec.update = Some(config(change))), expected);
        // What a rollback does has never been checked.
        check(spec(|spec| spec.rollback = Some(config(change))), "valid");
    };
    let ratio = "IA: TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1";
    check(&|config| config.max_failure_ratio = 1.0, "valid");
    check(
        &|config| config.delay = duration(-1, 0),
        "IA: TaskSpec: update-delay cannot be negative",
    );
    check(
        &|config| config.monitor = duration(0, -1),
        "IA: TaskSpec: update-monitor cannot be negative",
    );
    check(&|config| config.max_failure_ratio = -0.1, ratio);
    check(&|config| config.max_failure_ratio = 1.1, ratio);
    check(&|config| config.max_failure_ratio = f32::NAN, ratio);
}

#[test]
fn endpoints() {
    let check = |mode: ResolutionMode,
                 ports: &[(u32, wire::port_config::Protocol, PublishMode)],
                 expected: &str| {
        let port = |(published_port, protocol, publish_mode): &(u32, _, PublishMode)| PortConfig {
            published_port: *published_port,
            protocol: i32::from(*protocol),
            publish_mode: i32::from(*publish_mode),
            ..PortConfig::default()
        };
        let ports = ports.iter().map(port).collect();
        let endpoint = EndpointSpec { mode: mode.into(), ports };
        check(spec(|spec| spec.endpoint = Some(endpoint)), expected);
    };
    use PublishMode::{Host, Ingress};
    use ResolutionMode::{Dnsrr, Vip};
    use wire::port_config::Protocol::{Tcp, Udp};
    check(
        Vip,
        &[(80, Tcp, Ingress), (80, Udp, Ingress), (0, Tcp, Ingress), (0, Tcp, Ingress)],
        "valid",
    );
    check(Dnsrr, &[(80, Tcp, Host)], "valid");
    check(
        Dnsrr,
        &[(80, Tcp, Ingress)],
        "IA: EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
    );
    check(
        Vip,
        &[(80, Tcp, Ingress), (80, Tcp, Host)],
        "IA: EndpointSpec: duplicate published ports provided",
    );
}
