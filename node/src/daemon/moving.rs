//! Tells the other managers when this one listens somewhere else than before.

use std::{str::FromStr, sync::Arc, time::Duration};

use actors::{
    raft::{Join, Leader},
    supervision::Recipient,
};
use protocol::address::Address;
use rustls::ClientConfig;
use tokio::time::sleep;

use super::issuers::Issuers;
use crate::{
    joining::announce,
    remote::{Directory, described, has_moved},
};

/// How often the list of members is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A manager that listens everywhere and has known no leader for so many looks may have got another
/// address. An election takes less.
const DOUBTFUL_AFTER: u32 = 5;

/// What is needed to note where this manager is.
pub(super) struct Moving {
    pub(super) node_id: String,
    pub(super) address: String,
    pub(super) directory: Directory,
    /// Knows of managers that the log may not know.
    pub(super) issuers: Arc<Issuers>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) join: Recipient<Join>,
}

impl Moving {
    /// Looks at what the others know, as long as it is polled.
    pub(super) async fn run(self) {
        // Nobody knows yet from where this life of the process calls.
        let mut place = Place::Untold;
        loop {
            let group = self.directory.standing().group();
            let leader = group.leader();
            place = place.seen(matches!(leader, Leader::Nowhere));
            let own = group.member(group.raft_id);
            let is_new = own.is_some_and(|own| has_moved(&own.address, &self.address));
            let may_be_new = own.is_some() && place.is_doubtful() && is_everywhere(&self.address);
            let is_told = match leader {
                Leader::Here if is_new => self.note().await,
                Leader::There(leader) if is_new || may_be_new => {
                    self.tell(self.directory.address(leader.raft_id)).await
                }
                // A leader would look for this manager where it was: whoever hears from it knows
                // which one that is, and passes the call on.
                Leader::Nowhere if is_new || may_be_new => self.tell(self.others()).await,
                Leader::Here | Leader::There(_) | Leader::Nowhere => false,
            };
            if is_told {
                place = Place::Told { leaderless: 0 };
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Returns whether it was noted.
    async fn note(&self) -> bool {
        let join =
            Join { node_id: self.node_id.clone(), address: self.address.clone(), learns: true };
        match self.join.send(join).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "it could not be noted where this manager listens now");
                false
            }
            Err(_) => false,
        }
    }

    /// Everybody who may know the leader.
    fn others(&self) -> Vec<String> {
        let mut others = self.directory.others();
        for known in self.issuers.managers() {
            if !others.contains(&known) {
                others.push(known);
            }
        }
        others
    }

    /// Asks one manager after the other, until one has noted it. Returns whether one has.
    async fn tell(&self, managers: impl IntoIterator<Item = String>) -> bool {
        for manager in managers {
            let asked = announce(&manager, &self.address, self.tls.clone()).await;
            let Err(error) = asked else { return true };
            let error = described(&error);
            tracing::warn!(manager, error, "it was not noted where this manager listens now");
        }
        false
    }
}

/// Whether the leader has heard from where this manager calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not in this life of the process: the machine may have got another address since.
    Untold,
    /// It has; for so many looks no leader has been known since.
    Told {
        /// The looks.
        leaderless: u32,
    },
}

impl Place {
    /// After a look that has shown a leader, or none.
    fn seen(self, is_leaderless: bool) -> Self {
        match self {
            Self::Told { leaderless } if is_leaderless => {
                Self::Told { leaderless: leaderless.saturating_add(1) }
            }
            Self::Told { .. } => Self::Told { leaderless: 0 },
            Self::Untold => Self::Untold,
        }
    }

    /// Whether the leader may look for this manager elsewhere.
    fn is_doubtful(self) -> bool {
        match self {
            Self::Untold => true,
            Self::Told { leaderless } => leaderless >= DOUBTFUL_AFTER,
        }
    }
}

fn is_everywhere(address: &str) -> bool {
    Address::from_str(address).is_ok_and(|address| address.is_everywhere())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_tells_its_place_in_each_life_and_when_no_leader_finds_it() {
        assert!(Place::Untold.is_doubtful(), "the machine may have another address");
        assert_eq!(Place::Untold.seen(false), Place::Untold, "to see a leader is not to be seen");
        let mut place = Place::Told { leaderless: 0 };
        for look in 1..DOUBTFUL_AFTER {
            place = place.seen(true);
            assert!(!place.is_doubtful(), "{look}: this may be an election");
        }
        assert!(place.seen(true).is_doubtful());
        assert!(!place.seen(false).seen(true).is_doubtful(), "a leader was there in between");
    }

    #[test]
    fn only_who_listens_everywhere_may_be_elsewhere() {
        for (address, expected) in
            [("0.0.0.0:4242", true), ("[::]:1", true), ("10.0.0.1:4242", false), ("host:1", false)]
        {
            assert_eq!(is_everywhere(address), expected, "{address}");
        }
    }
}
