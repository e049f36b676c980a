//! What the leader is asked about the members: join, remove, hand over.

use actix::Message;

use super::Founder;

/// Asks the leader to let a node take part. As a rule it learns first, and votes once it has caught
/// up. Asked again, it only notes where the member is reached now. Answered once it is applied.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Joined, ChangeError>")]
pub struct Join {
    /// The node.
    pub node_id: String,
    /// Where other managers reach it, as host and port; not tried here.
    pub address: String,
    /// Whether it learns first. SwarmKit's managers know no learners: with one of them in the group,
    /// a node votes at once.
    pub learns: bool,
}

/// What a node has to know to begin as a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Its raft id, given once and never again.
    pub raft_id: u64,
    /// All members, itself among them.
    pub members: Vec<Founder>,
}

/// Asks the leader to take a member out for good. Answered once it is applied.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Removal, ChangeError>")]
pub struct Remove {
    /// The member.
    pub raft_id: u64,
}

/// How a removal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is no member any more.
    Removed,
    /// It led, and handed over to another. The removal is the new leader's to do; ask there.
    HandedOver {
        /// The new leader.
        to: u64,
    },
}

/// Asks the leader to let another member lead. Answered with the id of the new leader.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<u64, ChangeError>")]
pub struct TransferLeadership {
    /// The member that is to lead; the one that is furthest along when nobody is named.
    pub to: Option<u64>,
}

/// Why the members do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Another member leads, or none does. Nothing was written.
    #[error("raft: failed to process the request: node lost leader status")]
    NotLeading,
    /// Another change was under way. Nothing has changed.
    #[error("raft: propose configuration change refused")]
    Refused,
    /// Too much waits already. Nothing was written.
    #[error("too many changes are in flight")]
    Busy,
    /// There is no such member.
    #[error("raft: member unknown")]
    UnknownMember,
    /// Those that remain and can be reached would be too few to agree on anything.
    #[error("raft: member cannot be removed, because removing it may result in loss of quorum")]
    LosesQuorum,
    /// Nobody took over in time.
    #[error("leadership could not be handed over")]
    NotHandedOver,
    /// It was proposed, and may still happen.
    #[error("it is not known whether the members have changed")]
    OutcomeUnknown,
}

/// The sender of a message was taken out of the group, and has to end. The text is compared by
/// managers in other languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("raft: member was removed from the cluster")]
pub struct Removed;
