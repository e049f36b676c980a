//! The managers as the agent of this node finds them: the one in this process while it leads, else
//! one over the network, chosen by how it went before. Any will do: those that do not lead pass
//! calls on.

mod book;
mod lane;
mod lists;
mod manager;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, rc::Rc, sync::Arc};

use actors::{
    agent::port::{self, Answer, Beating, Manager, ManagerError, News},
    dispatcher::LocalManagers,
    environment::Environment,
};
use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, ready};
use protocol::{
    id::NodeId,
    wire::{NodeRole, issuance_status},
};
use rand::{Rng, rngs::StdRng};
use rustls::ClientConfig;

use self::{book::Attempt, manager::RemoteManager};
pub use self::{book::Book, lane::Lane};

/// What else of this node has to know what managers say of it. Called on the agent's thread, and
/// must not keep it.
pub trait Listener: 'static {
    /// The node's own object has changed: what it is now (not what it shall become), and how it
    /// stands with its certificate.
    fn on_node_changed(&self, role: NodeRole, certificate: issuance_status::State);

    /// This is the root to trust, in PEM; it may be the one that is trusted already.
    fn on_root_changed(&self, pem: Bytes);
}

/// Nobody has to know.
impl Listener for () {
    fn on_node_changed(&self, _: NodeRole, _: issuance_status::State) {}

    fn on_root_changed(&self, _: Bytes) {}
}

/// What the way to managers is made of.
pub struct ManagersConfig {
    /// This node, which is no manager to itself over the network.
    pub own: NodeId,
    /// The manager in this process, if it is one.
    pub local: Option<LocalManagers>,
    /// As whom this node calls.
    pub tls: Arc<ClientConfig>,
    /// Where heartbeats are sent.
    pub lane: Lane,
    /// What is remembered of the managers.
    pub book: Book,
    /// The source of chance.
    pub environment: Environment,
    /// Who else listens.
    pub listener: Rc<dyn Listener>,
}

/// The managers that this node knows.
pub struct KnownManagers {
    own: NodeId,
    local: Option<LocalManagers>,
    tls: Arc<ClientConfig>,
    lane: Lane,
    book: Book,
    random: RefCell<StdRng>,
    listener: Rc<dyn Listener>,
}

impl KnownManagers {
    /// Knows the managers of a book.
    pub fn new(config: ManagersConfig) -> Self {
        let ManagersConfig { own, local, tls, lane, book, environment, listener } = config;
        let random = RefCell::new(environment.entropy.fork("remote/managers", 0));
        Self { own, local, tls, lane, book, random, listener }
    }
}

impl port::Managers for KnownManagers {
    fn choose(&self) -> Answer<Arc<dyn Manager>> {
        if let Some(local) = self.local.as_ref().and_then(LocalManagers::leading) {
            return Box::pin(ready(Ok(local)));
        }
        let draw = self.random.borrow_mut().r#gen();
        let Some(remote) = self.book.choose(&self.own, draw) else {
            let nobody = ManagerError::Failed("no remote hosts provided".to_owned());
            return Box::pin(ready(Err(nobody)));
        };
        // Whoever gives it up, because it takes too long, has failed with this manager, too.
        let attempt = Attempt::new(self.book.clone(), remote);
        let connected = RemoteManager::connect(attempt, self.tls.clone(), self.lane.clone());
        Box::pin(async move { Ok(Arc::new(connected.await?) as Arc<dyn Manager>) })
    }

    fn hear(&self, news: News) {
        match news {
            News::Managers(managers) => self.book.learn(&managers),
            News::Node(node) => {
                let certificate = node.certificate.as_ref();
                let state = certificate.and_then(|certificate| certificate.status.as_ref());
                let state = state.map_or(issuance_status::State::Unknown, |status| status.state());
                self.listener.on_node_changed(node.role(), state);
            }
            News::Root(pem) => self.listener.on_root_changed(pem),
            // Nothing on this node encrypts networks yet.
            News::Keys(_) => {}
        }
    }

    fn aside(&self, beating: Beating) -> LocalBoxFuture<'static, ManagerError> {
        let beaten = self.lane.run(beating);
        Box::pin(async move {
            let gone = || ManagerError::Failed("the heartbeats' thread is gone".to_owned());
            beaten.await.unwrap_or_else(gone)
        })
    }
}
