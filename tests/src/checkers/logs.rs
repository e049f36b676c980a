//! RAFT-2: what two members know to be committed at an index is the same, and stays it.

use std::collections::BTreeMap;

use actors::{raft::GetCommitted, store::Committed};

use crate::cluster::Cluster;

/// Every entry that anybody knew to be committed.
#[derive(Default)]
pub struct Logs {
    entries: BTreeMap<u64, Committed>,
    /// Up to where each life of each member was compared.
    compared: BTreeMap<(u64, u64), u64>,
}

impl Logs {
    /// Compares what is new on every member.
    pub async fn check(&mut self, cluster: &Cluster) {
        for member in cluster.machines() {
            let (id, life, peer) = {
                let member = member.borrow();
                (member.id, member.lives, member.peer())
            };
            let Some(peer) = peer else { continue };
            let from = self.compared.get(&(id, life)).copied().unwrap_or_default() + 1;
            let Ok(page) = peer.send(GetCommitted { from }).await else { continue };
            for entry in page.entries {
                self.compared.insert((id, life), entry.index);
                self.compare(id, entry);
                cluster.counts.count("check: logs agree");
            }
        }
    }

    fn compare(&mut self, member: u64, entry: Committed) {
        let known = self.entries.entry(entry.index).or_insert_with(|| entry.clone());
        assert_eq!(*known, entry, "logs: member {member} has another entry committed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Committed {
        Committed { index, term, data: Default::default() }
    }

    #[test]
    #[should_panic(expected = "logs: member 2 has another entry committed")]
    fn two_entries_at_an_index_are_found() {
        let mut logs = Logs::default();
        logs.compare(1, entry(1, 1));
        logs.compare(2, entry(1, 1));
        logs.compare(2, entry(1, 2));
    }
}
