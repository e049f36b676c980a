//! How the peer changes the members: one change at a time, each an entry with a number that the
//! store gives, decided by `logic` when its turn comes.

use actix::{ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, WrapFuture};
use bytes::Bytes;
use protocol::{
    raftpb::{self, MessageType},
    wire::RaftMember,
};
use raft::StateRole;
use tokio::sync::oneshot;

use super::{
    ChangeError, Join, Joined, Peer, Removal, Remove, TransferLeadership,
    changing::{Reply, Request},
    logic::{self, Change, Group, RemovalStep},
    running::Running,
};
use crate::store::{ChangeMembers, NotWritten, TransactError};

/// What a request comes to when it is its turn.
enum Turn {
    /// There is nothing to change, or it cannot be.
    Answered,
    /// An entry is to be proposed, and then somebody to be answered.
    Propose { change: Bytes, reply: Reply<()> },
    /// Leadership is to go to another.
    HandOver { to: u64, reply: Reply<u64> },
}

impl Peer {
    /// Brings one change on its way, if nothing else is.
    pub(super) fn change_members(&mut self, ctx: &mut Context<Self>) {
        let (seed, range) = (self.config.seed, self.config.election_ticks.clone());
        let Some(running) = self.running() else { return };
        let raft = &running.node.raft;
        let leads = raft.state == StateRole::Leader;
        running.changing.settle_transfer(leads, raft.leader_id, raft.lead_transferee);
        let Some(term) = running.leading else { return running.changing.lost() };
        // Before that, raft-rs would take a change and forget what it says.
        while !running.node.raft.has_pending_conf() {
            let group = running.group(range.start as u64);
            let turn = match running.changing.next() {
                Some(request) => running.turn(request, &group, seed),
                None => match running.promotion(&group) {
                    Some(change) => Turn::Propose { change, reply: Box::new(|_| ()) },
                    None => return,
                },
            };
            match turn {
                Turn::Answered => {}
                Turn::Propose { change, reply } => {
                    return self.propose_change(ctx, term, change, reply);
                }
                Turn::HandOver { to, reply } => {
                    running.node.transfer_leader(to);
                    running.changing.transfer(to, 2 * range.end as u64, reply);
                    return;
                }
            }
        }
    }

    /// Has the store number a change, and answers once it is applied.
    fn propose_change(
        &mut self,
        ctx: &mut Context<Self>,
        term: u64,
        change: Bytes,
        reply: Reply<()>,
    ) {
        let asked = self.links.store.send(ChangeMembers { term, change });
        let Some(running) = self.running() else { return };
        running.changing.proposing = true;
        ctx.spawn(asked.into_actor(self).map(move |outcome, peer, ctx| {
            let running = peer.running();
            let applied =
                |index| running.as_ref().is_some_and(|running| running.changing.has_applied(index));
            reply(match outcome {
                Ok(Ok(index)) if applied(index) => Ok(()),
                Ok(Ok(_)) => Err(ChangeError::Refused),
                Ok(Err(TransactError::NotWritten(NotWritten::NotLeading))) => {
                    Err(ChangeError::NotLeading)
                }
                Ok(Err(TransactError::NotWritten(NotWritten::Busy | NotWritten::CutOff))) => {
                    Err(ChangeError::Busy)
                }
                Ok(Err(TransactError::OutcomeUnknown)) | Err(_) => Err(ChangeError::OutcomeUnknown),
                Ok(Err(TransactError::Aborted(never))) => match never {},
                Ok(Err(TransactError::TooLarge { .. })) => Err(ChangeError::Refused),
            });
            if let Some(running) = peer.running() {
                running.changing.proposing = false;
            }
            peer.proceed(ctx);
        }));
    }

    /// A member that never campaigns, since it learns or is not sure to be a member any more, asks
    /// around when it hears of no leader: whoever knows that it was removed tells it.
    pub(super) fn knock(&mut self) {
        let (transport, patience) = (self.links.transport.clone(), self.config.election_ticks.end);
        let Some(running) = self.running() else { return };
        let raft = &running.node.raft;
        if raft.promotable() || !running.changing.misses_leader(patience as u64) {
            return;
        }
        let (from, term) = (raft.id, raft.term);
        for to in running.node.store().membership().ids().filter(|to| *to != from) {
            // Of all messages, this one changes least.
            transport.send(raftpb::Message {
                r#type: Some(MessageType::MsgHeartbeatResp.into()),
                to: Some(to),
                from: Some(from),
                term: Some(term),
                ..Default::default()
            });
        }
    }

