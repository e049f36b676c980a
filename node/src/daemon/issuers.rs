//! Who renews this node's certificate: itself while it leads, else the leader, else whoever is
//! there and passes it on.

use std::sync::Arc;

use actors::{environment::Clock, raft::Leader};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use rustls::ClientConfig;

use crate::{
    identity::Issuer,
    joining::RemoteAuthority,
    remote::{Book, Directory},
    service::Certificates,
};

/// The authority, wherever it is.
pub(super) struct Issuers {
    /// Of this node, while it is a manager.
    own: Arc<ArcSwapOption<Own>>,
    others: RemoteAuthority,
}

struct Own {
    certificates: Certificates,
    directory: Directory,
}

impl Issuers {
    /// Asks the managers of a book as long as none is known better.
    pub(super) fn new(book: Book, tls: Arc<ClientConfig>, clock: Arc<dyn Clock>) -> Self {
        let own: Arc<ArcSwapOption<Own>> = Arc::default();
        let of_manager = own.clone();
        let managers = move || {
            let own = of_manager.load();
            let mut managers = own.as_ref().map_or_else(Vec::new, |own| best_first(&own.directory));
            for known in book.addresses() {
                if !managers.contains(&known) {
                    managers.push(known);
                }
            }
            managers
        };
        Self { own, others: RemoteAuthority::new(Arc::new(managers), tls, clock) }
    }

    /// Where managers are that are known now, best first.
    pub(super) fn managers(&self) -> Vec<String> {
        self.others.managers()
    }

    /// This node is a manager from now on.
    pub(super) fn begin(&self, certificates: Certificates, directory: Directory) {
        self.own.store(Some(Arc::new(Own { certificates, directory })));
    }

    /// It is none any more.
    pub(super) fn end(&self) {
        self.own.store(None);
    }
}

/// Where other managers are, the leader first.
fn best_first(directory: &Directory) -> Vec<String> {
    let group = directory.standing().group();
    let leader = group.leader.filter(|leader| *leader != group.raft_id);
    let leader = leader.and_then(|leader| directory.address(leader));
    let mut others = directory.others();
    others.retain(|other| Some(other) != leader.as_ref());
    leader.into_iter().chain(others).collect()
}

impl Issuer for Issuers {
    fn issue(&self, csr: String) -> BoxFuture<'static, Result<Bytes, String>> {
        match self.own.load().as_ref() {
            Some(own) if own.directory.standing().group().leader() == Leader::Here => {
                own.certificates.issue(csr)
            }
            Some(_) | None => self.others.issue(csr),
        }
    }
}
