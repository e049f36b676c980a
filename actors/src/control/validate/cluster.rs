//! The settings of the cluster, as far as the spec alone decides (validation.md §6).

use prost::Message;
use protocol::wire::{CaConfig, ClusterSpec};

use super::duration::nanoseconds;
use crate::{ca::logic::NODE_EXPIRY_MIN, cluster::CLUSTER_NAME, control::Error};

/// How large the defaults of tasks may be, encoded: a task whose spec has no log driver holds the
/// cluster's, in the room that `SPEC_BYTES_MAX` leaves beside two specs.
pub const TASK_DEFAULTS_BYTES_MAX: usize = 16 * 1024;

const HASHING_ALGORITHM: &str = "bcrypt";

/// A cluster spec that passed every check which needs no look at the cluster.
#[derive(Clone, Debug)]
pub struct ValidCluster(ClusterSpec);

impl ValidCluster {
    /// The spec.
    pub fn into_spec(self) -> ClusterSpec {
        self.0
    }
}

impl TryFrom<Option<ClusterSpec>> for ValidCluster {
    type Error = Error;

    fn try_from(spec: Option<ClusterSpec>) -> Result<Self, Error> {
        let spec = spec.ok_or_else(Error::incomplete)?;
        let authority = spec.ca_config.as_ref();
        check_expiry(authority)?;
        check_hashes(&spec)?;
        let period = spec.dispatcher.as_ref().and_then(|config| config.heartbeat_period.as_ref());
        if nanoseconds(period, "heartbeat time period")? < 0 {
            return Err(Error::invalid("heartbeat time period cannot be a negative duration"));
        }
        let name = spec.annotations.as_ref().map_or("", |annotations| &annotations.name);
        if name != CLUSTER_NAME {
            return Err(Error::invalid("modification of cluster name is not allowed"));
        }
        let is_key_alone = |config: &CaConfig| {
            config.signing_ca_cert.is_empty() && !config.signing_ca_key.is_empty()
        };
        if authority.is_some_and(is_key_alone) {
            return Err(Error::invalid(
                "if a signing CA key is provided, the signing CA cert must also be provided",
            ));
        }
        let bytes = spec.task_defaults.as_ref().map_or(0, Message::encoded_len);
        if bytes > TASK_DEFAULTS_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the defaults of tasks are too large: {bytes} bytes, and at most \
                 {TASK_DEFAULTS_BYTES_MAX} are possible"
            )));
        }
        Ok(Self(spec))
    }
}

fn check_expiry(authority: Option<&CaConfig>) -> Result<(), Error> {
    let Some(expiry) = authority.and_then(|config| config.node_cert_expiry.as_ref()) else {
        return Ok(());
    };
    let expiry = nanoseconds(Some(expiry), "expiry").map_err(|_| Error::incomplete())?;
    if i128::from(expiry) < NODE_EXPIRY_MIN.as_nanos().cast_signed() {
        return Err(Error::invalid("minimum certificate expiry time is: 30m0s"));
    }
    Ok(())
}

/// Secrets that admit nodes are kept as hashes of one kind.
#[expect(deprecated, reason = "old clients set it, and are told what is wrong with it")]
fn check_hashes(spec: &ClusterSpec) -> Result<(), Error> {
    let policies = spec.acceptance_policy.iter().flat_map(|policy| &policy.policies);
    let mut algorithms = policies.filter_map(|policy| Some(&policy.secret.as_ref()?.alg));
    match algorithms.find(|algorithm| !algorithm.eq_ignore_ascii_case(HASHING_ALGORITHM)) {
        Some(other) => Err(Error::invalid(format!("hashing algorithm is not supported: {other}"))),
        None => Ok(()),
    }
}
