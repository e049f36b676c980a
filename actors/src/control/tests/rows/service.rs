//! Service specs (validation.md §2 and §4).

use prost_types::Duration;
use protocol::{
    objects::{Network, Service},
    wire::{
        self, ConfigReference, EndpointSpec, GenericResource, GenericRuntimeSpec, HealthConfig,
        Mount, NamedGenericResource, NetworkAttachmentConfig, NetworkSpec, Placement, PortConfig,
        ReplicatedJob, Resources, RestartPolicy, SecretReference, ServiceSpec,
        endpoint_spec::ResolutionMode, generic_resource, port_config::PublishMode,
        secret_reference, service_spec::Mode, task_spec::Runtime,
    },
};

use super::{NOW, Row, View, check_rows, named, row, spec, write};
use crate::{
    control::{
        logic::service::{self, Direction},
        validate::ValidService,
    },
    store::Transaction,
};

/// A request about a service, and the cluster that it is made to.
struct Asked {
    spec: ServiceSpec,
    has_ingress: bool,
    id: &'static str,
    direction: Direction,
}

/// A request without a mistake. That row 4 checks nothing is part of it.
fn right() -> Asked {
    let kind = NamedGenericResource { kind: "gpu".to_owned(), value: "one".to_owned() };
    let resource = Some(generic_resource::Resource::NamedResourceSpec(kind));
    let mut asked =
        Asked { spec: spec(|_| {}), has_ingress: true, id: "s1", direction: Direction::Forward };
    reservations(&mut asked).generic = vec![GenericResource { resource }];
    asked
}

fn task(asked: &mut Asked) -> &mut wire::TaskSpec {
    asked.spec.task.get_or_insert_default()
}

fn container(asked: &mut Asked) -> &mut wire::ContainerSpec {
    match &mut task(asked).runtime {
        Some(Runtime::Container(container)) => container,
        Some(Runtime::Attachment(_) | Runtime::Generic(_)) | None => panic!("no container"),
    }
}

fn limits(asked: &mut Asked) -> &mut Resources {
    task(asked).resources.get_or_insert_default().limits.get_or_insert_default()
}

fn reservations(asked: &mut Asked) -> &mut Resources {
    task(asked).resources.get_or_insert_default().reservations.get_or_insert_default()
}

fn restart(asked: &mut Asked) -> &mut RestartPolicy {
    task(asked).restart.get_or_insert_default()
}

#[expect(clippy::unnecessary_wraps, reason = "the fields of messages are optional")]
fn negative() -> Option<Duration> {
    Some(Duration { seconds: -1, nanos: 0 })
}

fn port(number: u32, mode: PublishMode) -> PortConfig {
    PortConfig { published_port: number, publish_mode: mode.into(), ..PortConfig::default() }
}

fn publish(asked: &mut Asked, mode: ResolutionMode, ports: &[PortConfig]) {
    asked.spec.endpoint = Some(EndpointSpec { mode: mode.into(), ports: ports.to_vec() });
}

fn secret(id: &str, name: &str, file: Option<&str>) -> SecretReference {
    let target = file.map(|name| {
        let file = wire::FileTarget { name: name.to_owned(), ..Default::default() };
        secret_reference::Target::File(file)
    });
    SecretReference { secret_id: id.to_owned(), secret_name: name.to_owned(), target }
}

fn attach(asked: &mut Asked, target: &str) {
    let target = target.to_owned();
    task(asked).networks = vec![NetworkAttachmentConfig { target, ..Default::default() }];
}

