//! Requests as whoever may open the control socket can send them: whatever a spec says, it is
//! taken or refused, and what is taken can be acted upon.

use proptest::prelude::*;
use prost::Message;
use prost_types::Duration;
use protocol::wire::{
    self, CaConfig, ClusterSpec, DispatcherConfig, EndpointSpec, HealthConfig, KeyRotation, Mount,
    OrchestrationConfig, Placement, PortConfig, RaftConfig, ResourceRequirements, Resources,
    RestartPolicy, UpdateConfig,
};

use super::{
    cluster,
    foresight::{nodes, plan_new},
    *,
};
use crate::{control::validate::ValidService, damage::damage};

/// How many tasks are planned for at most; more would show the same.
const REPLICAS_MAX: u64 = 5;

/// A number of a request: a usual one, or one at an end.
fn number() -> impl Strategy<Value = i64> {
    let ends = [i64::MIN, -1, 0, 1, i64::from(i32::MAX), i64::from(u32::MAX), i64::MAX];
    prop_oneof![2 => 4_000_000..9_000_000_i64, 1 => prop::sample::select(ends.to_vec())]
}

fn period() -> impl Strategy<Value = Duration> {
    let usual = (0..100_i64, 0..1_000_000_000).prop_map(|(seconds, nanos)| (seconds, nanos));
    prop_oneof![4 => usual, 1 => (number(), any::<i32>())]
        .prop_map(|(seconds, nanos)| Duration { seconds, nanos })
}

/// A spec with something in every part that is checked.
fn full(period: Duration, number: i64) -> ServiceSpec {
    let some = || Some(period);
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
    let resources = || Resources { nano_cpus: number, memory_bytes: number, ..Default::default() };
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
    let usual = Duration { seconds: 3, nanos: 7 };
    let found = ValidService::try_from(Some(full(usual, 8 << 20)));
    assert!(found.is_ok(), "or damage to it shows little: {found:?}");
}

proptest! {
    #[test]
    fn no_spec_makes_a_check_or_a_plan_panic(
        damage in damage(), period in period(), number in number(), replicas in 0..=REPLICAS_MAX,
    ) {
        let request = wire::CreateServiceRequest { spec: Some(full(period, number)) };
        let bytes = damage.done_to(request.encode_to_vec());
        let Ok(request) = wire::CreateServiceRequest::decode(&*bytes) else { return Ok(()) };
        let spec = request.spec.map(|mut spec| {
            if let Some(Mode::Replicated(replicated)) = &mut spec.mode {
                replicated.replicas = replicas;
            }
            spec
        });
        if let Some(spec) = spec {
            // The orchestrator, the allocator and the scheduler, as they would in earnest.
            let _ = plan_new(&nodes(), spec);
        }
    }

    #[test]
    fn no_settings_of_the_cluster_make_a_check_panic(
        damage in damage(), period in period(), number in number(), rotated: bool,
    ) {
        let spec = ClusterSpec {
            annotations: Some(named("default")),
            orchestration: Some(OrchestrationConfig { task_history_retention_limit: number }),
            raft: Some(RaftConfig { snapshot_interval: number.unsigned_abs(), ..Default::default() }),
            dispatcher: Some(DispatcherConfig { heartbeat_period: Some(period) }),
            ca_config: Some(CaConfig { node_cert_expiry: Some(period), ..Default::default() }),
            ..ClusterSpec::default()
        };
        let bytes = damage.done_to(spec.encode_to_vec());
        let Ok(spec) = ClusterSpec::decode(&*bytes) else { return Ok(()) };
        let rotation = KeyRotation { worker_join_token: rotated, ..KeyRotation::default() };
        let _ = cluster::update(&cluster::stored(), 1, spec, rotation);
    }
}
