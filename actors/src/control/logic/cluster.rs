//! The settings of the cluster: what answers may show, and what users may change
//! (validation.md §6).

use std::sync::Arc;

use prost_types::Timestamp;
use protocol::{
    id::ClusterId,
    objects::Cluster,
    token::{InvalidToken, JoinToken},
    wire::{self, ClusterSpec, KeyRotation, RootCa},
};
use rand::{CryptoRng, RngCore};

use super::node;
use crate::{
    control::{Error, validate::ValidCluster},
    store::{Transaction, View},
};

const DEFAULT_POOL: &str = "10.0.0.0/8";
const DEFAULT_SUBNET_SIZE: u32 = 24;
const DEFAULT_DATA_PATH_PORT: u32 = 4789;

/// Returns a cluster by its id.
pub fn get<'a>(view: &'a View, id: &str) -> Result<&'a Arc<Cluster>, Error> {
    if id.is_empty() {
        return Err(Error::incomplete());
    }
    view.cluster(&ClusterId::from(id)).ok_or_else(|| Error::not_found("cluster", id))
}

/// What answers show: no key, and defaults where nothing is set.
pub fn shown(cluster: &Cluster) -> wire::Cluster {
    let whole = wire::Cluster::from(cluster);
    let mut spec = whole.spec.unwrap_or_default();
    if let Some(config) = &mut spec.ca_config {
        config.signing_ca_key.clear();
        config.signing_ca_cert.clear();
    }
    let root = whole.root_ca.unwrap_or_default();
    let rotation = root.root_rotation.map(|mut rotation| {
        rotation.ca_key.clear();
        rotation
    });
    let root_ca = RootCa { ca_key: Default::default(), root_rotation: rotation, ..root };
    let unset = whole.default_address_pool.is_empty();
    wire::Cluster {
        id: whole.id,
        meta: whole.meta,
        spec: Some(spec),
        root_ca: Some(root_ca),
        blacklisted_certificates: whole.blacklisted_certificates,
        default_address_pool: match unset {
            true => vec![DEFAULT_POOL.to_owned()],
            false => whole.default_address_pool,
        },
        subnet_size: if unset { DEFAULT_SUBNET_SIZE } else { whole.subnet_size },
        vxlanudp_port: match whole.vxlanudp_port {
            0 => DEFAULT_DATA_PATH_PORT,
            port => port,
        },
        ..wire::Cluster::default()
    }
}

/// Replaces the spec of a cluster that was read at `version`; `rotation` says which tokens and keys
/// to make anew.
///
/// `now` drops what is long past of the certificates that are not let in.
///
/// Moving to another root certificate, signing through external CAs and locking the managers are not
/// offered, and refused, so that nobody believes that they have happened.
pub fn update(
    transaction: &mut Transaction,
    id: &str,
    version: u64,
    valid: ValidCluster,
    rotation: KeyRotation,
    now: Timestamp,
    random: &mut (impl RngCore + CryptoRng),
) -> Result<(), Error> {
    let stored = get(transaction, id)?.clone();
    let mut spec = valid.into_spec();
    check_offered(&stored.spec, &spec, rotation)?;
    if let (Some(config), Some(before)) = (&mut spec.ca_config, &stored.spec.ca_config) {
        // Answers never showed these, so a client that sends back what it read leaves them out.
        config.signing_ca_cert = before.signing_ca_cert.clone();
        config.signing_ca_key = before.signing_ca_key.clone();
    }
    let mut tokens = stored.root_ca.join_tokens.clone().unwrap_or_default();
    if rotation.worker_join_token {
        tokens.worker = rotated(&tokens.worker, random)?;
    }
    if rotation.manager_join_token {
        tokens.manager = rotated(&tokens.manager, random)?;
    }
    let mut cluster = Cluster::clone(&stored);
    cluster.meta.version = version;
    cluster.spec = Arc::new(spec);
    node::drop_expired(&mut Arc::make_mut(&mut cluster.rest).blacklisted_certificates, now);
    cluster.root_ca = Arc::new(RootCa { join_tokens: Some(tokens), ..(*stored.root_ca).clone() });
    Ok(transaction.update(cluster)?)
}

fn check_offered(
    before: &ClusterSpec,
    after: &ClusterSpec,
    rotation: KeyRotation,
) -> Result<(), Error> {
    let refuse = |text: &str| Err(Error::Unimplemented(text.to_owned()));
    let old = before.ca_config.clone().unwrap_or_default();
    let new = after.ca_config.clone().unwrap_or_default();
    let is_new_root =
        contains_pem(&new.signing_ca_cert) && new.signing_ca_cert != old.signing_ca_cert;
    if is_new_root || new.force_rotate != old.force_rotate {
        return refuse("this version cannot move a cluster to another root certificate");
    }
    if !new.external_cas.is_empty() && new.external_cas != old.external_cas {
        return refuse(
            "this version signs with its own root certificate, not through external CAs",
        );
    }
    let locks = after.encryption_config.is_some_and(|config| config.auto_lock_managers);
    if locks || rotation.manager_unlock_key {
        return refuse("this version cannot lock its managers");
    }
    Ok(())
}

/// Text without any block counts as not given.
fn contains_pem(text: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN ";
    text.windows(BEGIN.len()).any(|window| window == BEGIN)
}

/// A token with a new secret. Whoever knows the old one can no longer join.
fn rotated(token: &str, random: &mut (impl RngCore + CryptoRng)) -> Result<String, Error> {
    let token: JoinToken = token.parse().map_err(|error: InvalidToken| {
        Error::Internal(format!("the stored join token cannot be read: {error}"))
    })?;
    Ok(token.rotated(random).to_string())
}
