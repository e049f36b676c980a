//! Certificates: who may have one, what is in it, and when it is due; and the actor that signs what
//! nodes ask for (`cluster-security-dispatch` §5). Keys and signatures are made in `node`, behind a
//! port.

pub mod logic;
pub mod port;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use actix::{Actor, AsyncContext, Context, Handler};
use protocol::{
    id::{Id, NodeId},
    objects::Node,
    wire::NodeRole,
};

pub use self::port::Signer;
use self::{
    logic::{
        Subject,
        answers::{Answer, write},
        is_due, node_expiry,
    },
    port::{Error, Request, Shared},
};
use crate::{
    agenda::{Agenda, Decide, Next, Planner, proceed, repeat_full_pass},
    environment::Environment,
    store::{Change, Store, Transaction, View},
    supervised,
    supervision::{Address, Life, Recipient},
};

/// How many certificates are signed before others get their turn: each takes a tenth of a
/// millisecond.
const SIGNED_AT_ONCE: usize = 32;

/// How often an authority that could not sign tries again.
const RETRY_EVERY: Duration = Duration::from_secs(10);

/// The certificate authority. One lives where the leader does.
pub struct Server {
    store: Store,
    environment: Environment,
    signer: Shared,
    changes: Recipient<Change>,
    agenda: Agenda<NodeId>,
    /// Nothing can be signed for now.
    is_unready: bool,
}

impl Server {
    /// The authority of a manager that leads; for `Tree::child_with_address`.
    pub fn new(
        store: Store,
        environment: Environment,
        signer: Shared,
        _: Life,
        own: &Address<Self>,
    ) -> Self {
        let (changes, agenda) = (own.recipient(), Agenda::default());
        Self { store, environment, signer, changes, agenda, is_unready: false }
    }

    /// Signs for a node, as the view has it; none if the authority cannot now.
    fn answer(&mut self, view: &View, node: &Node) -> Option<Answer> {
        let Some(cluster) = view.default_cluster() else {
            self.is_unready = true;
            return None;
        };
        // Not the one in the request, which stays what it was when the role manager changes the node.
        let role = NodeRole::try_from(node.role).unwrap_or_default();
        let subject = Subject { node_id: node.id.clone(), role, cluster_id: cluster.id.clone() };
        let expiry = cluster.spec.ca_config.as_ref().and_then(|ca| ca.node_cert_expiry.as_ref());
        let signed = self.signer.sign(&Request {
            root: &cluster.root_ca,
            csr: &node.certificate.csr,
            subject: &subject,
            expiry: node_expiry(expiry),
            now: self.environment.clock.now(),
        });
        let outcome = match signed {
            Ok(certificate) => Ok(certificate),
            Err(Error::Refused(reason)) => {
                tracing::warn!(node = %node.id, reason, "a certificate is refused");
                Err(reason)
            }
            Err(Error::Unready(reason)) => {
                tracing::warn!(node = %node.id, reason, "certificates have to wait");
                self.is_unready = true;
                return None;
            }
        };
        let (node, request) = (node.id.clone(), node.certificate.clone());
        Some(Answer { node, request, role, outcome })
    }
}

impl Actor for Server {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.store.subscribe("ca", self.changes.clone());
        repeat_full_pass(ctx);
        ctx.run_interval(RETRY_EVERY, |server, ctx| {
            if std::mem::take(&mut server.is_unready) {
                server.agenda.add_everything();
                proceed(server, ctx);
            }
        });
    }
}

// The store tells one change at a time.
supervised!(Server, mailbox = 4);

impl Handler<Change> for Server {
    type Result = ();

    fn handle(&mut self, change: Change, ctx: &mut Self::Context) {
        match &change {
            Change::Committed { changes, .. } => {
                self.agenda.add(changes.nodes.keys().cloned());
                // It may have the key now.
                if !changes.clusters.is_empty() && std::mem::take(&mut self.is_unready) {
                    self.agenda.add_everything();
                }
            }
            Change::Resync { .. } => self.agenda.add_everything(),
        }
        proceed(self, ctx);
    }
}

impl Planner for Server {
    type Key = NodeId;

    fn agenda(&mut self) -> &mut Agenda<NodeId> {
        &mut self.agenda
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn next(
        &mut self,
        view: &View,
        after: Option<&Id>,
        count: usize,
        _: &mut Context<Self>,
    ) -> Next<NodeId> {
        let after = after.map(|id| NodeId::from(id.clone()));
        let nodes: Vec<_> = view.nodes_after(after.as_ref()).take(count).collect();
        let last = nodes.last().filter(|_| nodes.len() == count);
        let last = last.map(|node| node.id.as_id().clone());
        Next { keys: nodes.iter().map(|node| node.id.clone()).collect(), last }
    }

    fn is_needed(&self, view: &View, node: &NodeId) -> bool {
        !self.is_unready && view.node(node).is_some_and(|node| is_due(node))
    }

    fn decide(&mut self, mut nodes: BTreeSet<NodeId>) -> Decide<NodeId> {
        let view = self.store.view();
        let mut answers = Vec::new();
        while answers.len() < SIGNED_AT_ONCE
            && let Some(id) = nodes.pop_first()
        {
            let node = view.node(&id).filter(|node| is_due(node));
            answers.extend(node.and_then(|node| self.answer(&view, node)));
            if self.is_unready {
                nodes.clear();
            }
        }
        Box::new(move |head: &mut Transaction| {
            answers.into_iter().try_for_each(|answer| write(head, answer))?;
            Ok(nodes)
        })
    }
}
