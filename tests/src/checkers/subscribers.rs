//! STORE-6: what a subscriber is told adds up to what is committed, version by version.

use crate::cluster::Cluster;

/// Looks at what every subscriber has been told.
pub fn check(cluster: &Cluster) {
    for member in cluster.machines() {
        let member = member.borrow();
        if let Some(broken) = member.heard().and_then(|heard| heard.borrow().broken.clone()) {
            panic!("{broken}, at member {}", member.id);
        }
    }
}

/// In the quiet state, every subscriber knows all of it.
pub fn finish(cluster: &Cluster) {
    for member in cluster.members() {
        let member = member.borrow();
        let (store, heard) = (member.store(), member.heard());
        let (store, heard) = store.zip(heard).expect("everybody lives");
        if let Err(broken) = heard.borrow().compare(&store.view()) {
            panic!("{broken}, in the end, at member {}", member.id);
        }
        cluster.counts.add("check: subscribers know what is committed", heard.borrow().times);
    }
}
