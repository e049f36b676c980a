//! What the calls of `CA` and `NodeCA` mean (`cluster-security-dispatch` §5).

use std::sync::Arc;

use protocol::{
    id::NodeId,
    objects::Node,
    wire::{
        self, Certificate, GetRootCaCertificateResponse, GetUnlockKeyResponse, IssuanceStatus,
        IssueNodeCertificateRequest, IssueNodeCertificateResponse, JoinTokens,
        NodeCertificateStatusRequest, NodeCertificateStatusResponse, NodeRole, NodeSpec, Version,
        issuance_status::State, node_spec::Membership,
    },
};
use rand::RngCore;

use super::{access::Caller, is_final};
use crate::{
    control::Error,
    store::{Transaction, View},
};

/// The part of a manager that unlock keys are for.
const MANAGER_KEYS: &str = "swarm-manager";

/// The largest signing request; one for a large RSA key has two kilobytes.
const CSR_BYTES_MAX: usize = 64 << 10;

/// How many ids are drawn for a new node: a second is never needed.
const DRAWS_MAX: usize = 4;

/// Returns the root bundle that nodes are to trust.
pub fn root(view: &View) -> Result<GetRootCaCertificateResponse, Error> {
    let cluster = view.default_cluster().ok_or_else(no_cluster)?;
    Ok(GetRootCaCertificateResponse { certificate: cluster.root_ca.ca_cert.clone() })
}

/// Returns the key that managers are locked with; none while they are not locked.
pub fn unlock_key(view: &View) -> Result<GetUnlockKeyResponse, Error> {
    let cluster = view.default_cluster().ok_or_else(no_cluster)?;
    let is_locked =
        cluster.spec.encryption_config.as_ref().is_some_and(|config| config.auto_lock_managers);
    let mut keys = cluster.rest.unlock_keys.iter().filter(|_| is_locked);
    let key = keys.find(|key| key.subsystem == MANAGER_KEYS);
    Ok(GetUnlockKeyResponse {
        unlock_key: key.map(|key| key.key.clone()).unwrap_or_default(),
        version: Some(Version { index: cluster.meta.version }),
    })
}

/// Writes down that a node wants a certificate: its own again, or as a new node with a join token.
pub fn issue(
    head: &mut Transaction,
    caller: &Caller,
    request: &IssueNodeCertificateRequest,
    random: &mut impl RngCore,
) -> Result<IssueNodeCertificateResponse, Error> {
    if request.csr.is_empty() {
        // What SwarmKit says.
        return Err(Error::InvalidArgument("InvalidArgument".to_owned()));
    }
    let bytes = request.csr.len();
    if bytes > CSR_BYTES_MAX {
        let text =
            format!("the signing request has {bytes} bytes, and at most {CSR_BYTES_MAX} are taken");
        return Err(Error::InvalidArgument(text));
    }
    match caller.node() {
        Some(id) => renew(head, id, request),
        None => admit(head, request, random),
    }
}

fn renew(
    head: &mut Transaction,
    id: &NodeId,
    request: &IssueNodeCertificateRequest,
) -> Result<IssueNodeCertificateResponse, Error> {
    let Some(node) = head.node(id) else {
        let text = format!("node {id} not found when attempting to renew certificate");
        return Err(Error::NotFound(text));
    };
    let certificate = asked(id, node.role, request, State::Renew).into();
    let node = Node { certificate, ..(**node).clone() };
    let node_membership = node.spec.membership;
    head.update(node)?;
    Ok(IssueNodeCertificateResponse { node_id: id.to_string(), node_membership })
}

fn admit(
    head: &mut Transaction,
    request: &IssueNodeCertificateRequest,
    random: &mut impl RngCore,
) -> Result<IssueNodeCertificateResponse, Error> {
    let cluster = head.default_cluster().ok_or_else(no_cluster)?;
    let tokens = cluster.root_ca.join_tokens.as_ref();
    let role = tokens.and_then(|tokens| role_of(tokens, &request.token)).ok_or_else(|| {
        let text = "A valid join token is necessary to join this cluster";
        Error::InvalidArgument(text.to_owned())
    })?;
    let (vxlanudp_port, role) = (cluster.rest.vxlanudp_port, i32::from(role));
    // An answer may get lost, and the node asks again: it is one node all the same.
    let same = |node: &&Arc<Node>| node.certificate.csr == request.csr && node.role == role;
    if let Some(node) = head.nodes().find(same) {
        let (id, node_membership) = (node.id.to_string(), node.spec.membership);
        return Ok(IssueNodeCertificateResponse { node_id: id, node_membership });
    }
    let mut ids = (0..DRAWS_MAX).map(|_| NodeId::random(random));
    let id = ids.find(|id| head.node(id).is_none()).ok_or_else(|| {
        Error::Internal("the generator of ids draws what is taken, again and again".to_owned())
    })?;
    let node_membership = Membership::Accepted.into();
    head.create(Node::from(wire::Node {
        id: id.to_string(),
        spec: Some(NodeSpec {
            desired_role: role,
            membership: node_membership,
            availability: request.availability,
            ..Default::default()
        }),
        certificate: Some(asked(&id, role, request, State::Pending)),
        role,
        vxlanudp_port,
        ..Default::default()
    }))?;
    Ok(IssueNodeCertificateResponse { node_id: id.to_string(), node_membership })
}

fn asked(
    id: &NodeId,
    role: i32,
    request: &IssueNodeCertificateRequest,
    state: State,
) -> Certificate {
    Certificate {
        role,
        csr: request.csr.clone(),
        status: Some(IssuanceStatus { state: state.into(), ..Default::default() }),
        cn: id.to_string(),
        ..Default::default()
    }
}

/// The role that a token lets join as.
fn role_of(tokens: &JoinTokens, token: &str) -> Option<NodeRole> {
    let (is_manager, is_worker) = (equal(&tokens.manager, token), equal(&tokens.worker, token));
    match (is_manager, is_worker) {
        (true, _) => Some(NodeRole::Manager),
        (false, is_worker) if is_worker || planted!(AnyTokenLetsIn) => Some(NodeRole::Worker),
        (false, _) => None,
    }
}

/// Compares texts in a time that says no more than whether they are as long; an empty one is no
/// token.
fn equal(own: &str, other: &str) -> bool {
    let differences = own.bytes().zip(other.bytes()).fold(0, |all, (own, other)| all | own ^ other);
    !own.is_empty() && own.len() == other.len() && differences == 0
}

/// What has become of a node's request; none while that is open.
pub fn status(
    view: &View,
    request: &NodeCertificateStatusRequest,
) -> Result<Option<NodeCertificateStatusResponse>, Error> {
    if request.node_id.is_empty() {
        return Err(Error::InvalidArgument("InvalidArgument".to_owned()));
    }
    let node = view.node(&request.node_id.as_str().into());
    let node = node.ok_or_else(|| Error::NotFound("NotFound".to_owned()))?;
    let certificate = &node.certificate;
    Ok(is_final(certificate).then(|| NodeCertificateStatusResponse {
        status: certificate.status.clone(),
        certificate: Some((**certificate).clone()),
    }))
}

fn no_cluster() -> Error {
    Error::Internal("the cluster has no settings yet".to_owned())
}
