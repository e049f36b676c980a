//! What machines show each other: certificates that say the same as real ones, signed with nothing.
//! Who gets one, what it says and what it is good for is decided by `actors::ca`, as it is for real.

pub mod door;
pub mod life;
pub mod steward;

use std::{sync::Arc, time::Duration};

use actors::ca::{
    Signer,
    logic::{
        NODE_EXPIRY_MIN, Subject, Window, access::Certificate, node_window, organizational_unit,
        role_of,
    },
    port::{self, Request},
};
use bytes::Bytes;
use prost_types::Timestamp;
use protocol::wire::NodeRole;

/// How long certificates are valid here: as short as can be, so that a run sees renewals.
pub const EXPIRY: Duration = NODE_EXPIRY_MIN;

/// The cluster that all certificates name.
const CLUSTER: &str = "cluster1";

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whom it names.
    pub subject: Subject,
    /// When it is valid.
    pub window: Window,
    /// The key that it was issued for: what a signing request carries.
    pub key: String,
}

impl Identity {
    /// That of a founder, which nobody had to ask for.
    pub fn founding(node_id: &str, now: &Timestamp) -> Self {
        let subject = Subject {
            node_id: node_id.into(),
            role: NodeRole::Manager,
            cluster_id: CLUSTER.into(),
        };
        Self { subject, window: node_window(now, EXPIRY), key: "founding".to_owned() }
    }

    /// Reads what the authority has written.
    pub fn read(certificate: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(certificate).ok()?;
        let fields: Vec<_> = text.split(' ').collect();
        let [node_id, unit, cluster_id, from, until, key] = fields[..] else { return None };
        let subject = Subject {
            node_id: node_id.into(),
            role: role_of(unit)?,
            cluster_id: cluster_id.into(),
        };
        let window = Window {
            not_before_seconds: from.parse().ok()?,
            not_after_seconds: until.parse().ok()?,
        };
        Some(Self { subject, window, key: key.to_owned() })
    }

    /// As it is judged.
    pub fn certificate(&self) -> Certificate<'_> {
        Certificate { subject: &self.subject, window: self.window }
    }

    /// Whether its owner is a manager, as it says.
    pub fn is_manager(&self) -> bool {
        self.subject.role == NodeRole::Manager
    }
}

struct Hand;

impl Signer for Hand {
    fn sign(&self, request: &Request<'_>) -> Result<Bytes, port::Error> {
        let Subject { node_id, role, cluster_id } = request.subject;
        let Window { not_before_seconds, not_after_seconds } =
            node_window(&request.now, request.expiry);
        let (unit, key) = (organizational_unit(*role), String::from_utf8_lossy(request.csr));
        let text =
            format!("{node_id} {unit} {cluster_id} {not_before_seconds} {not_after_seconds} {key}");
        Ok(text.into())
    }
}

/// Signs what [`Identity::read`] reads.
pub fn signer() -> port::Shared {
    Arc::new(Hand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_read() {
        let now = Timestamp { seconds: 1_000_000_020, nanos: 0 };
        let subject =
            Subject { node_id: "n1".into(), role: NodeRole::Worker, cluster_id: "cluster1".into() };
        let root = Default::default();
        let request = Request { root: &root, csr: b"k1", subject: &subject, expiry: EXPIRY, now };
        let signed = signer().sign(&request).expect("it signs everything");
        let window = node_window(&now, EXPIRY);
        let expected = Identity { subject, window, key: "k1".to_owned() };
        assert_eq!(Identity::read(&signed), Some(expected));
        assert_eq!(Identity::read(b"n1 swarm-worker"), None);
    }
}