    fn request<T: Send + 'static>(
        &mut self,
        ctx: &mut Context<Self>,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> ResponseFuture<Result<T, ChangeError>> {
        let (answer, answered) = oneshot::channel();
        let reply: Reply<T> = Box::new(move |outcome| drop(answer.send(outcome)));
        let leading = self.running().filter(|running| running.leading.is_some());
        match leading {
            Some(running) => running.changing.add(request(reply)),
            None => reply(Err(ChangeError::NotLeading)),
        }
        self.proceed(ctx);
        // A life that ends drops what waits; whether it was proposed dies with it.
        Box::pin(async { answered.await.unwrap_or(Err(ChangeError::OutcomeUnknown)) })
    }
}

impl Running {
    /// What this leader knows of the group.
    fn group(&self, heard_within: u64) -> Group {
        let (raft, members) = (&self.node.raft, self.node.store().members());
        let matched = raft.prs().iter().map(|(member, progress)| (*member, progress.matched));
        Group {
            own: raft.id,
            voters: members.get_voters().iter().copied().collect(),
            learners: members.get_learners().iter().copied().collect(),
            reachable: self.changing.reachable(heard_within).collect(),
            matched: matched.collect(),
            declined: self.changing.declined().clone(),
            last: raft.raft_log.last_index(),
        }
    }

    fn turn(&mut self, request: Request, group: &Group, seed: u64) -> Turn {
        match request {
            Request::Join { join, reply } => self.join(join, reply, group.last, seed),
            Request::Remove { raft_id, reply } => match group.remove(raft_id) {
                Ok(RemovalStep::Propose) => Turn::Propose {
                    change: Change::Goes(raft_id).encode(),
                    reply: Box::new(|outcome| reply(outcome.map(|()| Removal::Removed))),
                },
                Ok(RemovalStep::HandOver(to)) => Turn::HandOver {
                    to,
                    reply: Box::new(|outcome| reply(outcome.map(|to| Removal::HandedOver { to }))),
                },
                Err(error) => {
                    reply(Err(error));
                    Turn::Answered
                }
            },
            Request::Transfer { to, reply } => match to.or(group.successor()) {
                Some(to) if to == group.own => {
                    reply(Ok(to));
                    Turn::Answered
                }
                Some(to) if group.voters.contains(&to) => Turn::HandOver { to, reply },
                Some(_) => {
                    reply(Err(ChangeError::UnknownMember));
                    Turn::Answered
                }
                None => {
                    reply(Err(ChangeError::NotHandedOver));
                    Turn::Answered
                }
            },
        }
    }

    fn join(&self, join: Join, reply: Reply<Joined>, last: u64, seed: u64) -> Turn {
        let membership = self.node.store().membership();
        let Join { node_id, address, learns } = join;
        let known = membership.of_node(&node_id);
        let taken = |id| membership.get(id).is_some() || membership.is_removed(id);
        let raft_id = match known {
            Some(member) => member.raft_id,
            None => logic::new_member_id(seed, last, taken),
        };
        if known.is_some_and(|member| member.addr == address) {
            reply(Ok(Joined { raft_id, members: membership.shown() }));
            return Turn::Answered;
        }
        let status = Some(Default::default());
        let member = RaftMember { raft_id, node_id, addr: address, status };
        let change = match known {
            Some(_) => Change::Moves(member),
            None if learns => Change::Learns(member),
            None => Change::Votes(member),
        };
        let mut then = membership.clone();
        // One change at a time: what it makes of the members is known before.
        then.follow(&change);
        let joined = Joined { raft_id, members: then.shown() };
        let reply = Box::new(|outcome: Result<_, _>| reply(outcome.map(|()| joined)));
        Turn::Propose { change: change.encode(), reply }
    }

    /// The entry that lets a learner vote which has caught up. Every leader looks again, so that a
    /// promotion survives the leader that began it.
    fn promotion(&mut self, group: &Group) -> Option<Bytes> {
        let learner = self.changing.looks_at_learners().then(|| group.promotable())??;
        let member = self.node.store().membership().get(learner)?;
        Some(Change::Votes(member.clone()).encode())
    }
}

impl Handler<Join> for Peer {
    type Result = ResponseFuture<Result<Joined, ChangeError>>;

    fn handle(&mut self, join: Join, ctx: &mut Context<Self>) -> Self::Result {
        self.request(ctx, |reply| Request::Join { join, reply })
    }
}

impl Handler<Remove> for Peer {
    type Result = ResponseFuture<Result<Removal, ChangeError>>;

    fn handle(&mut self, Remove { raft_id }: Remove, ctx: &mut Context<Self>) -> Self::Result {
        self.request(ctx, |reply| Request::Remove { raft_id, reply })
    }
}

impl Handler<TransferLeadership> for Peer {
    type Result = ResponseFuture<Result<u64, ChangeError>>;

    fn handle(
        &mut self,
        TransferLeadership { to }: TransferLeadership,
        ctx: &mut Context<Self>,
    ) -> Self::Result {
        self.request(ctx, |reply| Request::Transfer { to, reply })
    }
}
