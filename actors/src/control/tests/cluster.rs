//! The settings of the cluster (validation.md §6).

use prost_types::{Duration, Timestamp};
use protocol::{
    objects::Cluster,
    token::{JoinToken, RootDigest},
    wire::{
        self, BlacklistedCertificate, CaConfig, ClusterSpec, DispatcherConfig, EncryptionConfig,
        EncryptionKey, JoinTokens, KeyRotation, RootCa, RootRotation,
    },
};
use rand::{SeedableRng, rngs::StdRng};

use super::{NOW, View, named, refusal, write};
use crate::control::{Error, logic::cluster, validate::ValidCluster};

fn spec(change: impl FnOnce(&mut ClusterSpec)) -> ClusterSpec {
    let mut spec = ClusterSpec { annotations: Some(named("default")), ..ClusterSpec::default() };
    change(&mut spec);
    spec
}

fn authority(change: impl FnOnce(&mut CaConfig)) -> ClusterSpec {
    spec(|spec| change(spec.ca_config.get_or_insert_default()))
}

fn tokens() -> JoinTokens {
    let mut random = StdRng::seed_from_u64(1);
    let mut token = || JoinToken::generate(RootDigest([7; 32]), &mut random).to_string();
    JoinTokens { worker: token(), manager: token() }
}

/// The certificate of a removed node that ended so many days ago.
fn ended(days: i64) -> BlacklistedCertificate {
    let seconds = NOW.seconds - days * 24 * 60 * 60;
    BlacklistedCertificate { expiry: Some(Timestamp { seconds, nanos: 0 }) }
}

/// A cluster whose root was given by its operator.
pub(super) fn stored() -> View {
    let cluster = wire::Cluster {
        id: "c1".to_owned(),
        spec: Some(authority(|config| {
            config.signing_ca_cert = "-----BEGIN CERTIFICATE-----".into();
            config.signing_ca_key = "key".into();
        })),
        root_ca: Some(RootCa {
            ca_key: "key".into(),
            ca_cert: "certificate".into(),
            join_tokens: Some(tokens()),
            root_rotation: Some(RootRotation { ca_key: "key".into(), ..Default::default() }),
            ..RootCa::default()
        }),
        blacklisted_certificates: [("old".to_owned(), ended(8)), ("recent".to_owned(), ended(6))]
            .into(),
        network_bootstrap_keys: vec![EncryptionKey::default()],
        unlock_keys: vec![EncryptionKey::default()],
        encryption_key_lamport_clock: 7,
        fips: true,
        ..wire::Cluster::default()
    };
    write(&View::default(), |transaction| transaction.create(Cluster::from(cluster))).unwrap()
}

pub(super) fn update(
    view: &View,
    version: u64,
    spec: ClusterSpec,
    rotation: KeyRotation,
) -> Result<View, Error> {
    let valid = ValidCluster::try_from(Some(spec))?;
    let mut random = StdRng::seed_from_u64(2);
    write(view, |transaction| {
        cluster::update(transaction, "c1", version, valid, rotation, NOW, &mut random)
    })
}

fn found(view: &View) -> &Cluster {
    cluster::get(view, "c1").expect("it is stored")
}

#[track_caller]
fn check(spec: ClusterSpec, expected: &str) {
    let outcome = update(&stored(), 1, spec, KeyRotation::default());
    assert_eq!(outcome.map_or_else(|error| refusal(&error), |_| "done".to_owned()), expected);
}

#[test]
fn specs_are_checked() {
    let expiry = |seconds, nanos, expected: &str| {
        let expiry = Some(Duration { seconds, nanos });
        check(authority(|config| config.node_cert_expiry = expiry), expected);
    };
    check(spec(|_| {}), "done");
    expiry(1800, 0, "done");
    expiry(1799, 999_999_999, "IA: minimum certificate expiry time is: 30m0s");
    expiry(0, 0, "IA: minimum certificate expiry time is: 30m0s");
    expiry(-3600, 0, "IA: minimum certificate expiry time is: 30m0s");
    expiry(i64::MAX, 0, "IA: invalid argument");
    let heartbeat = |nanos, expected: &str| {
        let heartbeat_period = Some(Duration { seconds: 0, nanos });
        check(spec(|spec| spec.dispatcher = Some(DispatcherConfig { heartbeat_period })), expected);
    };
    heartbeat(-1, "IA: heartbeat time period cannot be a negative duration");
    heartbeat(1, "done");
    check(
        spec(|spec| spec.annotations = Some(named("other"))),
        "IA: modification of cluster name is not allowed",
    );
    check(spec(|spec| spec.annotations = None), "IA: modification of cluster name is not allowed");
    check(
        authority(|config| config.signing_ca_key = "key".into()),
        "IA: if a signing CA key is provided, the signing CA cert must also be provided",
    );
    let missing = ValidCluster::try_from(None).expect_err("there is no spec");
    assert_eq!(refusal(&missing), "IA: invalid argument");
}

