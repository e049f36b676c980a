//! Why a node does not get into a cluster.

use tonic::Status;

use super::skew::Skew;
use crate::{
    identity::{self, Invalid},
    remote::DialError,
};

/// What managers say while nobody leads, or when somebody else does than a moment ago. What a node asks for
/// to join may be asked for again, also if nobody knows whether it was written.
const PASSING: [&str; 3] =
    ["code = Unavailable", "code = Aborted", "it may have been written or not"];

/// Why a node does not get into a cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The manager cannot be reached, or is not trusted.
    #[error("the cluster cannot be joined")]
    Dial(#[from] DialError),
    /// The manager says no.
    #[error("the manager at {address} does not let this node join: {answer}")]
    Refused {
        /// The manager's address.
        address: String,
        /// What it says, as SwarmKit's tools show it.
        answer: String,
    },
    /// The manager says nothing.
    #[error("the manager at {address} does not answer in time")]
    Silent {
        /// The manager's address.
        address: String,
    },
    /// The cluster is another one than that of the token.
    #[error("remote CA does not match fingerprint. Expected: {expected}")]
    AnotherRoot {
        /// The digest that the token pins.
        expected: String,
    },
    /// The manager's root is no certificate.
    #[error("the manager's root certificate cannot be used")]
    Root(#[source] Invalid),
    /// The cluster wants what this version does not have.
    #[error("node is not FIPS-enabled but cluster requires FIPS")]
    Fips,
    /// What the cluster has issued cannot be used, or not be written.
    #[error("the cluster has issued an identity that cannot be used")]
    Identity(#[source] identity::Error),
    /// What the cluster has issued is no certificate for the key.
    #[error("the cluster has issued a certificate that cannot be used")]
    Issued(#[source] Invalid),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// Nobody is known who could be asked.
    #[error(
        "this manager has no log, and knows no other manager: say with --join-addr where one is, \
         or put the raft folder back"
    )]
    NoManager,
    /// The clocks are so far apart that no certificate would do.
    #[error("this machine's clock is {skew}: set it right and try again")]
    Clock {
        /// How far they are apart.
        skew: Skew,
    },
    /// Something failed, and the clocks are apart, which may be why.
    #[error("this machine's clock is {skew}: set it right and try again")]
    Skewed {
        /// How far they are apart.
        skew: Skew,
        /// What failed.
        source: Box<Error>,
    },
}

impl Error {
    /// The refusal of a manager.
    pub(super) fn refused(address: &str, status: &Status) -> Self {
        let answer = format!("rpc error: code = {:?} desc = {}", status.code(), status.message());
        Self::Refused { address: address.to_owned(), answer }
    }

    /// Names a clock that is far off, which may be the cause.
    pub(super) fn with(self, skew: Option<Skew>) -> Self {
        match (skew, self) {
            (Some(skew), error) if !matches!(error, Self::Skewed { .. }) => {
                Self::Skewed { skew, source: Box::new(error) }
            }
            (_, error) => error,
        }
    }

    /// Whether asking the same again may help.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Dial(_) | Self::Silent { .. } => true,
            Self::Refused { answer, .. } => PASSING.iter().any(|part| answer.contains(part)),
            Self::Skewed { source, .. } => source.may_pass(),
            Self::AnotherRoot { .. }
            | Self::Root(_)
            | Self::Fips
            | Self::Identity(_)
            | Self::Issued(_)
            | Self::Tls(_)
            | Self::NoManager
            | Self::Clock { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn what_a_change_of_leader_brings_may_pass() {
        let unknown = "the leader changed while this was being written: it may have been written or not; \
                       look before you try again";
        for (code, text, expected) in [
            (Code::Unavailable, "raft: no elected cluster leader", true),
            (Code::Aborted, "CA signer is stopped", true),
            (Code::Unknown, unknown, true),
            (Code::Unknown, "raft: raft message is too large and can't be sent", false),
            (Code::InvalidArgument, "A valid join token is necessary to join this cluster", false),
        ] {
            let error = Error::refused("m1:4242", &Status::new(code, text));
            assert_eq!(error.may_pass(), expected, "{error}");
        }
    }
}
