//! What service calls change, and the checks that look at the cluster (validation.md §4, rows 20
//! to 24 and the specifics of updates).

use protocol::{
    objects::{Network, Secret, Service},
    wire::{
        self, Endpoint, EndpointSpec, JobStatus, NetworkAttachmentConfig, NetworkSpec, PortConfig,
        ReplicatedJob, SecretReference, SecretSpec, ServiceSpec, Version,
        port_config::{Protocol, PublishMode},
        secret_reference,
        service_spec::Mode,
        task_spec::Runtime,
        update_status::UpdateState,
    },
};

use super::{NOW, View, container, named, refusal, spec, task, write};
use crate::control::{
    Error,
    logic::{
        service::{self, Direction},
        service_defaults,
    },
    validate::ValidService,
};

fn valid(spec: ServiceSpec) -> ValidService {
    ValidService::try_from(Some(spec)).expect("a valid spec")
}

fn create(view: &View, id: &str, spec: ServiceSpec) -> Result<View, Error> {
    write(view, |transaction| service::create(transaction, id.into(), &valid(spec), NOW))
}

fn update(view: &View, version: u64, spec: ServiceSpec) -> Result<View, Error> {
    write(view, |transaction| {
        service::update(transaction, "s1", version, &valid(spec), Direction::Forward, NOW)
    })
}

fn roll_back(view: &View, version: u64) -> Result<View, Error> {
    let spec = valid(spec(|_| {}));
    write(view, |transaction| {
        service::update(transaction, "s1", version, &spec, Direction::Back, NOW)
    })
}

/// A cluster with an ingress network.
fn cluster() -> View {
    let spec = NetworkSpec {
        annotations: Some(named("ingress")),
        ingress: true,
        ..NetworkSpec::default()
    };
    let network = wire::Network { id: "n1".into(), spec: Some(spec), ..Default::default() };
    write(&View::default(), |transaction| transaction.create(Network::from(network))).unwrap()
}

fn stored(view: &View) -> &Service {
    service::get(view, "s1").expect("it was created")
}

#[track_caller]
fn check(outcome: Result<View, Error>, expected: &str) {
    assert_eq!(outcome.map_or_else(|error| refusal(&error), |_| "done".to_owned()), expected);
}

#[test]
fn a_new_service_has_a_version_of_its_own() {
    let view = create(&cluster(), "s1", spec(|_| {})).unwrap();
    let service = stored(&view);
    assert_eq!((service.name(), service.meta.version), ("web", 2));
    assert_eq!((service.spec_version, service.job_status), (Some(0), None));
}

#[test]
fn a_new_job_remembers_when_it_ran() {
    let job = spec(|spec| spec.mode = Some(Mode::ReplicatedJob(ReplicatedJob::default())));
    let view = create(&cluster(), "s1", job.clone()).unwrap();
    let status = |index: Option<u64>| {
        let job_iteration = index.map(|index| Version { index });
        Some(JobStatus { job_iteration, last_execution: Some(NOW) })
    };
    assert_eq!(stored(&view).job_status, status(None));
    let view = update(&view, 2, job).unwrap();
    assert_eq!(stored(&view).job_status, status(Some(1)));
}

#[test]
fn what_would_never_run_is_not_offered() {
    let offered = |mode: Mode| service::check_offered(&valid(spec(|spec| spec.mode = Some(mode))));
    assert_eq!(offered(Mode::Replicated(wire::ReplicatedService::default())), Ok(()));
    let text = "UI: global services and jobs are not offered by this version of swarmd";
    for mode in [
        Mode::Global(wire::GlobalService {}),
        Mode::ReplicatedJob(ReplicatedJob::default()),
        Mode::GlobalJob(wire::GlobalJob {}),
    ] {
        assert_eq!(refusal(&offered(mode).expect_err("refused")), text);
    }
}

#[test]
fn names_are_taken_whatever_their_case() {
    let view = create(&cluster(), "s1", spec(|_| {})).unwrap();
    check(
        create(&view, "s2", spec(|spec| spec.annotations = Some(named("WEB")))),
        "AE: name conflicts with an existing object: service WEB already exists",
    );
}

#[test]
fn unknown_services_are_not_found() {
    let view = cluster();
    check(service::get(&view, "").map(|_| view.clone()), "IA: invalid argument");
    check(service::get(&view, "s1").map(|_| view.clone()), "NF: service s1 not found");
    check(update(&view, 1, spec(|_| {})), "NF: service s1 not found");
    check(
        write(&view, |transaction| service::remove(transaction, "s1")),
        "NF: service s1 not found",
    );
    check(write(&view, |transaction| service::remove(transaction, "")), "IA: invalid argument");
}

