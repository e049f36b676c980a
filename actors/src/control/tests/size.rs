//! How large a service spec may be: what is taken in can be replaced by something as large.

use prost::Message;
use protocol::{
    objects::{Service, Task},
    wire::{
        self, ClusterSpec, Driver, Endpoint, EndpointSpec, PortConfig, ServiceSpec, TaskDefaults,
    },
};

use super::{NOW, View, container, named, refusal, spec, write};
use crate::{
    control::{
        Error,
        logic::service::{self, Direction},
        validate::{SPEC_BYTES_MAX, TASK_DEFAULTS_BYTES_MAX, ValidCluster, ValidService},
    },
    store::{TRANSACTION_BYTES_MAX, Transaction},
};

/// A spec whose endpoint, counted twice, and whose directory bring it to so many bytes.
fn sized_spec(ports: &[PortConfig], letter: &str, bytes: usize) -> ServiceSpec {
    let endpoint = EndpointSpec { ports: ports.to_vec(), ..EndpointSpec::default() };
    let endpoint = (!ports.is_empty()).then_some(endpoint);
    let counted = endpoint.as_ref().map_or(0, Message::encoded_len);
    let with = |length: usize| {
        let spec = container(|container| container.dir = letter.repeat(length));
        ServiceSpec { endpoint: endpoint.clone(), ..spec }
    };
    let rough = bytes - counted - with(0).encoded_len() - 16;
    let fine = rough + bytes - counted - with(rough).encoded_len();
    with(fine)
}

fn valid(spec: ServiceSpec) -> Result<ValidService, Error> {
    ValidService::try_from(Some(spec))
}

#[test]
fn a_spec_that_could_never_be_replaced_is_refused() {
    assert!(valid(sized_spec(&[], "a", SPEC_BYTES_MAX)).is_ok());
    let error = valid(sized_spec(&[], "a", SPEC_BYTES_MAX + 1)).expect_err("too large");
    let expected = "IA: the spec is too large: 720897 bytes, its endpoint and its log driver \
                    counted twice, and at most 720896 are possible";
    assert_eq!(refusal(&error), expected);
}

#[track_caller]
fn check_replacement(ports: &[PortConfig]) {
    let first = valid(sized_spec(ports, "a", SPEC_BYTES_MAX)).unwrap();
    let view = write(&View::default(), |transaction| {
        service::create(transaction, "s1".into(), &first, NOW)
    });
    let view = view.unwrap();
    // Whoever allocates writes the ports beside what was asked for.
    let spec = first.spec().endpoint.clone();
    let endpoint =
        spec.map(|spec| Endpoint { ports: ports.to_vec(), spec: Some(spec), ..Default::default() });
    let stored = service::get(&view, "s1").unwrap();
    let allocated = Service { endpoint: endpoint.map(Into::into), ..Service::clone(stored) };
    let view = write(&view, |transaction| transaction.update(allocated)).unwrap();
    let version = service::get(&view, "s1").unwrap().meta.version;
    let second = valid(sized_spec(ports, "b", SPEC_BYTES_MAX)).unwrap();
    let mut transaction = Transaction::begin(&view);
    service::update(&mut transaction, "s1", version, &second, Direction::Forward, NOW).unwrap();
    let bytes = transaction.seal(9, NOW).encode(9).len();
    assert!(bytes <= TRANSACTION_BYTES_MAX, "{bytes} bytes");
}

#[test]
fn the_largest_spec_can_be_replaced_by_another() {
    check_replacement(&[]);
    let port = |number: u32| PortConfig {
        published_port: number,
        publish_mode: wire::port_config::PublishMode::Host.into(),
        name: "a port with a long name".to_owned(),
        ..PortConfig::default()
    };
    check_replacement(&(1..8_000).map(port).collect::<Vec<_>>());
}

#[test]
fn a_task_with_the_largest_log_driver_of_the_cluster_can_be_replaced_by_another() {
    let sized = |length: usize| Driver {
        name: "json-file".to_owned(),
        options: [("key".to_owned(), "x".repeat(length))].into(),
    };
    let defaults = |driver: Driver| TaskDefaults { log_driver: Some(driver) };
    let rough = TASK_DEFAULTS_BYTES_MAX - 100;
    let around = defaults(sized(rough)).encoded_len() - rough;
    let driver = sized(TASK_DEFAULTS_BYTES_MAX - around);
    assert_eq!(defaults(driver.clone()).encoded_len(), TASK_DEFAULTS_BYTES_MAX);
    let cluster = |driver: &Driver| ClusterSpec {
        annotations: Some(named("default")),
        task_defaults: Some(defaults(driver.clone())),
        ..ClusterSpec::default()
    };
    assert!(ValidCluster::try_from(Some(cluster(&driver))).is_ok());
    let spec = sized_spec(&[], "a", SPEC_BYTES_MAX);
    let task = |id: &str| {
        Task::from(wire::Task {
            id: id.to_owned(),
            spec: spec.task.clone(),
            service_annotations: spec.annotations.clone(),
            log_driver: Some(driver.clone()),
            ..Default::default()
        })
    };
    let mut transaction = Transaction::begin(&View::default());
    transaction.create(task("t1")).unwrap();
    transaction.create(task("t2")).unwrap();
    let bytes = transaction.seal(9, NOW).encode(9).len();
    assert!(bytes <= TRANSACTION_BYTES_MAX, "{bytes} bytes");
    let larger = sized(TASK_DEFAULTS_BYTES_MAX - around + 1);
    assert!(ValidCluster::try_from(Some(cluster(&larger))).is_err());
}

#[test]
fn a_task_of_the_largest_spec_can_be_replaced_by_another() {
    let options = [("key".to_owned(), "x".repeat(SPEC_BYTES_MAX / 2 - 1024))].into();
    let log_driver = Some(Driver { name: "json-file".to_owned(), options });
    let mut spec = spec(|_| {});
    spec.task.as_mut().unwrap().log_driver = log_driver.clone();
    assert!(valid(spec.clone()).is_ok());
    let task = |id: &str| {
        Task::from(wire::Task {
            id: id.to_owned(),
            spec: spec.task.clone(),
            service_annotations: spec.annotations.clone(),
            log_driver: log_driver.clone(),
            ..Default::default()
        })
    };
    let mut transaction = Transaction::begin(&View::default());
    transaction.create(task("t1")).unwrap();
    transaction.create(task("t2")).unwrap();
    let bytes = transaction.seal(9, NOW).encode(9).len();
    assert!(bytes <= TRANSACTION_BYTES_MAX, "{bytes} bytes");
    let driver = spec.task.as_mut().and_then(|task| task.log_driver.as_mut()).unwrap();
    driver.options.insert("more".to_owned(), "x".repeat(1024));
    assert!(valid(spec).is_err());
}