/// What is checked of a new service and of one that is updated, without a look at the cluster.
const ALONE: [Row<Asked>; 26] = [
    row("1 name", "name", |asked| asked.spec.annotations = None, "IA: meta: name must be provided"),
    row(
        "2 nano_cpus of limits",
        "limits.cpus",
        |asked| limits(asked).nano_cpus = 1,
        "IA: invalid cpu value 1e-09: Must be at least 0.001",
    ),
    row(
        "3 memory_bytes of limits",
        "limits.memory",
        |asked| limits(asked).memory_bytes = 1,
        "IA: invalid memory value 1: Must be at least 4MiB",
    ),
    row(
        "2 nano_cpus of reservations",
        "reservations.cpus",
        |asked| reservations(asked).nano_cpus = -5,
        "IA: invalid cpu value -5e-09: Must be at least 0.001",
    ),
    row(
        "3 memory_bytes of reservations",
        "reservations.memory",
        |asked| reservations(asked).memory_bytes = 2,
        "IA: invalid memory value 2: Must be at least 4MiB",
    ),
    row(
        "5 restart.delay",
        "restart.delay",
        |asked| restart(asked).delay = negative(),
        "IA: TaskSpec: restart-delay cannot be negative",
    ),
    row(
        "5 restart.window",
        "restart.window",
        |asked| restart(asked).window = negative(),
        "IA: TaskSpec: restart-window cannot be negative",
    ),
    row(
        "6 constraints",
        "placement",
        |asked| {
            let constraints = vec!["node.id".to_owned()];
            task(asked).placement = Some(Placement { constraints, ..Placement::default() });
        },
        "UK: constraint expected one operator from ==, !=",
    ),
    row(
        "7 secret references",
        "runtime.container.secrets",
        |asked| container(asked).secrets = vec![secret("", "", None)],
        "IA: malformed secret reference",
    ),
    row(
        "8 config references",
        "runtime.container.configs",
        |asked| container(asked).configs = vec![ConfigReference::default()],
        "IA: malformed config reference",
    ),
    row(
        "9 runtime",
        "runtime",
        |asked| task(asked).runtime = None,
        "IA: TaskSpec: missing runtime",
    ),
    row(
        "10 attachment",
        "runtime",
        |asked| task(asked).runtime = Some(Runtime::Attachment(Default::default())),
        "UI: RuntimeSpec: unimplemented runtime in service spec",
    ),
    row(
        "11 generic runtime",
        "runtime",
        |asked| task(asked).runtime = Some(Runtime::Generic(GenericRuntimeSpec::default())),
        "IA: Generic runtime: Invalid name \"\"",
    ),
    row(
        "12 templates",
        "runtime.container.env",
        |asked| container(asked).env = vec!["A={{".to_owned()],
        "IA: expanding env failed: expanding env \"A={{\": template: expansion:1: unclosed action",
    ),
    row(
        "13 image",
        "runtime.container.image",
        |asked| container(asked).image.clear(),
        "IA: ContainerSpec: image reference must be provided",
    ),
    row(
        "14 mount targets",
        "runtime.container.mounts",
        |asked| container(asked).mounts = vec![Mount::default(), Mount::default()],
        "IA: ContainerSpec: duplicate mount point: ",
    ),
    row(
        "15 health check, duration",
        "runtime.container.healthcheck.interval",
        |asked| {
            let interval = Some(Duration { seconds: 0, nanos: 1 });
            container(asked).healthcheck.get_or_insert_default().interval = interval;
        },
        "IA: ContainerSpec: Interval in HealthConfig cannot be less than 1ms",
    ),
    row(
        "15 health check, retries",
        "runtime.container.healthcheck.retries",
        |asked| {
            let health: &mut HealthConfig = container(asked).healthcheck.get_or_insert_default();
            health.retries = -1;
        },
        "IA: ContainerSpec: Retries in HealthConfig cannot be negative",
    ),
    row("16 mode", "mode", |asked| asked.spec.mode = None, "IA: Unrecognized service mode"),
    row(
        "16 counts",
        "mode",
        |asked| {
            let total_completions = u64::MAX;
            let job = ReplicatedJob { total_completions, ..ReplicatedJob::default() };
            asked.spec.mode = Some(Mode::ReplicatedJob(job));
        },
        "IA: Total completed jobs must not be negative",
    ),
    row(
        "17 jobs without update config",
        "mode",
        |asked| {
            asked.spec.mode = Some(Mode::GlobalJob(Default::default()));
            asked.spec.update.get_or_insert_default();
        },
        "IA: Jobs may not have an update config",
    ),
    row(
        "18 update.delay",
        "update.delay",
        |asked| asked.spec.update.get_or_insert_default().delay = negative(),
        "IA: TaskSpec: update-delay cannot be negative",
    ),
    row(
        "18 update.monitor",
        "update.monitor",
        |asked| asked.spec.update.get_or_insert_default().monitor = negative(),
        "IA: TaskSpec: update-monitor cannot be negative",
    ),
    row(
        "18 update.max_failure_ratio",
        "update.ratio",
        |asked| asked.spec.update.get_or_insert_default().max_failure_ratio = 2.0,
        "IA: TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
    ),
    row(
        "19 ingress ports with DNSRR",
        "endpoint",
        |asked| publish(asked, ResolutionMode::Dnsrr, &[port(9, PublishMode::Ingress)]),
        "IA: EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
    ),
    row(
        "19 published ports",
        "endpoint",
        |asked| {
            let ports = [port(9, PublishMode::Ingress), port(9, PublishMode::Host)];
            publish(asked, ResolutionMode::Vip, &ports);
        },
        "IA: EndpointSpec: duplicate published ports provided",
    ),
];