#[test]
#[expect(deprecated, reason = "old clients set it")]
fn admission_secrets_have_one_kind_of_hash() {
    use wire::acceptance_policy::{RoleAdmissionPolicy, role_admission_policy::Secret};
    let hashed = |algorithm: &str| {
        let secret = Some(Secret { alg: algorithm.to_owned(), ..Secret::default() });
        let policies = vec![RoleAdmissionPolicy { secret, ..RoleAdmissionPolicy::default() }];
        spec(|spec| spec.acceptance_policy = Some(wire::AcceptancePolicy { policies }))
    };
    check(hashed("BCrypt"), "done");
    check(hashed("md5"), "IA: hashing algorithm is not supported: md5");
}

#[test]
fn what_is_not_offered_is_refused() {
    let rotation = "UI: this version cannot move a cluster to another root certificate";
    check(authority(|config| config.signing_ca_cert = "-----BEGIN X".into()), rotation);
    check(authority(|config| config.force_rotate = 1), rotation);
    check(authority(|config| config.signing_ca_cert = "no block".into()), "done");
    check(
        spec(|spec| {
            spec.encryption_config = Some(EncryptionConfig { auto_lock_managers: true });
        }),
        "UI: this version cannot lock its managers",
    );
}

#[test]
fn ids_and_versions_are_checked() {
    let text = |outcome: Result<View, Error>| refusal(&outcome.expect_err("refused"));
    let rotation = KeyRotation::default();
    assert_eq!(text(update(&stored(), 9, spec(|_| {}), rotation)), "UK: update out of sequence");
    let nowhere = View::default();
    assert_eq!(text(update(&nowhere, 1, spec(|_| {}), rotation)), "NF: cluster c1 not found");
    let unnamed = cluster::get(&nowhere, "").expect_err("no id");
    assert_eq!(refusal(&unnamed), "IA: invalid argument");
}

#[test]
fn tokens_change_only_when_asked() {
    let old = tokens();
    let rotated = |worker_join_token, manager_join_token| {
        let rotation =
            KeyRotation { worker_join_token, manager_join_token, manager_unlock_key: false };
        let view = update(&stored(), 1, spec(|_| {}), rotation).unwrap();
        let new = found(&view).root_ca.join_tokens.clone().unwrap();
        for token in [&new.worker, &new.manager] {
            let token: JoinToken = token.parse().expect("a token");
            assert_eq!(token.digest, RootDigest([7; 32]));
        }
        (new.worker != old.worker, new.manager != old.manager)
    };
    assert_eq!(rotated(false, false), (false, false));
    assert_eq!(rotated(true, false), (true, false));
    assert_eq!(rotated(false, true), (false, true));
}

#[test]
fn no_key_is_ever_shown() {
    let view = stored();
    let shown = cluster::shown(found(&view));
    let config = shown.spec.and_then(|spec| spec.ca_config).unwrap();
    assert!(config.signing_ca_cert.is_empty() && config.signing_ca_key.is_empty());
    let root = shown.root_ca.unwrap();
    assert!(root.ca_key.is_empty() && root.root_rotation.unwrap().ca_key.is_empty());
    assert_eq!(root.ca_cert, "certificate");
    assert_eq!(root.join_tokens, Some(tokens()));
    assert!(shown.network_bootstrap_keys.is_empty() && shown.unlock_keys.is_empty());
    assert_eq!((shown.encryption_key_lamport_clock, shown.fips), (0, false));
    assert_eq!(shown.default_address_pool, ["10.0.0.0/8"]);
    assert_eq!((shown.subnet_size, shown.vxlanudp_port), (24, 4789));
}

#[test]
fn an_update_forgets_certificates_that_ended_long_ago() {
    let view = update(&stored(), 1, spec(|_| {}), KeyRotation::default()).unwrap();
    let kept_out: Vec<_> = found(&view).rest.blacklisted_certificates.keys().collect();
    assert_eq!(kept_out, ["recent"]);
}

#[test]
fn what_was_never_shown_survives_an_update() {
    let view = stored();
    let shown = cluster::shown(found(&view)).spec.unwrap();
    let view = update(&view, 1, shown, KeyRotation::default()).unwrap();
    let config = found(&view).spec.ca_config.clone().unwrap();
    assert_eq!(config.signing_ca_key, "key");
    assert_eq!(config.signing_ca_cert, "-----BEGIN CERTIFICATE-----");
    assert_eq!(found(&view).root_ca.ca_key, "key");
}
