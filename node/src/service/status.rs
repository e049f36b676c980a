//! Which gRPC code and which text an outcome has: the only place where codes are assigned.

use actors::{
    control::Error,
    raft::{ChangeError, NotLeading},
    store::{NotWritten, TransactError},
};
use protocol::id::NodeId;
use tonic::{Code, Status};

/// What SwarmKit's clients are told when a read finds no leader.
const NO_LEADER: &str = "raft: no elected cluster leader";

/// What they are told when a write does.
const LOST_LEADERSHIP: &str = "raft: failed to process the request: node lost leader status";

/// What both are told after a manager has waited for a leader to pass them on to.
const LOST_QUORUM: &str = "The swarm does not have a leader. It's possible that too few managers \
                           are online. Make sure more than half of the managers are online.";

/// What a manager is told that has passed a call on to one that does not lead.
const PASSED_ON_TWICE: &str = "more than one redirect to leader from";

/// How a leader begins its refusal of whoever calls, and of a manager that passes on a call.
const DENIED: &str = "Permission denied: ";
const UNFIT_FORWARDER: &str = "Permission denied: unauthorized forwarder role: ";

/// What those who want a certificate are told by a manager that does not lead.
pub(super) const SIGNER_STOPPED: &str = "CA signer is stopped";

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

/// The outcome of a change of the members that was not made, or not surely.
pub(super) fn unchanged(error: ChangeError) -> Status {
    let code = match error {
        ChangeError::NotLeading => Code::FailedPrecondition,
        ChangeError::Refused | ChangeError::Busy | ChangeError::NotHandedOver => Code::Unavailable,
        ChangeError::UnknownMember => Code::NotFound,
        ChangeError::LosesQuorum => Code::FailedPrecondition,
        ChangeError::OutcomeUnknown => Code::Unknown,
    };
    Status::new(code, error.to_string())
}

/// The outcome of a call that only a leader answers, when there has been none for a while.
pub(super) fn lost_quorum() -> Status {
    Status::unavailable(LOST_QUORUM)
}

/// The outcome of a call that could not be passed on to the leader.
pub(super) fn unreached(reason: &str) -> Status {
    let text = format!("the leader cannot be reached ({reason}): nothing was done; try again");
    Status::unavailable(text)
}

/// The outcome of a call whose leader was lost before it had answered. What may have written
/// something must not be repeated blindly.
pub(super) fn cut_off(may_have_written: bool) -> Status {
    if may_have_written {
        return unwritten(&TransactError::OutcomeUnknown);
    }
    Status::unavailable("the leader was lost or has changed; try again")
}

/// The outcome of a stream on a manager that ends.
pub(super) fn stopping() -> Status {
    Status::unavailable("the manager is stopping")
}

/// The outcome of a stream whose connection to the leader shows a certificate that was replaced.
pub(super) fn replaced() -> Status {
    Status::unavailable("the manager has another certificate now: begin again")
}

/// The outcome of a call that finds too much on its way to the leader.
pub(super) fn no_room() -> Status {
    let text = "too many requests are on their way to the leader: nothing was done; try again";
    Status::unavailable(text)
}

/// The outcome of a call that one manager has passed on to another that does not lead.
pub(super) fn passed_on_twice(redirects: &[String]) -> Status {
    let from = redirects.join(" ");
    Status::resource_exhausted(format!("{PASSED_ON_TWICE}: [{from}]"))
}

/// Whether a manager that was taken for the leader says that it is none, and so has done nothing.
///
/// What SwarmKit's managers say in these words may come after something was done, but not with
/// these codes.
pub(super) fn is_declined(status: &Status) -> bool {
    let (code, text) = (status.code(), status.message());
    let declines = [
        (Code::Unavailable, LOST_LEADERSHIP),
        (Code::Unavailable, NO_LEADER),
        (Code::Unavailable, LOST_QUORUM),
        (Code::Aborted, SIGNER_STOPPED),
    ];
    declines.contains(&(code, text))
        || code == Code::ResourceExhausted && text.starts_with(PASSED_ON_TWICE)
}

/// The outcome of a call that was declined until nobody waits any longer. That managers take each other
/// for the leader is no fault of the caller, and nothing was done.
pub(super) fn declined(status: Status) -> Status {
    if status.code() == Code::ResourceExhausted { lost_quorum() } else { status }
}

/// Whether the leader refuses the manager `own` that has passed on a call, and not its caller; of what came
/// through the control socket that manager is the caller.
pub(super) fn is_disowned(status: &Status, is_own: bool, own: Option<&NodeId>) -> bool {
    let text = status.message();
    let names_own = own.is_some_and(|own| text.contains(own.as_str()));
    let is_unfit = is_own || names_own || text.starts_with(UNFIT_FORWARDER);
    status.code() == Code::PermissionDenied && text.starts_with(DENIED) && is_unfit
}

/// The outcome of a call that a manager could not pass on because it is none any more, which it will
/// soon notice itself. The caller has done nothing wrong, and others may answer it.
pub(super) fn disowned(reason: &str) -> Status {
    let text = format!(
        "this node speaks for the swarm no more ({reason}): nothing was done; ask another manager"
    );
    Status::unavailable(text)
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
