//! Makes managers of workers and workers of managers, as their nodes' specs say
//! (`store-and-raft` §9.4). Who is to be no manager leaves the raft group first; so does a member
//! whose node is gone.

mod logic;
mod raft;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use protocol::id::NodeId;

pub use self::raft::Raft;
use self::{logic::Found, raft::NotRemoved};
use crate::{
    raft::{ChangeError, Removal},
    store::{Change, Error, Store, TransactError},
    supervised,
    supervision::{Address, Recipient, fail},
};

/// How often the group is looked at without a change of the store: members that could not be let go
/// are tried again, and one that has joined while its node became a worker is found.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often everything is looked at, asked or not; it guards only against faults of its own.
const FULL_PASS_EVERY: Duration = Duration::from_secs(300);

/// How long to wait after a transaction that was not written, or may not have been.
const PAUSE: Duration = Duration::from_millis(200);

/// How many nodes get another role in one transaction at most; nodes may be so large that it takes
/// fewer of them.
const NODES_AT_ONCE: usize = 20;

/// The role manager. One lives where the leader does.
pub struct Roles {
    store: Store,
    raft: Raft,
    changes: Recipient<Change>,
    /// Nodes that may have another role than they should.
    due: BTreeSet<NodeId>,
    /// Nodes that get another role once raft has let them go.
    waiting: BTreeSet<NodeId>,
    /// The store and the group are to be looked at.
    wanted: bool,
    /// A look is on its way.
    looking: bool,
    /// Raft is asked to let members go.
    removing: bool,
    /// Why members are still there.
    reasons: BTreeMap<u64, NotRemoved>,
}

impl Roles {
    /// The role manager of a manager that leads; for `Tree::child_with_address`.
    pub fn new(store: Store, raft: Raft, own: &Address<Self>) -> Self {
        Self {
            store,
            raft,
            changes: own.recipient(),
            due: BTreeSet::new(),
            waiting: BTreeSet::new(),
            wanted: false,
            looking: false,
            removing: false,
            reasons: BTreeMap::new(),
        }
    }

    /// Looks at the store and at the group, unless that is being done.
    fn proceed(&mut self, ctx: &mut Context<Self>) {
        if self.looking || !mem::take(&mut self.wanted) {
            return;
        }
        self.looking = true;
        let rest = self.due.iter().nth(NODES_AT_ONCE).cloned();
        let rest = rest.map(|first| self.due.split_off(&first)).unwrap_or_default();
        let due = mem::replace(&mut self.due, rest);
        let (store, raft, asked) = (self.store.clone(), self.raft.clone(), due.clone());
        let looked = async move {
            // Before the store: whoever is a member then has its node in the store.
            let members = raft.members().await;
            let decide = move |head: &mut _| logic::carry_out(head, due, members.as_ref());
            store.transact(decide).await
        };
        ctx.spawn(looked.into_actor(self).map(|found, roles, ctx| {
            roles.looking = false;
            roles.conclude(ctx, asked, found);
        }));
    }

    fn conclude(
        &mut self,
        ctx: &mut Context<Self>,
        asked: BTreeSet<NodeId>,
        found: Result<Found, TransactError<Error>>,
    ) {
        let pause = match found {
            Ok(found) => {
                self.follow(ctx, found);
                Duration::ZERO
            }
            // Decided and written on one state of the store, so only a fault of ours can be refused.
            Err(TransactError::Aborted(error)) => fail(&error),
            Err(error @ (TransactError::NotWritten(_) | TransactError::OutcomeUnknown)) => {
                tracing::debug!(%error, "decides again");
                self.due.extend(asked);
                PAUSE
            }
            Err(error @ TransactError::TooLarge { .. }) => {
                tracing::error!(nodes = ?asked, %error, "cannot get other roles");
                Duration::ZERO
            }
        };
        self.wanted |= !self.due.is_empty();
        if pause.is_zero() {
            return self.proceed(ctx);
        }
        ctx.run_later(pause, |roles, ctx| roles.look_again(ctx));
    }

    fn follow(&mut self, ctx: &mut Context<Self>, found: Found) {
        let Found { changed, waiting, leaving, rest } = found;
        for (node, role) in changed {
            tracing::info!(%node, ?role, "a node has another role");
        }
        self.due.extend(rest);
        self.waiting.extend(waiting);
        self.reasons.retain(|raft_id, _| leaving.contains(raft_id));
        if leaving.is_empty() || mem::replace(&mut self.removing, true) {
            return;
        }
        let raft = self.raft.clone();
        let asked = async move {
            let mut answers = Vec::new();
            for raft_id in leaving {
                answers.push((raft_id, raft.remove(raft_id).await));
            }
            answers
        };
        ctx.spawn(asked.into_actor(self).map(|answers, roles, ctx| {
            roles.removing = false;
            let answers = answers.into_iter();
            // Each is noted, so that it is told why it is still there.
            if answers.fold(false, |gone, (raft_id, answer)| roles.note(raft_id, answer) || gone) {
                roles.look_again(ctx);
            }
        }));
    }

    /// Notes what has become of a member; returns whether it is one no more.
    fn note(&mut self, raft_id: u64, answer: Result<Removal, NotRemoved>) -> bool {
        let reason = match answer {
            Ok(Removal::Removed) => {
                tracing::info!(raft_id, "a manager has left the raft group");
                return true;
            }
            Ok(Removal::HandedOver { to }) => {
                tracing::info!(to, "this manager is to leave the raft group, and leads no more");
                return false;
            }
            // It went since the last look, perhaps of an answer that came too late.
            Err(NotRemoved::Refused(ChangeError::UnknownMember)) => return false,
            Err(reason) => reason,
        };
        if self.reasons.insert(raft_id, reason) != Some(reason) {
            tracing::warn!(raft_id, %reason, "a manager cannot leave the raft group yet");
        }
        false
    }

    /// What waited may be possible now.
    fn look_again(&mut self, ctx: &mut Context<Self>) {
        self.due.append(&mut self.waiting);
        self.wanted = true;
        self.proceed(ctx);
    }
}

impl Actor for Roles {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.store.subscribe("roles", self.changes.clone());
        ctx.run_interval(LOOK_EVERY, Self::look_again);
        ctx.run_interval(FULL_PASS_EVERY, |roles, ctx| {
            roles.due.extend(logic::everybody(&roles.store.view()));
            roles.look_again(ctx);
        });
    }
}

// The store tells one change at a time.
supervised!(Roles, mailbox = 4);

impl Handler<Change> for Roles {
    type Result = ();

    fn handle(&mut self, change: Change, ctx: &mut Self::Context) {
        let due = match &change {
            Change::Committed { changes, .. } => logic::touched(changes),
            Change::Resync { view } => {
                self.wanted = true;
                logic::everybody(view)
            }
        };
        self.wanted |= !due.is_empty();
        self.due.extend(due);
        self.proceed(ctx);
    }
}
