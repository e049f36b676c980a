//! `docker.swarmkit.v1.CA` and `NodeCA`: roots and certificates, for whoever may use the control
//! socket; that is this node.

use std::time::Duration;

use actors::{
    ca::logic::calls::{self, Caller},
    control::Error,
    store::{NotWritten, TransactError, View},
};
use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
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

use super::{
    Leadership,
    status::{leaderless, refused, unwritten},
};
use crate::identity::Issuer;

/// How long a renewal waits for its certificate.
const ISSUED_WITHIN: Duration = Duration::from_secs(30);

/// What SwarmKit's clients are told by a manager that does not lead.
const STOPPED: &str = "CA signer is stopped";

/// Answers as the leader, or not at all.
#[derive(Clone)]
pub struct Certificates {
    leadership: Leadership,
    node_id: NodeId,
    /// Resolves when the daemon ends: a call that waits would hold it up.
    end: Shared<BoxFuture<'static, ()>>,
}

impl Certificates {
    /// Issues for what this manager leads; a caller on the control socket is `node_id`.
    pub fn new(leadership: Leadership, node_id: NodeId) -> Self {
        Self { leadership, node_id, end: std::future::pending().boxed().shared() }
    }

    /// Ends all calls that wait when `end` resolves.
    pub(super) fn until(self, end: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { end: end.boxed().shared(), ..self }
    }

    async fn ask(
        &self,
        request: IssueNodeCertificateRequest,
    ) -> Result<IssueNodeCertificateResponse, TransactError<Error>> {
        let caller = Caller::Node(self.node_id.clone());
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

/// The outcome of a request that was not written down.
pub(super) fn unissued(error: &TransactError<Error>) -> Status {
    let is_stopped = *error == TransactError::NotWritten(NotWritten::NotLeading);
    if is_stopped { Status::aborted(STOPPED) } else { unwritten(error) }
}

#[tonic::async_trait]
impl ca_server::Ca for Certificates {
    async fn get_root_ca_certificate(
        &self,
        _: Request<GetRootCaCertificateRequest>,
    ) -> Result<Response<GetRootCaCertificateResponse>, Status> {
        let view = self.current().await?;
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
        let asked = self.ask(request.into_inner()).await;
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
            let asked = certificates
                .ask(IssueNodeCertificateRequest { csr: csr.clone(), ..Default::default() });
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
