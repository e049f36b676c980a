//! What of a session message the node has not heard before (cluster-security-dispatch §13).

use std::collections::BTreeSet;

use bytes::Bytes;
use protocol::wire;

use crate::agent::port::News;

/// What managers have said so far, over all sessions.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The node without what changes all the time.
    node: Option<Box<wire::Node>>,
    root: Bytes,
    /// The times of the network keys, by which they are told apart.
    keys: BTreeSet<u64>,
}

impl Heard {
    /// Returns what is news in a message.
    pub(super) fn take(&mut self, message: wire::SessionMessage) -> Vec<News> {
        let wire::SessionMessage { session_id: _, node, managers, network_bootstrap_keys, root_ca } =
            message;
        // Every list counts: that a manager is named is an observation of it.
        let mut news = vec![News::Managers(managers)];
        if let Some(node) = node {
            let told = Box::new(wire::Node { meta: None, status: None, ..node });
            if self.node.as_ref() != Some(&told) {
                self.node = Some(told.clone());
                news.push(News::Node(told));
            }
        }
        if !root_ca.is_empty() && root_ca != self.root {
            self.root.clone_from(&root_ca);
            news.push(News::Root(root_ca));
        }
        if network_bootstrap_keys.iter().any(|key| !self.keys.contains(&key.lamport_time)) {
            self.keys = network_bootstrap_keys.iter().map(|key| key.lamport_time).collect();
            news.push(News::Keys(network_bootstrap_keys));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(news: &[News]) -> Vec<&'static str> {
        let name = |news: &News| match news {
            News::Managers(_) => "managers",
            News::Node(_) => "node",
            News::Root(_) => "root",
            News::Keys(_) => "keys",
        };
        news.iter().map(name).collect()
    }

    #[test]
    fn only_what_has_changed_is_news() {
        let mut heard = Heard::default();
        let key = |lamport_time| wire::EncryptionKey { lamport_time, ..Default::default() };
        let first = wire::SessionMessage {
            node: Some(wire::Node { id: "n".to_owned(), role: 0, ..Default::default() }),
            root_ca: "one".into(),
            network_bootstrap_keys: vec![key(1), key(2)],
            ..Default::default()
        };
        let changed = |change: fn(&mut wire::SessionMessage)| {
            let mut message = first.clone();
            change(&mut message);
            message
        };
        for (message, expected) in [
            (first.clone(), vec!["managers", "node", "root", "keys"]),
            (first.clone(), vec!["managers"]),
            (
                changed(|message| {
                    let node = message.node.as_mut().expect("a node");
                    node.status = Some(wire::NodeStatus::default());
                    node.meta = Some(wire::Meta::default());
                }),
                vec!["managers"],
            ),
            (
                changed(|message| message.node.as_mut().expect("a node").role = 1),
                vec!["managers", "node"],
            ),
            (changed(|message| message.node = None), vec!["managers"]),
            (changed(|message| message.root_ca = "two".into()), vec!["managers", "node", "root"]),
            (changed(|message| message.root_ca = Bytes::new()), vec!["managers"]),
        ] {
            assert_eq!(names(&heard.take(message)), expected);
        }
        for (keys, expected) in [
            (vec![key(2)], vec!["managers"]),
            (vec![key(2), key(3)], vec!["managers", "keys"]),
            (vec![key(1)], vec!["managers", "keys"]),
        ] {
            let message =
                wire::SessionMessage { network_bootstrap_keys: keys, ..Default::default() };
            assert_eq!(names(&heard.take(message)), expected);
        }
    }
}
