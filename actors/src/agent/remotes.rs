//! Which managers a node knows, and which of them it asks next (cluster-security-dispatch §19).

use std::{collections::BTreeMap, str::FromStr};

use protocol::{address::Address, id::NodeId, wire};

/// The weight of a manager of which nothing is known yet.
const WEIGHT: f64 = 10.0;
/// What it counts that a manager has registered this node, and that it could not be reached or
/// that a session with it is over.
const SUCCESS: f64 = 10.0;
const FAILURE: f64 = -10.0;
/// No weight is further from zero.
const WEIGHT_MAX: f64 = 256.0;
/// How much the newest observation counts against all before it.
const NEWEST: f64 = 0.5;
/// What a manager of no weight has of the choice all the same: it may have come back.
const CHANCE: f64 = 0.001;

/// Where a manager is. The node is not known of one that was only named by its address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remote {
    /// Which node it is; empty when that is not known.
    pub node_id: NodeId,
    /// Where it is reached.
    pub addr: String,
}

/// How it went with a manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has registered this node.
    Success,
    /// It could not be reached, or a session with it is over.
    Failure,
}

/// The managers that a node knows, each with a weight: how likely it is asked next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remotes(BTreeMap<Remote, f64>);

impl Remotes {
    /// Knows these, and nothing of how it goes with them.
    pub fn new(known: impl IntoIterator<Item = Remote>) -> Self {
        Self(known.into_iter().map(|remote| (remote, WEIGHT)).collect())
    }

    /// Returns the managers that are known, in the order of their nodes.
    pub fn known(&self) -> impl Iterator<Item = &Remote> {
        self.0.keys()
    }

    /// Chooses one, likelier the more it weighs. `draw` is uniform in [0, 1). The node itself is no
    /// choice: when its own manager could help, nobody else would have to be asked.
    pub fn choose(&self, own: &NodeId, draw: f64) -> Option<&Remote> {
        let others = || self.0.iter().filter(|(remote, _)| remote.node_id != *own);
        let all: f64 = others().map(|(_, weight)| share(*weight)).sum();
        let mut left = draw * all;
        let chosen = others().find(|(_, weight)| {
            left -= share(**weight);
            left < 0.0
        });
        // Sums of fractions may miss the end by a little.
        chosen.or_else(|| others().next_back()).map(|(remote, _)| remote)
    }

    /// Notes how it went with a manager, unless it is none any more.
    pub fn note(&mut self, remote: &Remote, outcome: Outcome) {
        if self.0.contains_key(remote) {
            let weight = match outcome {
                Outcome::Success => SUCCESS,
                Outcome::Failure => FAILURE,
            };
            self.observe(remote.clone(), weight);
        }
    }

    /// Takes over the list of a manager: whoever is not on it is forgotten, but for those that were
    /// only ever known by their address. A list on which nobody can be reached would leave the node
    /// alone, and is passed over.
    pub fn learn(&mut self, managers: &[wire::WeightedPeer]) {
        let named = managers.iter().filter_map(|manager| {
            let wire::Peer { node_id, addr } = manager.peer.clone()?;
            let remote = Remote { node_id: node_id.into(), addr };
            is_reachable(&remote.addr).then_some((remote, manager.weight))
        });
        let named: BTreeMap<_, _> = named.collect();
        if named.is_empty() {
            return;
        }
        // A manager of SwarmKit's may tell no address of its own: to whoever joined there, it is
        // where it was.
        let is_named = |addr: &str| named.keys().any(|remote| remote.addr == addr);
        self.0.retain(|remote, _| {
            let by_address = remote.node_id.as_str().is_empty() && !is_named(&remote.addr);
            by_address || named.contains_key(remote)
        });
        for (remote, weight) in named {
            #[expect(clippy::cast_precision_loss, reason = "far less precision is needed")]
            self.observe(remote, weight as f64);
        }
    }

    fn observe(&mut self, remote: Remote, weight: f64) {
        let weight = clip(weight);
        let smoothed = |old: &f64| clip(NEWEST * weight + (1.0 - NEWEST) * old);
        let weight = self.0.get(&remote).map_or(weight, smoothed);
        self.0.insert(remote, weight);
    }
}

