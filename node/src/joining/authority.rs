//! The cluster's authority, asked over the network.

use std::{sync::Arc, time::Duration};

use actors::environment::Clock;
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use prost_types::Timestamp;
use protocol::wire::{
    IssueNodeCertificateRequest, NodeCertificateStatusRequest, issuance_status::State,
    node_ca_client::NodeCaClient,
};
use rustls::ClientConfig;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status, transport::Channel};

use super::{Error, skew::Skew};
use crate::{
    identity::Issuer,
    remote::{Name, described, dial},
};

/// How long each call may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// How long a certificate may take in all, and the pause between two questions for it.
const ISSUED_WITHIN: Duration = Duration::from_secs(60);
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// A certificate that is asked for.
pub(super) struct Wanted {
    /// The signing request, in PEM.
    pub(super) csr: String,
    /// What lets a new node in; empty for one that renews.
    pub(super) token: String,
    /// Whether a new node takes tasks.
    pub(super) availability: i32,
    /// What time it is here.
    pub(super) now: Timestamp,
}

/// Asks for a certificate and waits for it.
pub(super) async fn issued(
    address: &str,
    channel: Channel,
    wanted: &Wanted,
) -> Result<Bytes, Error> {
    let waited = timeout(ISSUED_WITHIN, signed(address, channel, wanted)).await;
    waited.unwrap_or_else(|_| Err(Error::Silent { address: address.to_owned() }))
}

async fn signed(address: &str, channel: Channel, wanted: &Wanted) -> Result<Bytes, Error> {
    let mut authority = NodeCaClient::new(channel);
    let csr = Bytes::from(wanted.csr.clone());
    let request = IssueNodeCertificateRequest {
        csr: csr.clone(),
        token: wanted.token.clone(),
        availability: wanted.availability,
        ..Default::default()
    };
    let asked = timeout(ANSWERED_WITHIN, authority.issue_node_certificate(request)).await;
    let silent = |_| Error::Silent { address: address.to_owned() };
    let refused = |status: Status| {
        let skew = Skew::of(status.metadata(), &wanted.now);
        Error::refused(address, &status).with(skew)
    };
    let asked = asked.map_err(silent)?.map_err(refused)?;
    let skew = Skew::of(asked.metadata(), &wanted.now);
    if let Some(skew) = skew {
        tracing::warn!(%skew, "this machine's clock is off");
    }
    let node_id = asked.into_inner().node_id;
    loop {
        let request = NodeCertificateStatusRequest { node_id: node_id.clone() };
        let answer = authority.node_certificate_status(request);
        match timeout(ANSWERED_WITHIN, answer).await {
            Ok(Ok(answer)) => {
                let answer = answer.into_inner();
                let status = answer.status.unwrap_or_default();
                let issued = answer.certificate.filter(|certificate| certificate.csr == csr);
                match (status.state(), issued) {
                    (State::Issued | State::Rotate, Some(issued)) => return Ok(issued.certificate),
                    (State::Failed, Some(_)) => {
                        let address = address.to_owned();
                        return Err(Error::Refused { address, answer: status.err }.with(skew));
                    }
                    // Another request of this node came in between, or it is not decided.
                    (State::Issued | State::Rotate | State::Failed, None)
                    | (State::Unknown | State::Renew | State::Pending, _) => {}
                }
            }
            Ok(Err(status)) if status.code() != Code::Unavailable => {
                return Err(refused(status));
            }
            Ok(Err(_)) | Err(_) => {}
        }
        sleep(ASKED_EVERY).await;
    }
}

/// Where managers are that can be asked, best first.
pub type Authorities = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// Renews certificates by asking other managers.
#[derive(Clone)]
pub struct RemoteAuthority {
    managers: Authorities,
    tls: Arc<ClientConfig>,
    clock: Arc<dyn Clock>,
}

impl RemoteAuthority {
    /// Asks these managers, as the node of a certificate.
    pub fn new(managers: Authorities, tls: Arc<ClientConfig>, clock: Arc<dyn Clock>) -> Self {
        Self { managers, tls, clock }
    }

    /// Where managers are that can be asked now.
    pub fn managers(&self) -> Vec<String> {
        (self.managers)()
    }

    async fn ask(&self, csr: String) -> Result<Bytes, Error> {
        let now = self.clock.now();
        let wanted = Wanted { csr, token: String::new(), availability: 0, now };
        let mut last = Error::NoManager;
        for address in (self.managers)() {
            let asked = match dial(&address, Name::Authority, self.tls.clone()).await {
                Ok(connection) => issued(&address, connection.channel, &wanted).await,
                Err(error) => Err(error.into()),
            };
            match asked {
                Ok(certificate) => return Ok(certificate),
                // One may be behind, or sick, and another not.
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Issuer for RemoteAuthority {
    fn issue(&self, csr: String) -> BoxFuture<'static, Result<Bytes, String>> {
        let authority = self.clone();
        async move { authority.ask(csr).await.map_err(|error| described(&error)) }.boxed()
    }
}
