//! RAFT-2: what two members know to be committed at an index is the same, and stays it.

use std::collections::BTreeMap;

use actors::{raft::GetCommitted, store::Committed};

use crate::cluster::Cluster;

/// Every entry that anybody knew to be committed.
#[derive(Default)]
pub struct Logs {
    entries: BTreeMap<u64, Committed>,
    /// Up to where each member was compared. A member that starts again is compared anew.
    compared: BTreeMap<u64, u64>,
}

impl Logs {
    /// Compares what is new on every member.
    pub async fn check(&mut self, cluster: &Cluster) {
        for member in cluster.members() {
            let (id, peer) = (member.borrow().id, member.borrow().peer());
            let Some(peer) = peer else {
                self.compared.remove(&id);
                continue;
            };
            let from = self.compared.get(&id).copied().unwrap_or_default() + 1;
            let Ok(committed) = peer.send(GetCommitted { from }).await else { continue };
            for entry in committed {
                self.compared.insert(id, entry.index);
                self.compare(id, entry);
                cluster.counts.count("check: logs agree");
            }
        }
    }

    fn compare(&mut self, member: u64, entry: Committed) {
        let known = self.entries.entry(entry.index).or_insert_with(|| entry.clone());
        assert_eq!(*known, entry, "member {member} has another entry committed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Committed {
        Committed { index, term, data: Default::default() }
    }

    #[test]
    #[should_panic(expected = "member 2 has another entry committed")]
    fn two_entries_at_an_index_are_found() {
        let mut logs = Logs::default();
        logs.compare(1, entry(1, 1));
        logs.compare(2, entry(1, 1));
        logs.compare(2, entry(1, 2));
    }
}
