//! Where each member of the group is reached.

use std::{collections::BTreeMap, net::IpAddr, str::FromStr, sync::Arc};

use actors::raft::{Founder, Standing};
use arc_swap::ArcSwap;
use protocol::{address::Address, id::NodeId};

/// Where each member is reached, as far as this manager knows. Clones are the same one.
///
/// A member may have told no address of its own, only that it listens on all it has. Then the
/// address it calls from is used, with the port that it has told.
#[derive(Clone, Default)]
pub struct Directory {
    standing: Standing,
    /// What others have told.
    told: Arc<ArcSwap<BTreeMap<u64, Told>>>,
    /// From where members have called.
    seen: Arc<ArcSwap<BTreeMap<u64, IpAddr>>>,
}

/// Where a member is, by what another has told.
#[derive(Clone, PartialEq, Eq)]
struct Told {
    node_id: String,
    /// None where it did not say, and the log does not name it.
    address: Option<String>,
    /// What the log said then, if anything: it counts again as soon as it says something else.
    instead_of: Option<String>,
}

impl Directory {
    /// Reads who the members are where the raft peer publishes it.
    pub fn new(standing: Standing) -> Self {
        Self { standing, ..Self::default() }
    }

    /// Returns where the raft peer publishes who the members are.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Takes the members that a leader has named, for as long as the log has not.
    pub fn tell(&self, members: &[Founder]) {
        let told = members.iter().map(|member| {
            let Founder { raft_id, node_id, address } = member.clone();
            (raft_id, Told { node_id, address: Some(address), instead_of: None })
        });
        self.told.store(Arc::new(told.collect()));
    }

    /// A member is not where it should be, and another member may have said where it is now: the
    /// log of this one may be behind, and stay so as long as the leader is not found. When it is not
    /// there either, the log is believed again.
    pub fn doubt(&self, raft_id: u64, found: Option<String>) {
        let Some(Founder { node_id, address: logged, .. }) = self.logged(raft_id) else { return };
        self.told.rcu(|told| {
            let mut told = BTreeMap::clone(told);
            let before = told.remove(&raft_id);
            let is_doubted = before.is_some_and(|told| told.instead_of.as_ref() == Some(&logged));
            if let Some(address) = found.clone().filter(|found| !is_doubted && *found != logged) {
                let (node_id, instead_of) = (node_id.clone(), Some(logged.clone()));
                told.insert(raft_id, Told { node_id, address: Some(address), instead_of });
            }
            told
        });
    }

    /// What the log says of a member.
    fn logged(&self, raft_id: u64) -> Option<Founder> {
        self.standing.group().member(raft_id).cloned()
    }

    /// A member has called from here.
    pub fn see(&self, raft_id: u64, from: IpAddr) {
        let from = from.to_canonical();
        if self.seen.load().get(&raft_id) == Some(&from) || !self.is_member(raft_id) {
            return;
        }
        self.seen.rcu(|seen| {
            let mut seen = BTreeMap::clone(seen);
            // Ids are never used again; those that are gone are forgotten.
            seen.retain(|id, _| self.is_member(*id));
            seen.insert(raft_id, from);
            seen
        });
    }

    /// A node has called as a member, and says where it listens; SwarmKit's do not. Its word counts until
    /// the log says something else: the log of this one may be behind, or nobody be there to write into
    /// it. So does the word of one that the log does not name yet, who may be the only one that can lead.
    pub fn hear(&self, raft_id: u64, node_id: &str, address: Option<&str>) {
        if raft_id == 0 || raft_id == self.standing.group().raft_id {
            return;
        }
        self.standing.note_kind(raft_id, address.is_none());
        let address = address.filter(|said| Address::from_str(said).is_ok());
        let logged = self.logged(raft_id).map(|member| member.address);
        let is_news = match (&logged, address) {
            (Some(logged), Some(address)) => has_moved(logged, address),
            (Some(_), None) => return,
            (None, _) => true,
        };
        let told = self.told.load();
        let before = told.get(&raft_id).filter(|told| told.node_id == node_id);
        let address = address.map(str::to_owned);
        let here = is_news.then(|| Told {
            node_id: node_id.to_owned(),
            // Whoever does not say where it is may still be where others have told.
            address: address.or_else(|| before?.address.clone()),
            instead_of: logged,
        });
        if told.get(&raft_id) == here.as_ref() {
            return;
        }
        self.told.rcu(|told| {
            let mut told = BTreeMap::clone(told);
            // A node is one member: it fills this with no others.
            told.retain(|id, told| *id != raft_id && told.node_id != node_id);
            told.extend(here.clone().map(|here| (raft_id, here)));
            told
        });
    }