#[test]
fn the_ingress_network_is_not_attached_to_by_name() {
    let attached = |target: &str| {
        let target = target.to_owned();
        let network = NetworkAttachmentConfig { target, ..Default::default() };
        task(|task| task.networks = vec![network])
    };
    let text = "IA: Service cannot be explicitly attached to the ingress network \"ingress\"";
    check(create(&cluster(), "s1", attached("n1")), text);
    check(create(&cluster(), "s1", attached("unknown")), "done");
    check(update(&cluster(), 1, attached("n1")), text);
}

fn published(name: &str, port: u32, mode: PublishMode) -> ServiceSpec {
    let port = PortConfig {
        published_port: port,
        publish_mode: mode.into(),
        protocol: Protocol::Tcp.into(),
        ..PortConfig::default()
    };
    spec(|spec| {
        spec.annotations = Some(named(name));
        spec.endpoint = Some(EndpointSpec { ports: vec![port], ..EndpointSpec::default() });
    })
}

#[test]
fn a_port_belongs_to_one_service() {
    use PublishMode::{Host, Ingress};
    let check = |first: PublishMode, second: PublishMode, expected: &str| {
        let view = create(&cluster(), "s1", published("one", 80, first)).unwrap();
        check(create(&view, "s2", published("two", 80, second)), expected);
        // Moving there is no way around it.
        let view = create(&cluster(), "s2", published("one", 80, first)).unwrap();
        let view = create(&view, "s1", published("two", 81, second)).unwrap();
        let expected = expected.replace("(s1)", "(s2)");
        check(update(&view, 3, published("two", 80, second)), &expected);
    };
    let taken =
        |how: &str| format!("IA: port '80' is already in use by service 'one' (s1) as {how}");
    check(Host, Host, "done");
    check(Host, Ingress, &taken("a host-published port"));
    check(Ingress, Host, &taken("an ingress port"));
    check(Ingress, Ingress, &taken("an ingress port"));
}

#[test]
fn allocated_ports_are_taken_too() {
    let view = create(&cluster(), "s1", published("one", 0, PublishMode::Ingress)).unwrap();
    let port = PortConfig { published_port: 30_001, ..PortConfig::default() };
    let endpoint = Endpoint { ports: vec![port], ..Endpoint::default() };
    let allocated = Service { endpoint: Some(endpoint.into()), ..stored(&view).clone() };
    let view = write(&view, |transaction| transaction.update(allocated)).unwrap();
    check(
        create(&view, "s2", published("two", 30_001, PublishMode::Host)),
        "IA: port '30001' is already in use by service 'one' (s1) as an ingress port",
    );
    check(create(&view, "s2", published("two", 0, PublishMode::Ingress)), "done");
}

#[test]
fn ingress_ports_need_the_ingress_network() {
    check(
        create(&View::default(), "s1", published("one", 80, PublishMode::Ingress)),
        "FP: service needs ingress network, but no ingress network is present",
    );
    check(create(&View::default(), "s1", published("one", 80, PublishMode::Host)), "done");
}

#[test]
fn secrets_must_exist_under_their_name() {
    let body = SecretSpec { annotations: Some(named("key")), ..SecretSpec::default() };
    let secret = wire::Secret { id: "x1".into(), spec: Some(body), ..Default::default() };
    let view = write(&cluster(), |transaction| transaction.create(Secret::from(secret))).unwrap();
    let using = |references: &[(&str, &str)]| {
        let reference = |(id, name): &(&str, &str)| {
            let file = wire::FileTarget { name: (*name).to_owned(), ..Default::default() };
            SecretReference {
                secret_id: (*id).to_owned(),
                secret_name: (*name).to_owned(),
                target: Some(secret_reference::Target::File(file)),
            }
        };
        container(|container| container.secrets = references.iter().map(reference).collect())
    };
    check(create(&view, "s1", using(&[("x1", "key")])), "done");
    check(create(&view, "s1", using(&[("x1", "n")])), "IA: secret not found: n");
    check(
        create(&view, "s1", using(&[("x1", "key"), ("x2", "n"), ("x3", "m")])),
        "IA: secrets not found: n, m",
    );
    let view = create(&view, "s1", spec(|_| {})).unwrap();
    check(update(&view, 3, using(&[("x2", "n")])), "IA: secret not found: n");
}

#[test]
fn configs_must_exist() {
    let reference = wire::ConfigReference {
        config_id: "c1".to_owned(),
        config_name: "n".to_owned(),
        target: Some(wire::config_reference::Target::Runtime(wire::RuntimeTarget {})),
    };
    let using = container(|container| container.configs = vec![reference]);
    check(create(&cluster(), "s1", using), "IA: config not found: n");
}

