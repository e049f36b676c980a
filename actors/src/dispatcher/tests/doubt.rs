//! Silence of many at once, over hand-made time.

use std::time::{Duration, Instant};

use protocol::id::NodeId;

use super::registry::{LOOK, PERIOD, origin, seconds, session};
use crate::dispatcher::logic::registry::{Expiry, Heard, Known, Registry};

/// Registries with nodes that are heard until they fall silent.
struct Nodes {
    registry: Registry,
    origin: Instant,
    period: Duration,
    at: Duration,
    speaking: Vec<NodeId>,
}

fn name(number: usize) -> NodeId {
    format!("n{number}").as_str().into()
}

/// `count` nodes, each a little later than the one before.
fn nodes(count: usize) -> Nodes {
    nodes_every(PERIOD, count)
}

/// The same, with another heartbeat period.
fn nodes_every(period: Duration, count: usize) -> Nodes {
    let origin = origin();
    let mut registry = Registry::new(period, origin);
    for number in 0..count {
        register(&mut registry, &name(number), origin);
    }
    let speaking = (0..count).map(name).collect();
    Nodes { registry, origin, period, at: Duration::ZERO, speaking }
}

/// `count` nodes that an earlier leader knew.
fn awaited(count: usize) -> Nodes {
    let origin = origin();
    let mut registry = Registry::new(PERIOD, origin);
    (0..count).for_each(|number| registry.await_return(name(number), origin));
    Nodes { registry, origin, period: PERIOD, at: Duration::ZERO, speaking: Vec::new() }
}

fn register(registry: &mut Registry, node: &NodeId, at: Instant) {
    registry.register(node, &session("old"), &session("s"), at).expect("registered");
}

impl Nodes {
    /// The first so many are heard no more.
    fn silence(&mut self, count: usize) {
        self.speaking.drain(..count);
    }

    /// The time goes on; whoever speaks is heard every period, one after the other.
    fn pass(&mut self, time: Duration) -> Vec<Expiry> {
        let (mut expired, until) = (Vec::new(), self.at + time);
        while self.at < until {
            self.at += LOOK;
            let now = self.origin + self.at;
            let turns = self.period.as_millis() / LOOK.as_millis();
            let turn = (self.at.as_millis() / LOOK.as_millis()) % turns;
            for (number, node) in self.speaking.iter().enumerate() {
                if number as u128 % turns == turn {
                    self.registry.hear(node, Heard { at: now, told: self.period });
                }
            }
            expired.extend(self.registry.expire(LOOK, now));
        }
        expired
    }

    fn come_back(&mut self, numbers: impl IntoIterator<Item = usize>) {
        for node in numbers.into_iter().map(name) {
            register(&mut self.registry, &node, self.origin + self.at);
            self.speaking.push(node);
        }
    }

    fn present(&self) -> Option<(usize, usize)> {
        self.registry.doubt(self.origin + self.at).map(|doubted| (doubted.present, doubted.ready))
    }
}

fn count(expired: &[Expiry], is_meant: impl Fn(&NodeId) -> Expiry) -> usize {
    let meant = expired.iter().filter(|expiry| match expiry {
        Expiry::Silent(node)
        | Expiry::Held(node)
        | Expiry::NeverReturned(node)
        | Expiry::Orphaned(node) => **expiry == is_meant(node),
    });
    meant.count()
}

#[test]
fn more_than_half_and_at_least_three_are_not_lost_at_once() {
    for (all, silent, held) in [
        (1, 1, 0),
        (2, 2, 0),
        (3, 3, 3),
        (4, 2, 0),
        (5, 3, 3),
        (6, 3, 0),
        (20, 10, 0),
        (20, 11, 11),
    ] {
        let mut nodes = nodes(all);
        assert_eq!(nodes.pass(seconds(20)), []);
        nodes.silence(silent);
        let expired = nodes.pass(seconds(30));
        assert_eq!(expired.len(), silent, "{silent} of {all}");
        assert_eq!(count(&expired, |node| Expiry::Held(node.clone())), held, "{silent} of {all}");
        let doubted = (held > 0).then_some((all - silent, all));
        assert_eq!(nodes.present(), doubted, "{silent} of {all}");
    }
}

#[test]
fn nodes_lost_one_after_the_other_count_for_one_grace() {
    let mut quick = nodes(8);
    let mut expired = quick.pass(seconds(10));
    for _ in 0..5 {
        quick.silence(1);
        expired.extend(quick.pass(seconds(2)));
    }
    expired.extend(quick.pass(seconds(30)));
    assert!(count(&expired, |node| Expiry::Held(node.clone())) > 0, "{expired:?}");
    let mut slow = nodes(8);
    let mut expired = slow.pass(seconds(10));
    for _ in 0..5 {
        slow.silence(1);
        expired.extend(slow.pass(seconds(20)));
    }
    expired.extend(slow.pass(seconds(30)));
    assert_eq!(count(&expired, |node| Expiry::Silent(node.clone())), 5, "{expired:?}");
}

#[test]
fn doubt_ends_when_half_are_back_and_the_rest_has_one_more_grace() {
    let mut nodes = nodes(6);
    nodes.pass(seconds(10));
    nodes.silence(6);
    assert_eq!(nodes.pass(seconds(120)).len(), 6);
    nodes.come_back(0..2);
    assert_eq!(nodes.pass(seconds(60)), [], "two of six are not enough");
    nodes.come_back(2..3);
    assert_eq!(nodes.pass(seconds(10)), []);
    assert_eq!(nodes.present(), None);
    nodes.come_back(3..4);
    let lost = nodes.pass(seconds(60));
    assert_eq!(lost, [4, 5].map(|number| Expiry::NeverReturned(name(number))));
}

