//! Nodes that keep nothing on the disk: their identity is gone with the process.

use std::sync::Arc;

use actors::environment::Clock;
use bytes::Bytes;
use protocol::id::NodeId;
use rustls::pki_types::CertificateDer;

use super::{Error, Invitation, authority, authority::Wanted, connected, root};
use crate::identity::{Credentials, NewPair, certificates};

/// A cluster that is trusted: its root is the one that a token pins.
pub struct Cluster {
    root_pem: Bytes,
    roots: Vec<CertificateDer<'static>>,
}

impl Cluster {
    /// Asks a manager for the root.
    pub async fn of(invitation: &Invitation, clock: &dyn Clock) -> Result<Self, Error> {
        let (root_pem, _) = root(invitation, clock).await?;
        let roots = certificates(&root_pem).map_err(Error::Root)?;
        Ok(Self { root_pem, roots })
    }

    /// Gets one more node in.
    pub async fn admit(
        &self,
        invitation: &Invitation,
        clock: &dyn Clock,
    ) -> Result<(NodeId, Arc<Credentials>), Error> {
        let Invitation { address, token, availability } = invitation;
        let connection = connected(address, &self.roots).await?;
        let pair = NewPair::generate().map_err(Error::Identity)?;
        let (csr, token) = (pair.signing_request(), token.to_string());
        let wanted = Wanted { csr, token, availability: *availability, now: clock.now() };
        let issued = authority::issued(address, connection.channel, &wanted).await?;
        let received = pair.received(&self.root_pem, &issued, &clock.now());
        let (chain, key) = received.map_err(Error::Issued)?;
        let credentials = Credentials::new(&chain.certificates, &key, &self.roots);
        Ok((chain.subject.node_id, credentials.map_err(Error::Tls)?))
    }
}