#[test]
#[expect(deprecated, reason = "the field of old clients")]
fn some_parts_never_change() {
    let view = create(&cluster(), "s1", spec(|_| {})).unwrap();
    let network = NetworkAttachmentConfig { target: "n9".to_owned(), ..Default::default() };
    check(
        update(&view, 2, spec(|spec| spec.networks = vec![network])),
        "UI: networks must be migrated to TaskSpec before being changed",
    );
    check(
        update(&view, 2, spec(|spec| spec.mode = Some(Mode::Global(wire::GlobalService {})))),
        "UI: service mode change is not allowed",
    );
    check(
        update(&view, 2, spec(|spec| spec.annotations = Some(named("other")))),
        "UI: renaming services is not supported",
    );
}

#[test]
fn an_update_needs_the_version_that_is_stored() {
    let view = create(&cluster(), "s1", spec(|_| {})).unwrap();
    check(update(&view, 1, spec(|_| {})), "UK: update out of sequence");
    let view = update(&view, 2, spec(|_| {})).unwrap();
    check(update(&view, 2, spec(|_| {})), "UK: update out of sequence");
}

#[test]
fn an_update_keeps_the_spec_before() {
    let first = create(&cluster(), "s1", spec(|_| {})).unwrap();
    let view = update(&first, 2, container(|container| container.image = "redis".into())).unwrap();
    let service = stored(&view);
    assert_eq!(service.previous_spec.as_ref(), Some(&stored(&first).spec));
    assert_eq!((service.previous_spec_version, service.spec_version), (Some(0), Some(2)));
    assert_eq!(service.update_status, None);
}

#[test]
fn a_rollback_swaps_the_specs() {
    let first = create(&cluster(), "s1", spec(|_| {})).unwrap();
    check(roll_back(&first, 2), "FP: service s1 does not have a previous spec");
    let second = update(&first, 2, container(|container| container.image = "b".into())).unwrap();
    let back = roll_back(&second, 3).unwrap();
    let service = stored(&back);
    assert_eq!(service.spec, stored(&first).spec);
    assert_eq!(service.previous_spec.as_ref(), Some(&stored(&second).spec));
    assert_eq!((service.spec_version, service.previous_spec_version), (Some(0), Some(2)));
    let status = service.update_status.clone().expect("a rollback has begun");
    assert_eq!((status.state(), status.started_at), (UpdateState::RollbackStarted, Some(NOW)));
    assert_eq!(status.message, "manually requested rollback");
    let third = update(&back, 4, spec(|_| {})).unwrap();
    assert_eq!(stored(&third).update_status, None, "a new spec begins anew");
}

#[test]
fn removing_is_immediate() {
    let view = create(&cluster(), "s1", spec(|_| {})).unwrap();
    let view = write(&view, |transaction| service::remove(transaction, "s1")).unwrap();
    assert_eq!(view.services().count(), 0);
}

#[test]
fn defaults_fill_what_is_unset() {
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let filled = service_defaults::filled(spec(|_| {}));
    let task = filled.task.unwrap();
    let restart = task.restart.unwrap();
    assert_eq!(restart.condition(), wire::restart_policy::RestartCondition::Any);
    assert_eq!(restart.delay, seconds(5));
    assert!(task.resources.is_some() && task.placement.is_some());
    let Some(Runtime::Container(container)) = task.runtime else { panic!("a container stays one") };
    assert_eq!(container.stop_grace_period, seconds(10));
    assert!(container.pull_options.is_some() && container.dns_config.is_some());
    for config in [filled.update.unwrap(), filled.rollback.unwrap()] {
        assert_eq!((config.parallelism, config.monitor), (1, seconds(5)));
    }
}

#[test]
fn defaults_leave_what_is_set() {
    let restart = wire::RestartPolicy { max_attempts: 3, ..Default::default() };
    let update = wire::UpdateConfig { parallelism: 7, ..Default::default() };
    let filled = service_defaults::filled(spec(|spec| {
        spec.task.as_mut().unwrap().restart = Some(restart);
        spec.update = Some(update);
    }));
    let seconds = Some(prost_types::Duration { seconds: 5, nanos: 0 });
    let restart = wire::RestartPolicy { delay: seconds, ..restart };
    assert_eq!(filled.task.unwrap().restart, Some(restart));
    assert_eq!(filled.update, Some(wire::UpdateConfig { monitor: seconds, ..update }));
}