const ATTACHED: Row<Asked> = row(
    "20 task networks",
    "networks",
    |asked| {
        asked.has_ingress = true;
        attach(asked, "n1");
    },
    "IA: Service cannot be explicitly attached to the ingress network \"ingress\"",
);

const PORTS: Row<Asked> = row(
    "21 ports of others",
    "endpoint",
    |asked| publish(asked, ResolutionMode::Vip, &[port(80, PublishMode::Ingress)]),
    "IA: port '80' is already in use by service 'taken' (s0) as a host-published port",
);

const REFERENCES: Row<Asked> = row(
    "23 secrets and configs",
    "runtime.container.secrets",
    |asked| container(asked).secrets = vec![secret("x1", "n", Some("f"))],
    "IA: secret not found: n",
);

/// Two services, of which the first publishes a port; there is an ingress network if that is asked
/// for.
fn cluster(has_ingress: bool) -> View {
    let annotations = Some(named("ingress"));
    let network = NetworkSpec { annotations, ingress: true, ..NetworkSpec::default() };
    let network = wire::Network { id: "n1".into(), spec: Some(network), ..Default::default() };
    let service = |id: &str, name: &str, ports: &[PortConfig]| {
        let mut asked = right();
        asked.spec.annotations = Some(named(name));
        publish(&mut asked, ResolutionMode::Vip, ports);
        let service = wire::Service { id: id.into(), spec: Some(asked.spec), ..Default::default() };
        Service::from(service)
    };
    let create = |transaction: &mut Transaction| {
        if has_ingress {
            transaction.create(Network::from(network))?;
        }
        transaction.create(service("s0", "taken", &[port(80, PublishMode::Host)]))?;
        transaction.create(service("s1", "stored", &[]))
    };
    write(&View::default(), create).unwrap()
}

#[test]
fn a_new_service_is_checked_row_by_row() {
    let mut rows = Vec::from(ALONE);
    rows.extend([
        ATTACHED,
        PORTS,
        row(
            "22 ingress network",
            "endpoint",
            |asked| {
                asked.has_ingress = false;
                publish(asked, ResolutionMode::Vip, &[port(0, PublishMode::Ingress)]);
            },
            "FP: service needs ingress network, but no ingress network is present",
        ),
        REFERENCES,
        row(
            "24 name",
            "name",
            |asked| asked.spec.annotations = Some(named("Taken")),
            "AE: name conflicts with an existing object: service Taken already exists",
        ),
    ]);
    check_rows(right, &rows, |asked| {
        let valid = ValidService::try_from(Some(asked.spec))?;
        write(&cluster(asked.has_ingress), |transaction| {
            service::create(transaction, "s9".into(), &valid, NOW)
        })
    });
}

#[test]
fn an_update_is_checked_row_by_row() {
    #[expect(deprecated, reason = "the field of old clients")]
    let networks: fn(&mut Asked) =
        |asked| asked.spec.networks = vec![NetworkAttachmentConfig::default()];
    let mut rows = Vec::from(ALONE);
    rows.extend([
        ATTACHED,
        row("not found", "id", |asked| asked.id = "s7", "NF: service s7 not found"),
        PORTS,
        row(
            "spec.networks",
            "networks.old",
            networks,
            "UI: networks must be migrated to TaskSpec before being changed",
        ),
        REFERENCES,
        row(
            "mode kind",
            "mode",
            |asked| asked.spec.mode = Some(Mode::Global(Default::default())),
            "UI: service mode change is not allowed",
        ),
        row(
            "name",
            "name",
            |asked| asked.spec.annotations = Some(named("other")),
            "UI: renaming services is not supported",
        ),
        row(
            "rollback",
            "direction",
            |asked| asked.direction = Direction::Back,
            "FP: service s1 does not have a previous spec",
        ),
    ]);
    let right = || {
        let mut asked = right();
        asked.spec.annotations = Some(named("stored"));
        asked
    };
    check_rows(right, &rows, |asked| {
        let valid = ValidService::try_from(Some(asked.spec))?;
        let Asked { id, direction, .. } = asked;
        write(&cluster(asked.has_ingress), |transaction| {
            service::update(transaction, id, 1, &valid, direction, NOW)
        })
    });
}