#[test]
fn however_short_the_period_whoever_was_held_has_the_time_to_call_again() {
    let mut nodes = nodes_every(seconds(1), 6);
    nodes.pass(seconds(10));
    nodes.silence(6);
    assert_eq!(nodes.pass(seconds(60)).len(), 6);
    nodes.come_back(0..3);
    assert_eq!(nodes.pass(seconds(14)), []);
    assert_eq!(nodes.present(), None);
    assert_eq!(nodes.pass(seconds(2)).len(), 3);
}

#[test]
fn doubt_ends_after_ten_minutes() {
    let mut nodes = nodes(4);
    nodes.pass(seconds(10));
    nodes.silence(4);
    assert_eq!(nodes.pass(seconds(600)).len(), 4);
    assert_eq!(nodes.present(), Some((0, 4)));
    let lost = nodes.pass(seconds(30));
    assert_eq!(count(&lost, |node| Expiry::NeverReturned(node.clone())), 4);
    assert_eq!(nodes.present(), None);
}

#[test]
fn doubt_ends_when_an_operator_says_so() {
    let mut nodes = nodes(4);
    nodes.pass(seconds(10));
    nodes.silence(4);
    nodes.pass(seconds(60));
    nodes.registry.believe(nodes.origin + nodes.at);
    assert_eq!(nodes.present(), None);
    assert_eq!(nodes.pass(LOOK).len(), 4);
}

#[test]
fn after_a_change_of_leader_those_that_never_return_count_as_well() {
    for (all, back, is_deaf, held) in [
        (10, 5, true, 10),
        (10, 0, true, 10),
        (3, 0, true, 3),
        (2, 0, true, 0),
        (5, 2, false, 3),
        (6, 3, false, 0),
        (20, 18, false, 0),
    ] {
        let mut nodes = awaited(all);
        nodes.come_back(0..back);
        let mut expired = nodes.pass(seconds(3));
        if is_deaf {
            nodes.silence(back);
        }
        expired.extend(nodes.pass(seconds(60)));
        let silent = if is_deaf { all } else { all - back };
        assert_eq!(expired.len(), silent, "{back} of {all}");
        assert_eq!(count(&expired, |node| Expiry::Held(node.clone())), held, "{back} of {all}");
        let doubted = (held > 0).then_some((all - silent, all));
        assert_eq!(nodes.present(), doubted, "{back} of {all}");
    }
}

#[test]
fn the_word_of_an_operator_is_not_taken_back() {
    let mut nodes = nodes(6);
    nodes.pass(seconds(10));
    nodes.silence(6);
    while nodes.present().is_none() {
        nodes.pass(LOOK);
    }
    nodes.registry.believe(nodes.origin + nodes.at);
    let lost = nodes.pass(LOOK);
    assert_eq!(lost.len(), 6, "late ones among them");
    assert_eq!(count(&lost, |node| Expiry::Held(node.clone())), 0, "{lost:?}");
    // Others that come meanwhile, and are heard no more.
    nodes.come_back(0..4);
    nodes.pass(seconds(3));
    nodes.silence(4);
    let lost = nodes.pass(seconds(11));
    assert_eq!((lost.len(), nodes.present()), (0, None));
    assert_eq!(count(&nodes.pass(seconds(20)), |node| Expiry::Held(node.clone())), 4);
}

#[test]
fn only_those_that_were_there_before_end_a_doubt() {
    let doubted = || {
        let mut nodes = nodes(5);
        nodes.pass(seconds(20));
        nodes.silence(3);
        nodes.pass(seconds(30));
        assert_eq!(nodes.present(), Some((2, 5)));
        nodes
    };
    let mut joined = doubted();
    joined.come_back(7..9);
    joined.pass(seconds(10));
    assert_eq!(joined.present(), Some((2, 5)), "two new ones");
    let mut removed = doubted();
    (0..3).for_each(|number| removed.registry.forget(&name(number)));
    assert_eq!(removed.pass(LOOK), []);
    assert_eq!(removed.present(), None, "nobody is held any more");
}

#[test]
fn whoever_is_held_has_no_valid_session() {
    let mut nodes = nodes(4);
    nodes.registry.take_changed();
    nodes.silence(3);
    assert_eq!(nodes.pass(seconds(30)).len(), 3);
    let held = (0..3).map(|number| (name(number), Known::Awaited)).collect::<Vec<_>>();
    assert_eq!(nodes.registry.take_changed(), held);
}

#[test]
fn a_leader_that_looks_late_does_not_doubt_nodes_that_were_heard_meanwhile() {
    let mut nodes = nodes(6);
    nodes.pass(seconds(10));
    let late = nodes.origin + seconds(60);
    for number in 0..6 {
        let at = late - seconds(number as u64);
        nodes.registry.hear(&name(number), Heard { at, told: PERIOD });
    }
    // It was to look so late: nothing is forgiven.
    assert_eq!(nodes.registry.expire(seconds(50), late), []);
    nodes.at = seconds(60);
    assert_eq!((nodes.present(), nodes.pass(seconds(60))), (None, vec![]));
}
