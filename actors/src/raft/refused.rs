//! What follows when nobody listens any more where the leader was: an election at once, instead of
//! one after the silence of an election timeout (architecture §8).

use std::mem;

use actix::{AsyncContext, Context};
use raft::StateRole;

use super::{Peer, logic, running::Running};

/// Members stand one after the other, so that they do not split the votes: a tick is long enough
/// for so many of them.
const TURNS_IN_TICK: u32 = 4;

impl Peer {
    /// Dialling a member was refused. If it is the leader that this member follows, the next one
    /// is elected.
    pub(super) fn refused(&mut self, ctx: &mut Context<Self>, member: u64) {
        let turn = self.config.tick / TURNS_IN_TICK;
        let Some(running) = self.running().filter(|running| running.follows(member)) else {
            return;
        };
        running.give_up_leader();
        let place = logic::place_in_line(running.node.raft.id, member, &running.voters());
        let Some(place) = place.filter(|_| !mem::replace(&mut running.stands_soon, true)) else {
            return;
        };
        let term = running.node.raft.term;
        if place == 0 {
            return self.stand(member, term);
        }
        ctx.run_later(turn * place, move |peer, ctx| {
            peer.stand(member, term);
            peer.proceed(ctx);
        });
    }

    /// Asks for votes, unless the leader has been heard since, or another election is under way.
    fn stand(&mut self, leader: u64, term: u64) {
        let Some(running) = self.running() else { return };
        running.stands_soon = false;
        let is_outdated = running.node.raft.term != term || !running.misses(leader);
        if !is_outdated && let Err(error) = running.node.campaign() {
            tracing::warn!(%error, "cannot campaign");
        }
    }
}

impl Running {
    /// Whether this member could take over from a leader that it has heard of in this term.
    fn follows(&self, leader: u64) -> bool {
        let raft = &self.node.raft;
        // raft-rs panics when a member campaigns whose snapshot is not in yet.
        let may_stand = raft.promotable() && !self.is_installing();
        let waits = match raft.state {
            // Nobody was asked for a vote yet; a pre-candidate asks only for what it would be.
            StateRole::Follower | StateRole::PreCandidate => true,
            // Whoever stands in a new term is not disturbed: disks may be slow.
            StateRole::Candidate | StateRole::Leader => false,
        };
        may_stand && waits && self.followed == Some((raft.term, leader))
    }

    /// From now on others may have this member's vote, as if the leader had been silent for long.
    /// If it speaks again, raft-rs follows it again.
    fn give_up_leader(&mut self) {
        self.node.raft.leader_id = raft::INVALID_ID;
    }

    /// Whether it has given up the leader that it followed, and not heard of it since.
    fn misses(&self, leader: u64) -> bool {
        self.follows(leader) && self.node.raft.leader_id == raft::INVALID_ID
    }

    /// Remembers whom this member follows, for when it has given it up.
    pub(super) fn remember_leader(&mut self) {
        let raft = &self.node.raft;
        if raft.leader_id != raft::INVALID_ID {
            self.followed = Some((raft.term, raft.leader_id));
        }
    }
}
