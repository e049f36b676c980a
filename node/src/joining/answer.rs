//! What a manager was answered that asked to be a member, for as long as it has no log to keep that.

use std::{fs, io, path::Path};

use actors::raft::Founder;
use prost::Message;
use protocol::wire::{JoinResponse, RaftMember};

use super::Member;
use crate::replacing::{FOR_OWNER, replace_durably};

/// The file, beside those of the log: it is lost with them, never without them.
const NAME: &str = "joined";

impl Member {
    /// What a leader has answered.
    pub(super) fn answered(answer: JoinResponse) -> Self {
        let founder = |member: RaftMember| Founder {
            raft_id: member.raft_id,
            node_id: member.node_id,
            address: member.addr,
        };
        let members = answer.members.into_iter().map(founder).collect();
        Self { raft_id: answer.raft_id, members }
    }

    /// Keeps it in the log's folder, so that a manager that is killed before its log has begun is the
    /// same member. As such it has promised nothing yet; and to leave could be too much for the group:
    /// of two members, the one that is there cannot let go of the other.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        let member = |member: &Founder| RaftMember {
            raft_id: member.raft_id,
            node_id: member.node_id.clone(),
            addr: member.address.clone(),
            status: None,
        };
        let members = self.members.iter().map(member).collect();
        let answer = JoinResponse { raft_id: self.raft_id, members, ..JoinResponse::default() };
        replace_durably(folder, NAME, &answer.encode_to_vec(), FOR_OWNER)
    }

    /// Returns what was kept, if that is whole.
    pub fn kept(folder: &Path) -> Option<Self> {
        let kept = fs::read(folder.join(NAME)).ok()?;
        let member = Self::answered(JoinResponse::decode(kept.as_slice()).ok()?);
        let is_in = |founder: &Founder| founder.raft_id == member.raft_id;
        (member.raft_id != 0 && member.members.iter().any(is_in)).then_some(member)
    }
}

/// Forgets what was kept: the log has it.
pub fn forget_answer(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member() -> Member {
        let founder = |raft_id: u64| Founder {
            raft_id,
            node_id: format!("node{raft_id}"),
            address: format!("host{raft_id}:1"),
        };
        Member { raft_id: 2, members: vec![founder(1), founder(2)] }
    }

    #[test]
    fn an_answer_is_kept_until_it_is_forgotten() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(Member::kept(folder.path()).is_none());
        member().keep(folder.path()).expect("written");
        let kept = Member::kept(folder.path()).expect("it is whole");
        assert_eq!((kept.raft_id, kept.members), (2, member().members));
        forget_answer(folder.path()).expect("removed");
        forget_answer(folder.path()).expect("there is nothing to forget");
        assert!(Member::kept(folder.path()).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_member_of_nobody(bytes: Vec<u8>, at in 0_usize..30, with: u8) {
            let folder = tempfile::tempdir().expect("a temporary folder");
            member().keep(folder.path()).expect("written");
            let mut damaged = fs::read(folder.path().join(NAME)).expect("it is there");
            damaged[at] = with;
            for bytes in [bytes, damaged] {
                fs::write(folder.path().join(NAME), bytes).expect("written");
                if let Some(kept) = Member::kept(folder.path()) {
                    prop_assert!(kept.members.iter().any(|member| member.raft_id == kept.raft_id));
                }
            }
        }
    }
}
