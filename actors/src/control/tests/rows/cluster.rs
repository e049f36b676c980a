//! The settings of the cluster (validation.md §6).

use prost_types::Duration;
use protocol::{
    objects::Cluster,
    wire::{
        self, CaConfig, ClusterSpec, DispatcherConfig, Driver, EncryptionConfig, ExternalCa,
        KeyRotation, TaskDefaults,
    },
};
use rand::{SeedableRng, rngs::StdRng};

use super::{NOW, Row, View, check_rows, named, row, write};
use crate::control::{logic::cluster, validate::ValidCluster};

struct Asked {
    spec: ClusterSpec,
    rotation: KeyRotation,
    id: &'static str,
}

fn right() -> Asked {
    let spec = ClusterSpec { annotations: Some(named("default")), ..ClusterSpec::default() };
    Asked { spec, rotation: KeyRotation::default(), id: "c1" }
}

fn authority(asked: &mut Asked) -> &mut CaConfig {
    asked.spec.ca_config.get_or_insert_default()
}

#[expect(deprecated, reason = "old clients set it")]
fn md5(asked: &mut Asked) {
    use wire::acceptance_policy::{RoleAdmissionPolicy, role_admission_policy::Secret};
    let secret = Some(Secret { alg: "md5".to_owned(), ..Secret::default() });
    let policies = vec![RoleAdmissionPolicy { secret, ..RoleAdmissionPolicy::default() }];
    asked.spec.acceptance_policy = Some(wire::AcceptancePolicy { policies });
}

const ROWS: &[Row<Asked>] = &[
    row(
        "node_cert_expiry",
        "expiry",
        |asked| authority(asked).node_cert_expiry = Some(Duration { seconds: 1799, nanos: 0 }),
        "IA: minimum certificate expiry time is: 30m0s",
    ),
    row("acceptance policy", "policy", md5, "IA: hashing algorithm is not supported: md5"),
    row(
        "heartbeat",
        "heartbeat",
        |asked| {
            let heartbeat_period = Some(Duration { seconds: -1, nanos: 0 });
            asked.spec.dispatcher = Some(DispatcherConfig { heartbeat_period });
        },
        "IA: heartbeat time period cannot be a negative duration",
    ),
    row(
        "name",
        "name",
        |asked| asked.spec.annotations = Some(named("Default")),
        "IA: modification of cluster name is not allowed",
    ),
    row(
        "CA key without cert",
        "authority",
        |asked| authority(asked).signing_ca_key = "key".into(),
        "IA: if a signing CA key is provided, the signing CA cert must also be provided",
    ),
    row(
        "log driver of the cluster",
        "defaults",
        |asked| {
            let options = [("key".to_owned(), "x".repeat(16 * 1024))].into();
            let log_driver = Some(Driver { options, ..Driver::default() });
            asked.spec.task_defaults = Some(TaskDefaults { log_driver });
        },
        "IA: the defaults of tasks are too large: 16401 bytes, and at most 16384 are possible",
    ),
    row("not found", "id", |asked| asked.id = "c7", "NF: cluster c7 not found"),
    row(
        "another root certificate: not offered",
        "authority.rotation",
        |asked| authority(asked).force_rotate = 1,
        "UI: this version cannot move a cluster to another root certificate",
    ),
    row(
        "external CAs: not offered",
        "external",
        |asked| authority(asked).external_cas = vec![ExternalCa::default()],
        "UI: this version signs with its own root certificate, not through external CAs",
    ),
    row(
        "autolock: not offered",
        "lock",
        |asked| {
            asked.spec.encryption_config = Some(EncryptionConfig { auto_lock_managers: true });
        },
        "UI: this version cannot lock its managers",
    ),
    row(
        "unlock key: not offered",
        "lock.key",
        |asked| asked.rotation.manager_unlock_key = true,
        "UI: this version cannot lock its managers",
    ),
];

#[test]
fn settings_are_checked_row_by_row() {
    let spec = Some(right().spec);
    let stored = wire::Cluster { id: "c1".to_owned(), spec, ..wire::Cluster::default() };
    let create = write(&View::default(), |transaction| transaction.create(Cluster::from(stored)));
    let view = create.unwrap();
    check_rows(right, ROWS, |Asked { spec, rotation, id }| {
        let valid = ValidCluster::try_from(Some(spec))?;
        let mut random = StdRng::seed_from_u64(1);
        write(&view, |transaction| {
            cluster::update(transaction, id, 1, valid, rotation, NOW, &mut random)
        })
    });
}