/// Whether somebody could be called there. Who only says that it listens on all its addresses would be
/// this node itself.
fn is_reachable(addr: &str) -> bool {
    Address::from_str(addr).is_ok_and(|address| !address.is_everywhere())
}

fn clip(weight: f64) -> f64 {
    weight.clamp(-WEIGHT_MAX, WEIGHT_MAX)
}

/// What a manager has of the choice.
fn share(weight: f64) -> f64 {
    weight.max(0.0) + CHANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(id: &str) -> Remote {
        Remote { node_id: id.into(), addr: format!("{id}:4242") }
    }

    fn peer(id: &str, addr: &str, weight: i64) -> wire::WeightedPeer {
        let peer = wire::Peer { node_id: id.to_owned(), addr: addr.to_owned() };
        wire::WeightedPeer { peer: Some(peer), weight }
    }

    fn weight(remotes: &Remotes, id: &str) -> Option<f64> {
        remotes.0.get(&remote(id)).copied()
    }

    fn chosen(remotes: &Remotes, draw: f64) -> &str {
        remotes.choose(&"self".into(), draw).map_or("", |remote| remote.node_id.as_str())
    }

    #[test]
    fn an_observation_counts_half_and_no_weight_grows_without_end() {
        let mut remotes = Remotes::new([remote("a")]);
        for (outcome, expected) in [
            (Outcome::Failure, 0.0),
            (Outcome::Failure, -5.0),
            (Outcome::Failure, -7.5),
            (Outcome::Success, 1.25),
        ] {
            remotes.note(&remote("a"), outcome);
            assert_eq!(weight(&remotes, "a"), Some(expected));
        }
        remotes.learn(&[peer("a", "a:4242", 1 << 40), peer("b", "b:4242", -1 << 40)]);
        assert_eq!(weight(&remotes, "a"), Some(128.625), "256 is the most that is said");
        assert_eq!(weight(&remotes, "b"), Some(-256.0), "the first is taken as it is");
    }

    #[test]
    fn who_weighs_more_is_chosen_more_often_and_nobody_never() {
        let mut remotes = Remotes::new(["a", "b", "c", "self"].map(remote));
        for _ in 0..9 {
            remotes.note(&remote("b"), Outcome::Failure);
        }
        assert_eq!(
            [0.0, 0.4999, 0.5, 0.5001, 0.9999].map(|draw| chosen(&remotes, draw)),
            ["a", "a", "b", "c", "c"]
        );
        assert_eq!(chosen(&Remotes::default(), 0.5), "", "nobody is known");
        assert_eq!(chosen(&Remotes::new([remote("self")]), 0.5), "", "a node does not ask itself");
    }

    #[test]
    fn a_list_replaces_what_was_known() {
        let mut remotes = Remotes::new([remote("a"), remote("gone")]);
        remotes.note(&remote("a"), Outcome::Failure);
        let nowhere = ["", "0.0.0.0:4242", "[::]:4242", "4242"].map(|addr| peer("c", addr, 10));
        remotes
            .learn(&[&[peer("a", "a:4242", 10), peer("b", "b:4242", 10)], &nowhere[..]].concat());
        assert_eq!(remotes.known().cloned().collect::<Vec<_>>(), ["a", "b"].map(remote));
        assert_eq!((weight(&remotes, "a"), weight(&remotes, "b")), (Some(5.0), Some(10.0)));
        let before = remotes.clone();
        remotes.learn(&nowhere);
        remotes.note(&remote("gone"), Outcome::Failure);
        assert_eq!(remotes, before, "nobody on it can be reached, and the other is forgotten");
    }

    #[test]
    fn whoever_is_known_by_its_address_alone_stays() {
        let seed = |addr: &str| Remote { node_id: NodeId::default(), addr: addr.to_owned() };
        let mut remotes = Remotes::new([seed("a:4242"), seed("b:4242"), remote("c")]);
        remotes.learn(&[peer("b", "b:4242", 10)]);
        let known: Vec<_> = remotes.known().cloned().collect();
        assert_eq!(known, [seed("a:4242"), remote("b")]);
    }
}
