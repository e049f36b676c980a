//! In the quiet state nothing stays on its way: every permit of a mailbox and of the store is back.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::sleep;

use crate::{cluster::Cluster, member::Member};

/// How often what has permits may be looked at before it is found to have all: heartbeats come and
/// go, and the loops of a leader write.
const LOOKS: u32 = 50;

/// Looks until each mailbox, and each store, was seen at rest once.
pub async fn finish(cluster: &Cluster) {
    let mut waiting = BTreeMap::new();
    for look in 0..LOOKS {
        for member in cluster.members() {
            for (place, count) in on_their_way(&member.borrow()) {
                if count == 0 {
                    waiting.remove(&place);
                } else if look == 0 {
                    waiting.insert(place, count);
                }
                cluster.counts.count("check: permits come back");
            }
        }
        sleep(Duration::from_millis(7)).await;
    }
    assert!(waiting.is_empty(), "permits: {waiting:?} never come back");
}

/// How many messages wait in each mailbox, and how many transactions are on their way.
fn on_their_way(member: &Member) -> impl Iterator<Item = (String, usize)> + use<> {
    let transactions = member.store().expect("everybody lives").transactions();
    let store = (format!("transactions of m{}", member.id), transactions);
    member.mailboxes().into_iter().chain([store])
}
