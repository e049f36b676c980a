//! Which gRPC code and which text an outcome has: the only place where codes are assigned.

use actors::{
    control::Error,
    raft::NotLeading,
    store::{NotWritten, TransactError},
};
use tonic::{Code, Status};

/// What SwarmKit's clients are told when a read finds no leader.
const NO_LEADER: &str = "raft: no elected cluster leader";

/// What they are told when a write does.
const LOST_LEADERSHIP: &str = "raft: failed to process the request: node lost leader status";

const TOO_LARGE: &str = "raft: raft message is too large and can't be sent";

/// The outcome of a call that was refused.
pub(super) fn refused(error: &Error) -> Status {
    let code = match error {
        Error::InvalidArgument(_) => Code::InvalidArgument,
        Error::NotFound(_) => Code::NotFound,
        Error::AlreadyExists(_) => Code::AlreadyExists,
        Error::FailedPrecondition(_) => Code::FailedPrecondition,
        Error::Unimplemented(_) => Code::Unimplemented,
        Error::Internal(_) => Code::Internal,
        Error::Unknown(_) | Error::Store(_) => Code::Unknown,
    };
    Status::new(code, error.to_string())
}

/// The outcome of a write that was not committed.
///
/// Many clients repeat a call by themselves when it is unavailable, so only what was surely not
/// written has that code.
pub(super) fn unwritten(error: &TransactError<Error>) -> Status {
    match error {
        TransactError::Aborted(error) => refused(error),
        TransactError::NotWritten(NotWritten::NotLeading) => Status::unavailable(LOST_LEADERSHIP),
        TransactError::NotWritten(reason @ (NotWritten::Busy | NotWritten::CutOff)) => {
            Status::unavailable(format!("{reason}: nothing was written; try again"))
        }
        TransactError::OutcomeUnknown => Status::unknown(
            "the leader changed while this was being written: it may have been written or not; \
             look before you try again",
        ),
        TransactError::TooLarge { .. } => Status::unknown(TOO_LARGE),
    }
}

/// The outcome of a read on a manager that does not lead.
pub(super) fn leaderless(_: NotLeading) -> Status {
    Status::unavailable(NO_LEADER)
}

/// The outcome of a list that one answer cannot hold.
pub(super) fn too_many(count: usize, kind: &str, by: &str) -> Status {
    Status::resource_exhausted(format!(
        "{count} {kind} are too much for one answer: filter them by {by}"
    ))
}

/// The outcome of a call that another version answers.
pub(super) fn not_offered(what: &str) -> Status {
    Status::unimplemented(format!("{what} are not offered by this version of swarmd"))
}
