//! Which certificate was shown on a connection: whoever is at the other end goes by that one, also
//! when it has ended and this node has another.

use std::sync::Arc;

use rustls::{ClientConfig, sign::CertifiedKey};

/// The certificate that was shown, and where the one is that is shown now.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    tls: Option<Arc<ClientConfig>>,
    certificate: Option<Arc<CertifiedKey>>,
}

impl Shown {
    /// What is shown on a connection that begins now.
    pub fn now(tls: &Arc<ClientConfig>) -> Self {
        Self { tls: Some(tls.clone()), certificate: certificate(tls) }
    }

    /// Whether a new connection would show another certificate.
    pub fn is_outdated(&self) -> bool {
        let now = self.tls.as_deref().and_then(certificate);
        now.as_ref().map(Arc::as_ptr) != self.certificate.as_ref().map(Arc::as_ptr)
    }
}

fn certificate(tls: &ClientConfig) -> Option<Arc<CertifiedKey>> {
    tls.client_auth_cert_resolver.resolve(&[], &[])
}
