//! How the loop asks raft, which is started later than whatever may lead.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::timeout;

use super::logic::Members;
use crate::{
    raft::{ChangeError, GetStatus, Removal, Remove},
    supervision::Recipient,
};

/// How long raft may take to answer; what it does later counts as well, and is seen then.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// The raft peer of this process, once it has been started. Clones are the same one.
#[derive(Clone, Default)]
pub struct Raft(Arc<OnceLock<Peer>>);

struct Peer {
    status: Recipient<GetStatus>,
    remove: Recipient<Remove>,
}

/// Why a member was not let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotRemoved {
    #[error(transparent)]
    Refused(#[from] ChangeError),
    #[error("raft does not answer")]
    NoAnswer,
}

impl Raft {
    /// The peer has been started. Its address stays the same over its lives, so the first counts.
    pub fn bind(&self, status: Recipient<GetStatus>, remove: Recipient<Remove>) {
        self.0.set(Peer { status, remove }).ok();
    }

    /// Who is in the group, if raft says so.
    pub(super) async fn members(&self) -> Option<Members> {
        let answer = timeout(ANSWERS_WITHIN, self.0.get()?.status.send(GetStatus)).await;
        answer.ok()?.ok()?.map(Members::from)
    }

    /// Takes a member out of the group.
    pub(super) async fn remove(&self, raft_id: u64) -> Result<Removal, NotRemoved> {
        let peer = self.0.get().ok_or(NotRemoved::NoAnswer)?;
        match timeout(ANSWERS_WITHIN, peer.remove.send(Remove { raft_id })).await {
            Ok(Ok(answer)) => Ok(answer?),
            Ok(Err(_)) | Err(_) => Err(NotRemoved::NoAnswer),
        }
    }
}
