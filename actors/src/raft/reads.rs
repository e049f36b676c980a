//! Reads that must see everything acknowledged before them: one round to a quorum for all that
//! wait.

use std::{collections::VecDeque, mem};

use raft::ReadState;
use tokio::sync::oneshot;

use super::NotLeading;

/// Where the index goes.
pub(super) type Reply = oneshot::Sender<Result<u64, NotLeading>>;

#[derive(Default)]
pub(super) struct Reads {
    waiting: Vec<Reply>,
    round: Option<(u64, Vec<Reply>)>,
    rounds: u64,
    /// Confirmed, and not applied that far.
    confirmed: VecDeque<(u64, Vec<Reply>)>,
}

impl Reads {
    pub(super) fn add(&mut self, reply: Reply) {
        self.waiting.push(reply);
    }

    /// The context of the next round, when it is time for one.
    pub(super) fn begin(&mut self) -> Option<Vec<u8>> {
        if self.round.is_some() || self.waiting.is_empty() {
            return None;
        }
        self.rounds += 1;
        self.round = Some((self.rounds, mem::take(&mut self.waiting)));
        Some(self.rounds.to_be_bytes().to_vec())
    }

    /// A quorum has confirmed a round.
    pub(super) fn confirm(&mut self, state: &ReadState) {
        if let Some((_, replies)) =
            self.round.take_if(|(round, _)| state.request_ctx == round.to_be_bytes())
        {
            self.confirmed.push_back((state.index, replies));
        }
    }

    /// Answers what may be answered once this much is applied.
    pub(super) fn applied(&mut self, applied: u64) {
        while let Some((index, replies)) =
            self.confirmed.pop_front_if(|(index, _)| *index <= applied)
        {
            answer(replies, Ok(index));
        }
    }

    /// Leadership is lost, and with it every read.
    pub(super) fn lost(&mut self) {
        answer(mem::take(&mut self.waiting), Err(NotLeading));
        let rounds = self.round.take().into_iter().chain(mem::take(&mut self.confirmed));
        rounds.for_each(|(_, replies)| answer(replies, Err(NotLeading)));
    }
}

fn answer(replies: Vec<Reply>, with: Result<u64, NotLeading>) {
    for reply in replies {
        reply.send(with).ok();
    }
}