    /// A member was removed, and is told so whenever it calls: nobody calls it any more.
    pub fn forget(&self, raft_id: u64) {
        if self.told.load().contains_key(&raft_id) {
            self.told.rcu(|told| {
                let mut told = BTreeMap::clone(told);
                told.remove(&raft_id);
                told
            });
        }
    }

    /// Whether a member is known to be one of SwarmKit's.
    pub fn has_foreign_members(&self) -> bool {
        let group = self.standing.group();
        group.members.iter().any(|member| self.standing.is_foreign(member.raft_id))
    }

    fn is_member(&self, raft_id: u64) -> bool {
        self.standing.group().member(raft_id).is_some() || self.told.load().contains_key(&raft_id)
    }

    /// Returns where a member is reached.
    pub fn address(&self, raft_id: u64) -> Option<String> {
        let logged = self.logged(raft_id).map(|member| member.address);
        let told = self.told.load().get(&raft_id).cloned();
        let told = told.filter(|told| told.instead_of == logged).and_then(|told| told.address);
        let address = told.or(logged)?;
        reachable(&address, self.seen.load().get(&raft_id).copied())
    }

    /// Returns whose node a member is.
    pub fn node_id(&self, raft_id: u64) -> Option<NodeId> {
        let told = || self.told.load().get(&raft_id).map(|told| told.node_id.clone());
        let node_id = self.logged(raft_id).map(|member| member.node_id).or_else(told)?;
        Some(node_id.into())
    }

    /// Returns where the member is reached that a node is.
    pub fn address_of(&self, node_id: &str) -> Option<String> {
        let group = self.standing.group();
        let member = group.members.iter().find(|member| member.node_id == node_id)?;
        self.address(member.raft_id)
    }

    /// Returns where other members than this one are reached.
    pub fn others(&self) -> Vec<String> {
        let group = self.standing.group();
        let known = group.members.iter().map(|member| member.raft_id);
        let told = self.told.load();
        let ids = known.chain(told.keys().copied()).filter(|id| *id != group.raft_id);
        let mut all: Vec<_> = ids.filter_map(|id| self.address(id)).collect();
        all.sort();
        all.dedup();
        all
    }
}

/// Whether a manager is known to listen elsewhere than the log says. One that listens on all
/// addresses it has is found where it called from, so only the port counts: whether it calls from
/// elsewhere now, only the leader can tell.
pub(crate) fn has_moved(known: &str, now: &str) -> bool {
    match (Address::from_str(known), Address::from_str(now)) {
        (Ok(known), Ok(now)) if now.is_everywhere() => known.port() != now.port(),
        _ => known != now,
    }
}

