//! In the quiet state nothing is on its way: every permit of a mailbox and of the store is back.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::sleep;

use crate::cluster::Cluster;

/// How often a mailbox may be looked at before it is found empty: heartbeats come and go.
const LOOKS: u32 = 50;

/// Looks until each mailbox was seen empty once.
pub async fn finish(cluster: &Cluster) {
    for member in cluster.members() {
        let (id, store) = (member.borrow().id, member.borrow().store());
        let transactions = store.expect("everybody lives").transactions();
        assert_eq!(transactions, 0, "permits: the store of {id} waits for transactions");
    }
    let mut waiting = BTreeMap::new();
    for look in 0..LOOKS {
        for member in cluster.members() {
            for (actor, messages) in member.borrow().mailboxes() {
                if messages == 0 {
                    waiting.remove(&actor);
                } else if look == 0 {
                    waiting.insert(actor, messages);
                }
                cluster.counts.count("check: permits come back");
            }
        }
        sleep(Duration::from_millis(7)).await;
    }
    assert!(waiting.is_empty(), "permits: {waiting:?} never come back");
}
