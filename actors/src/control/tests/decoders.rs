//! Requests as whoever may open the control socket can send them: whatever a spec says, it is
//! taken or refused.

use proptest::prelude::*;
use prost::Message;
use prost_types::Duration;
use protocol::{
    id::ServiceId,
    wire::{
        self, EndpointSpec, HealthConfig, Mount, Placement, PortConfig, ResourceRequirements,
        Resources, RestartPolicy, UpdateConfig,
    },
};

use super::*;
use crate::{
    control::{logic::service, validate::ValidService},
    damage::damage,
};

/// A spec with something in every part that is checked.
fn full() -> ServiceSpec {
    let some = || Some(Duration { seconds: 3, nanos: 7 });
    let mut spec = container(|container| {
        container.env = vec!["A={{.Task.Slot}}".into()];
        container.hostname = "{{.Node.Hostname}}".into();
        container.stop_grace_period = some();
        container.healthcheck = Some(HealthConfig {
            test: vec!["CMD".into(), "true".into()],
            interval: some(),
            timeout: some(),
            retries: 3,
            ..HealthConfig::default()
        });
        container.mounts =
            vec![Mount { target: "/a".into(), source: "/b".into(), ..Mount::default() }];
    });
    let resources =
        || Resources { nano_cpus: 1 << 30, memory_bytes: 8 << 20, ..Default::default() };
    let task = spec.task.as_mut().expect("it has one");
    task.resources = Some(ResourceRequirements {
        limits: Some(resources()),
        reservations: Some(resources()),
        ..ResourceRequirements::default()
    });
    task.restart = Some(RestartPolicy { delay: some(), window: some(), ..Default::default() });
    task.placement = Some(Placement {
        constraints: vec!["node.labels.zone == a".into(), "node.ip == 10.0.0.0/8".into()],
        ..Placement::default()
    });
    spec.update = Some(UpdateConfig { delay: some(), monitor: some(), ..Default::default() });
    spec.rollback = spec.update;
    let port = PortConfig { target_port: 80, published_port: 8080, ..PortConfig::default() };
    spec.endpoint = Some(EndpointSpec { ports: vec![port], ..EndpointSpec::default() });
    spec
}

#[test]
fn the_full_spec_is_valid() {
    assert!(ValidService::try_from(Some(full())).is_ok(), "or damage to it shows little");
}

proptest! {
    #[test]
    fn no_spec_makes_a_check_or_a_write_panic(damage in damage()) {
        let request = wire::CreateServiceRequest { spec: Some(full()) };
        let bytes = damage.done_to(request.encode_to_vec());
        let Ok(request) = wire::CreateServiceRequest::decode(&*bytes) else { return Ok(()) };
        let Ok(valid) = ValidService::try_from(request.spec) else { return Ok(()) };
        let _ = service::check_offered(&valid);
        let id = ServiceId::from("s");
        let _ = write(&View::default(), |transaction| {
            service::create(transaction, id, &valid, NOW)
        });
    }
}