/// An address that says only "all that I have" becomes that one from which its owner has called.
fn reachable(address: &str, seen: Option<IpAddr>) -> Option<String> {
    let address = Address::from_str(address).ok()?;
    let address = match seen {
        Some(from) => address.seen_from(from),
        None => address,
    };
    (!address.is_everywhere()).then(|| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(raft_id: u64, address: &str) -> Founder {
        Founder { raft_id, node_id: format!("node{raft_id}"), address: address.to_owned() }
    }

    #[test]
    fn whoever_listens_on_all_addresses_is_where_it_calls_from() {
        let directory = Directory::default();
        directory.tell(&[
            member(1, "0.0.0.0:4242"),
            member(2, "10.0.0.2:4242"),
            member(3, "host:1"),
            member(4, "[::]:7"),
        ]);
        assert_eq!(directory.address(1), None);
        assert_eq!(directory.others(), ["10.0.0.2:4242", "host:1"]);
        let from = |text: &str| IpAddr::from_str(text).expect("an address");
        for (raft_id, seen) in [(1, "10.0.0.1"), (2, "10.0.0.9"), (3, "10.0.0.9"), (4, "fd00::1")] {
            directory.see(raft_id, from(seen));
        }
        let found: Vec<_> = (1..=5).map(|id| directory.address(id)).collect();
        let expected = ["10.0.0.1:4242", "10.0.0.2:4242", "host:1", "[fd00::1]:7"];
        assert_eq!(found[..4], expected.map(|address| Some(address.to_owned())));
        assert_eq!(found[4], None);
    }

    #[test]
    fn only_a_new_place_is_told() {
        for (known, now, expected) in [
            ("10.0.0.1:4242", "10.0.0.1:4242", false),
            ("10.0.0.1:4242", "10.0.0.2:4242", true),
            ("10.0.0.1:4242", "10.0.0.1:4243", true),
            ("10.0.0.1:4242", "0.0.0.0:4242", false),
            ("10.0.0.1:4242", "0.0.0.0:4243", true),
            ("0.0.0.0:4242", "0.0.0.0:4242", false),
            ("0.0.0.0:4242", "10.0.0.1:4242", true),
            ("host:4242", "10.0.0.1:4242", true),
            ("host:4242", "host:4242", false),
        ] {
            assert_eq!(has_moved(known, now), expected, "{known} {now}");
        }
    }

    #[test]
    fn a_member_that_says_where_it_is_is_there_until_the_log_says_more() {
        let directory = Directory::default();
        let found = |address: &str| Some(address.to_owned());
        directory.standing.name(vec![member(1, "10.0.0.1:1")]);
        directory.see(1, IpAddr::from([10, 0, 0, 9]));
        for (said, expected) in [
            ("10.0.0.1:1", "10.0.0.1:1"),
            ("10.0.0.1:2", "10.0.0.1:2"),
            ("0.0.0.0:1", "10.0.0.1:1"),
            ("0.0.0.0:3", "10.0.0.9:3"),
            ("no address", "10.0.0.9:3"),
        ] {
            directory.hear(1, "node1", Some(said));
            assert_eq!(directory.address(1), found(expected), "{said}");
        }
        directory.hear(1, "node1", Some("10.0.0.1:2"));
        directory.standing.name(vec![member(1, "10.0.0.1:3")]);
        assert_eq!(directory.address(1), found("10.0.0.1:3"), "the log is no longer behind");
    }

    #[test]
    fn a_member_that_the_log_does_not_name_yet_is_where_it_says() {
        let directory = Directory::default();
        let found = |address: &str| Some(address.to_owned());
        directory.hear(7, "node7", Some("0.0.0.0:1"));
        directory.see(7, IpAddr::from([10, 0, 0, 7]));
        assert_eq!(directory.address(7), found("10.0.0.7:1"));
        assert_eq!(directory.node_id(7), Some("node7".into()));
        for made_up in [8, 9] {
            directory.hear(made_up, "node7", Some("made-up:1"));
        }
        let all: Vec<_> = (7..10).map(|id| directory.address(id)).collect();
        assert_eq!(all, [None, None, found("made-up:1")], "a node is one member");
        directory.standing.name(vec![member(9, "a:1")]);
        assert_eq!(directory.address(9), found("a:1"), "the log is no longer behind");
        directory.standing.name(Vec::new());
        directory.forget(9);
        directory.hear(0, "node0", Some("nobody:1"));
        assert_eq!(directory.others(), Vec::<String>::new(), "it was removed");
        directory.hear(5, "node5", None);
        assert_eq!((directory.address(5), directory.node_id(5)), (None, Some("node5".into())));
        directory.tell(&[member(5, "told:1")]);
        directory.hear(5, "node5", None);
        assert_eq!(directory.address(5), found("told:1"));
    }

    #[test]
    fn a_member_that_does_not_say_where_it_is_is_of_another_kind() {
        let directory = Directory::default();
        directory.standing.name(vec![member(1, "a:1"), member(2, "b:1")]);
        assert!(!directory.has_foreign_members(), "nobody has called");
        directory.hear(1, "node1", Some("a:1"));
        assert!(!directory.has_foreign_members());
        directory.hear(3, "node3", None);
        assert!(!directory.has_foreign_members(), "it is no member");
        directory.hear(2, "node2", None);
        assert!(directory.has_foreign_members());
        directory.hear(2, "node2", Some("b:1"));
        assert!(!directory.has_foreign_members(), "its daemon is another now");
        directory.hear(2, "node2", None);
        directory.standing.name(vec![member(1, "a:1")]);
        assert!(!directory.has_foreign_members(), "it is gone");
    }

    #[test]
    fn who_is_not_where_the_log_says_is_looked_for_elsewhere() {
        let directory = Directory::default();
        let found = |address: &str| Some(address.to_owned());
        directory.doubt(1, found("new:1"));
        assert_eq!(directory.address(1), None, "nobody knows it");
        directory.tell(&[member(1, "told:1")]);
        directory.standing.name(vec![member(1, "old:1")]);
        assert_eq!(directory.address(1), found("old:1"), "the log knows better");
        directory.doubt(1, None);
        directory.doubt(1, found("old:1"));
        assert_eq!(directory.address(1), found("old:1"));
        directory.doubt(1, found("new:1"));
        assert_eq!(directory.address(1), found("new:1"));
        directory.doubt(1, found("other:1"));
        assert_eq!(directory.address(1), found("old:1"), "it is not there either");
        directory.doubt(1, found("new:1"));
        directory.standing.name(vec![member(1, "newest:1")]);
        assert_eq!(directory.address(1), found("newest:1"), "the log is no longer behind");
    }

    #[test]
    fn strangers_are_not_remembered() {
        let directory = Directory::default();
        directory.see(1, IpAddr::from([10, 0, 0, 1]));
        directory.tell(&[member(1, "0.0.0.0:1")]);
        assert_eq!(directory.address(1), None);
    }
}
