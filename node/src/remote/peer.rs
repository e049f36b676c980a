//! Who is at the other end of a connection of the network port.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use actors::ca::logic::{Subject, Window};
use rustls::pki_types::CertificateDer;

use crate::identity::{Chain, Invalid};

/// Who is at the other end of a connection; every request of it carries this.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it calls from.
    pub address: SocketAddr,
    /// At which address of this node.
    pub here: IpAddr,
    /// What it has shown, if anything.
    pub certificate: Option<Arc<Presented>>,
}

/// What a certificate says. A trusted root stands behind it, but it may have ended.
#[derive(Clone, Debug)]
pub struct Presented {
    /// Whom it names.
    pub subject: Subject,
    /// When it is valid.
    pub window: Window,
}

impl Peer {
    /// Reads what a handshake has brought.
    pub(super) fn new(
        address: SocketAddr,
        here: IpAddr,
        certificates: Option<&[CertificateDer<'_>]>,
    ) -> Result<Self, Invalid> {
        let presented = |certificates: &[CertificateDer<'_>]| {
            let certificates = certificates.iter().map(|one| one.clone().into_owned()).collect();
            let Chain { subject, window, .. } = Chain::of(certificates)?;
            Ok(Arc::new(Presented { subject, window }))
        };
        Ok(Self { address, here, certificate: certificates.map(presented).transpose()? })
    }
}
