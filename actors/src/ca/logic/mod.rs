//! What every certificate of a cluster contains, and how long it is valid
//! (`cluster-security-dispatch` §1).

pub mod access;
pub(super) mod answers;
pub mod calls;

use std::time::Duration;

use prost_types::Timestamp;
use protocol::{
    id::{ClusterId, NodeId},
    objects::Node,
    wire::{Certificate, IssuanceStatus, NodeRole, issuance_status::State, node_spec::Membership},
};
use rand::Rng;

/// The common name of a root certificate, and a name that the certificate of every manager is
/// also valid for: joining nodes ask for it before they know any manager.
pub const AUTHORITY_NAME: &str = "swarm-ca";

/// How long a node certificate is valid when the cluster does not say: ninety days.
pub const NODE_EXPIRY_DEFAULT: Duration = Duration::from_secs(2160 * 60 * 60);

/// The shortest validity that a cluster may ask for; SwarmKit's is an hour. Below it a stored one is
/// taken for a mistake.
pub const NODE_EXPIRY_MIN: Duration = Duration::from_secs(30 * 60);

/// How long a root certificate is valid: twenty years of 365 days.
const ROOT_EXPIRY_SECONDS: i64 = 630_720_000;

/// How far a new root certificate is dated back, for machines whose clocks are behind.
const ROOT_BACKDATE_SECONDS: i64 = 5 * 60;

/// How far a new node certificate is dated back, for machines whose clocks are behind; its end is
/// later by as much.
const NODE_BACKDATE_SECONDS: i64 = 60 * 60;

/// The moments between which a certificate is valid; whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first moment, in seconds since 1970.
    pub not_before_seconds: i64,
    /// The last moment, in seconds since 1970.
    pub not_after_seconds: i64,
}

/// Whom a node certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The node's id: the common name.
    pub node_id: NodeId,
    /// The node's role: the organizational unit.
    pub role: NodeRole,
    /// The cluster's id: the organization.
    pub cluster_id: ClusterId,
}

/// Returns how a role is spelled in certificates.
pub fn organizational_unit(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Worker => "swarm-worker",
        NodeRole::Manager => "swarm-manager",
    }
}

/// Returns the role that a certificate's organizational unit stands for.
pub fn role_of(spelling: &str) -> Option<NodeRole> {
    [NodeRole::Worker, NodeRole::Manager]
        .into_iter()
        .find(|role| organizational_unit(*role) == spelling)
}

/// Returns the host names a node certificate is valid for.
pub fn host_names(subject: &Subject) -> Vec<&str> {
    let mut names = vec![organizational_unit(subject.role), subject.node_id.as_str()];
    if subject.role == NodeRole::Manager {
        names.push(AUTHORITY_NAME);
    }
    names
}

/// Returns when a root certificate made now is valid.
pub fn root_window(now: &Timestamp) -> Window {
    let not_before_seconds = nearest_minute(now) - ROOT_BACKDATE_SECONDS;
    Window { not_before_seconds, not_after_seconds: not_before_seconds + ROOT_EXPIRY_SECONDS }
}

/// Returns when a node certificate made now is valid, for a validity of `expiry`.
///
/// It is never dated back by more than that: half of its life would be over when it begins, and a
/// node would renew it at once, again and again.
pub fn node_window(now: &Timestamp, expiry: Duration) -> Window {
    let expiry_seconds = i64::try_from(expiry.as_secs()).unwrap_or(ROOT_EXPIRY_SECONDS);
    let expiry_seconds = expiry_seconds.min(ROOT_EXPIRY_SECONDS);
    let made_seconds = nearest_minute(now);
    Window {
        not_before_seconds: made_seconds - expiry_seconds.min(NODE_BACKDATE_SECONDS),
        not_after_seconds: made_seconds.saturating_add(expiry_seconds),
    }
}

/// Returns when a node certificate was made, to half a minute: the other way round.
fn made_seconds(window: Window) -> i64 {
    let Window { not_before_seconds, not_after_seconds } = window;
    let seconds = not_after_seconds.saturating_sub(not_before_seconds);
    not_before_seconds.saturating_add(NODE_BACKDATE_SECONDS.min(seconds / 2))
}

/// Returns how long node certificates are to be valid: what the cluster says, unless it says
/// nothing or less than the shortest there is.
pub fn node_expiry(configured: Option<&prost_types::Duration>) -> Duration {
    configured
        .and_then(|configured| Duration::try_from(*configured).ok())
        .filter(|expiry| *expiry >= NODE_EXPIRY_MIN)
        .unwrap_or(NODE_EXPIRY_DEFAULT)
}

/// Returns whether a certificate has ended.
pub fn has_expired(window: Window, now: &Timestamp) -> bool {
    now.seconds > window.not_after_seconds
}

fn nearest_minute(moment: &Timestamp) -> i64 {
    (moment.seconds + 30).div_euclid(60) * 60
}

/// Whether nothing more becomes of a request by itself.
pub fn is_final(certificate: &Certificate) -> bool {
    match state(certificate) {
        State::Unknown | State::Renew | State::Pending => false,
        State::Issued | State::Failed | State::Rotate => true,
    }
}

/// Whether a node waits for a certificate, and may have one.
pub fn is_due(node: &Node) -> bool {
    match state(&node.certificate) {
        State::Renew => true,
        State::Pending => node.spec.membership() == Membership::Accepted,
        State::Unknown | State::Issued | State::Failed | State::Rotate => false,
    }
}

fn state(certificate: &Certificate) -> State {
    certificate.status.as_ref().map(IssuanceStatus::state).unwrap_or_default()
}

/// When a certificate is to be renewed, in seconds since 1970: so many whole minutes after its
/// beginning, drawn from half to four fifths of its life (`cluster-security-dispatch` §6).
pub fn renewal_seconds(window: Window, random: &mut impl Rng) -> i64 {
    let Window { not_before_seconds, not_after_seconds } = window;
    let minutes = not_after_seconds.saturating_sub(not_before_seconds) / 60;
    let (from, to) = (minutes / 2, minutes * 4 / 5);
    let minute = if from < to { random.gen_range(from..to) } else { from };
    not_before_seconds.saturating_add(minute.saturating_mul(60))
}

/// The longest and shortest wait before a renewal is tried again.
const BACKOFF_MAX: Duration = Duration::from_secs(60 * 60);
const BACKOFF_STEP: Duration = Duration::from_secs(5);
/// The longest once the certificate has ended: until it is renewed the node can do nothing.
const BACKOFF_ENDED_MAX: Duration = Duration::from_secs(60);
/// The longest while a manager has said that the node is another than its certificate says: an operator
/// waits for that.
const BACKOFF_AWAITED_MAX: Duration = Duration::from_secs(20);

/// How long to wait after so many renewals that failed in a row, of a certificate that ends in so
/// many seconds: drawn below a bound that doubles, and not for longer than it is valid; nor for long where
/// another role `is_awaited`.
pub fn renewal_backoff(
    failures: u32,
    left_seconds: i64,
    is_awaited: bool,
    random: &mut impl Rng,
) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let bound = BACKOFF_STEP.saturating_mul(factor).saturating_add(BACKOFF_STEP);
    let left = Duration::from_secs(u64::try_from(left_seconds).unwrap_or_default());
    let max = match is_awaited {
        true => BACKOFF_AWAITED_MAX,
        false => left.clamp(BACKOFF_ENDED_MAX, BACKOFF_MAX),
    };
    random.gen_range(Duration::ZERO..bound.min(max))
}
