//! Whether this manager leads, and who the managers are: asked of raft.

use actors::{
    control::logic::node::Managers,
    raft::{Founder, GetStatus, NotLeading, ReadIndex, Status},
    store::{Store, View},
    supervision::Recipient,
};
use protocol::wire::{ManagerStatus, raft_member_status::Reachability};

/// What calls ask of raft, beside the store.
#[derive(Clone)]
pub struct Leadership {
    /// What is read.
    pub store: Store,
    /// Confirms that this manager leads, after everything acknowledged before is applied.
    pub reads: Recipient<ReadIndex>,
    /// Says how raft stands.
    pub status: Recipient<GetStatus>,
}

impl Leadership {
    /// A view that shows everything that was acknowledged before the call.
    pub async fn current(&self) -> Result<View, NotLeading> {
        match self.reads.send(ReadIndex).await {
            Ok(confirmed) => confirmed.map(|_| self.store.view()),
            // Raft has died, and what comes after it has to win first.
            Err(_) => Err(NotLeading),
        }
    }

    /// The managers, as far as raft knows them now; an error while raft does not run.
    pub async fn managers(&self) -> Result<Managers, NotLeading> {
        let status = self.ask().await.ok_or(NotLeading)?;
        let voters = status.members.iter().filter(|one| status.voters.contains(&one.raft_id));
        Ok(voters.map(|member| (member.node_id.as_str().into(), shown(member, &status))).collect())
    }

    /// Whether raft runs here and knows a leader.
    pub async fn is_up(&self) -> bool {
        self.ask().await.is_some_and(|status| status.leader.is_some())
    }

    async fn ask(&self) -> Option<Status> {
        self.status.send(GetStatus).await.ok().flatten()
    }
}

fn shown(member: &Founder, status: &Status) -> ManagerStatus {
    let is_heard = member.raft_id == status.raft_id || status.reachable.contains(&member.raft_id);
    let reachability = if is_heard { Reachability::Reachable } else { Reachability::Unreachable };
    ManagerStatus {
        raft_id: member.raft_id,
        addr: member.address.clone(),
        leader: status.leader == Some(member.raft_id),
        reachability: reachability.into(),
    }
}
