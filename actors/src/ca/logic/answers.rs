//! What is written of a request that was signed, or cannot be.

use std::sync::Arc;

use bytes::Bytes;
use protocol::{
    id::NodeId,
    objects::Node,
    wire::{Certificate, IssuanceStatus, NodeRole, issuance_status::State},
};

use crate::store::{Error, Transaction};

/// What becomes of one request.
pub(crate) struct Answer {
    pub(crate) node: NodeId,
    /// As it was read.
    pub(crate) request: Arc<Certificate>,
    /// What the node was then; a role that it had before may stand in its request.
    pub(crate) role: NodeRole,
    pub(crate) outcome: Result<Bytes, String>,
}

/// Writes an answer, unless the node has asked for something else since, or is something else.
pub(crate) fn write(
    head: &mut Transaction,
    Answer { node, request, role, outcome }: Answer,
) -> Result<(), Error> {
    let is_still_so =
        |found: &&Arc<Node>| found.certificate == request && found.role == i32::from(role);
    let Some(found) = head.node(&node).filter(is_still_so) else { return Ok(()) };
    let (certificate, state, err) = match outcome {
        Ok(certificate) => (certificate, State::Issued, String::new()),
        Err(reason) => (Bytes::new(), State::Failed, reason),
    };
    let status = Some(IssuanceStatus { state: state.into(), err });
    let certificate =
        Arc::new(Certificate { role: role.into(), certificate, status, ..(*request).clone() });
    let found = Node { certificate, ..(**found).clone() };
    head.update(found)
}
