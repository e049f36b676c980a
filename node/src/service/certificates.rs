//! `docker.swarmkit.v1.CA` and `NodeCA`: roots and certificates, for nodes and for those who want
//! to become one.

use std::{net::SocketAddr, time::Duration};

use actors::{
    ca::logic::{access::Caller, calls},
    control::Error,
    store::{NotWritten, TransactError, View},
};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use protocol::{
    id::NodeId,
    wire::{
        GetRootCaCertificateRequest, GetRootCaCertificateResponse, GetUnlockKeyRequest,
        GetUnlockKeyResponse, IssueNodeCertificateRequest, IssueNodeCertificateResponse,
        NodeCertificateStatusRequest, NodeCertificateStatusResponse, ca_server,
        issuance_status::State, node_ca_server,
    },
};
use rand::rngs::OsRng;
use tokio::time::timeout;
use tonic::{Request, Response, Status};
use tracing::field::{DisplayValue, display};

use super::{
    End, Leadership,
    access::{CallerAddress, caller},
    status::{SIGNER_STOPPED, leaderless, refused, unwritten},
};
use crate::identity::Issuer;

/// How long a renewal waits for its certificate.
const ISSUED_WITHIN: Duration = Duration::from_secs(30);

/// Answers as the leader, or not at all.
#[derive(Clone)]
pub struct Certificates {
    leadership: Leadership,
    node_id: NodeId,
    /// Resolves when the daemon ends: a call that waits would hold it up.
    end: End,
}

impl Certificates {
    /// Issues for what this manager leads; a caller on the control socket is `node_id`. Calls that
    /// wait end with `end`.
    pub fn new(leadership: Leadership, node_id: NodeId, end: End) -> Self {
        Self { leadership, node_id, end }
    }

    async fn ask(
        &self,
        caller: Caller,
        request: IssueNodeCertificateRequest,
    ) -> Result<IssueNodeCertificateResponse, TransactError<Error>> {
        let store = &self.leadership.store;
        store.transact(move |head| calls::issue(head, &caller, &request, &mut OsRng)).await
    }

    /// Waits until a request has been answered.
    async fn answered(
        &self,
        request: &NodeCertificateStatusRequest,
        is_meant: impl Fn(&NodeCertificateStatusResponse) -> bool,
    ) -> Result<NodeCertificateStatusResponse, Error> {
        let store = &self.leadership.store;
        loop {
            let view = store.view();
            if let Some(answer) = calls::status(&view, request)?.filter(&is_meant) {
                return Ok(answer);
            }
            store.feed().news(view.index()).await;
        }
    }

    async fn current(&self) -> Result<View, Status> {
        self.leadership.current().await.map_err(leaderless)
    }
}

/// From where a caller reaches this cluster, as the log shows it.
fn address<T>(request: &Request<T>) -> Option<DisplayValue<SocketAddr>> {
    request.extensions().get::<CallerAddress>().map(|CallerAddress(address)| display(*address))
}

/// The outcome of a request that was not written down.
pub(super) fn unissued(error: &TransactError<Error>) -> Status {
    let is_stopped = *error == TransactError::NotWritten(NotWritten::NotLeading);
    if is_stopped { Status::aborted(SIGNER_STOPPED) } else { unwritten(error) }
}

#[tonic::async_trait]
impl ca_server::Ca for Certificates {
    async fn get_root_ca_certificate(
        &self,
        request: Request<GetRootCaCertificateRequest>,
    ) -> Result<Response<GetRootCaCertificateResponse>, Status> {
        let view = self.current().await?;
        if matches!(caller(&request), Ok(Caller::Stranger)) {
            // All that is seen here of one that finds that this is not the cluster it wants.
            tracing::info!(address = address(&request), "a stranger has asked for the root");
        }
        calls::root(&view).map(Response::new).map_err(|error| refused(&error))
    }

    async fn get_unlock_key(
        &self,
        _: Request<GetUnlockKeyRequest>,
    ) -> Result<Response<GetUnlockKeyResponse>, Status> {
        let view = self.current().await?;
        calls::unlock_key(&view).map(Response::new).map_err(|error| refused(&error))
    }
}

#[tonic::async_trait]
impl node_ca_server::NodeCa for Certificates {
    async fn issue_node_certificate(
        &self,
        request: Request<IssueNodeCertificateRequest>,
    ) -> Result<Response<IssueNodeCertificateResponse>, Status> {
        let (caller, address) = (caller(&request)?, address(&request));
        let asked = self.ask(caller, request.into_inner()).await;
        if let Err(TransactError::Aborted(error)) = &asked {
            tracing::info!(address, %error, "a node gets no certificate");
        }
        asked.map(Response::new).map_err(|error| unissued(&error))
    }

    async fn node_certificate_status(
        &self,
        request: Request<NodeCertificateStatusRequest>,
    ) -> Result<Response<NodeCertificateStatusResponse>, Status> {
        self.current().await?;
        tokio::select! {
            biased;
            answered = self.answered(request.get_ref(), |_| true) => {
                answered.map(Response::new).map_err(|error| refused(&error))
            }
            () = self.end.clone() => Err(Status::unavailable("the manager is stopping")),
        }
    }
}

impl Issuer for Certificates {
    fn issue(&self, csr: String) -> BoxFuture<'static, Result<Bytes, String>> {
        let certificates = self.clone();
        let issued = async move {
            let csr = Bytes::from(csr);
            let request = IssueNodeCertificateRequest { csr: csr.clone(), ..Default::default() };
            let own = Caller::Own(certificates.node_id.clone());
            let asked = certificates.ask(own, request);
            let asked = asked.await.map_err(|error| error.to_string())?;
            let request = NodeCertificateStatusRequest { node_id: asked.node_id };
            // What was asked for before is none of ours.
            let is_ours = |answer: &NodeCertificateStatusResponse| {
                answer.certificate.as_ref().is_some_and(|certificate| certificate.csr == csr)
            };
            let answered = certificates.answered(&request, is_ours).await;
            let answer = answered.map_err(|error| error.to_string())?;
            let status = answer.status.unwrap_or_default();
            // One that is to be rotated has been issued before.
            match (status.state(), answer.certificate) {
                (State::Issued | State::Rotate, Some(issued)) => Ok(issued.certificate),
                (state, _) if status.err.is_empty() => Err(format!("it is {state:?}")),
                _ => Err(status.err),
            }
        };
        let late = || format!("no answer within {} seconds", ISSUED_WITHIN.as_secs());
        timeout(ISSUED_WITHIN, issued)
            .map(move |issued| issued.unwrap_or_else(|_| Err(late())))
            .boxed()
    }
}
