//! What a dispatcher refuses. The texts are those of cluster-security-dispatch §10 and §11.

use protocol::id::NodeId;

/// Why an agent did not get what it asked for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// The node has no session: it must register.
    #[error("node not registered")]
    NotRegistered,
    /// The node has another session.
    #[error("session invalid")]
    SessionInvalid,
    /// There is no such node in the cluster.
    #[error("node not found")]
    NodeNotFound,
    /// The node registers too often.
    #[error("node {0} exceeded rate limit count of registrations")]
    TooManyRegistrations(NodeId),
    /// The node reports on a task that is not its own.
    #[error("cannot update a task not assigned this node")]
    NotAssigned,
    /// This manager does not lead any more, or cannot write.
    #[error("dispatcher is stopped")]
    Stopped,
}
