//! What signs.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost_types::Timestamp;
use protocol::wire::RootCa;

use super::logic::Subject;

/// What is to be signed.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The root that issues, with its private key.
    pub root: &'a RootCa,
    /// The signing request as it came, in PEM.
    pub csr: &'a [u8],
    /// Whom the certificate is to name.
    pub subject: &'a Subject,
    /// How long it is to be valid.
    pub expiry: Duration,
    /// When it is signed.
    pub now: Timestamp,
}

/// Why something was not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The authority cannot sign anything now.
    #[error("{0}")]
    Unready(String),
    /// This request cannot be signed, now or later.
    #[error("{0}")]
    Refused(String),
}

/// Signs with the root's key. May take as long as a signature takes, on the thread of the loops.
pub trait Signer: Send + Sync + 'static {
    /// Returns the certificate for a request, in PEM.
    ///
    /// # Errors
    ///
    /// Whether it is the request or the authority that is no good.
    fn sign(&self, request: &Request<'_>) -> Result<Bytes, Error>;
}

/// A shared signer.
pub type Shared = Arc<dyn Signer>;

/// A signer for tests.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    use std::sync::Arc;

    use super::{Bytes, Error, Request, Shared, Signer};

    struct Stamp;

    impl Signer for Stamp {
        fn sign(&self, Request { csr, subject, .. }: &Request<'_>) -> Result<Bytes, Error> {
            if *csr == b"bad" {
                return Err(Error::Refused("no good".to_owned()));
            }
            let csr = String::from_utf8_lossy(csr);
            Ok(format!("{} {:?} {csr}", subject.node_id, subject.role).into())
        }
    }

    /// Writes whom a certificate names and what it was asked with; refuses `bad`.
    pub fn signer() -> Shared {
        Arc::new(Stamp)
    }
}
